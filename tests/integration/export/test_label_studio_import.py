"""A real Label Studio imports the exported tasks, and gives the labels back as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter.brush import decode_rle

from datagen.domain.sample import Sample
from datagen.synthesis.masks import rasterize
from stage.label_studio_server import LabelStudio as Server

pytestmark = pytest.mark.integration


@pytest.fixture
def api(label_studio: Server) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Token {label_studio.token}"}
    with httpx.Client(base_url=label_studio.url, headers=headers, timeout=60) as client:
        yield client


def imported(api: httpx.Client, folder: Path) -> list[dict[str, Any]]:
    """Import the tasks of an export into a new project, and return them as Label Studio exports them."""
    config = (folder / "label_config.xml").read_text()
    project = api.post("/api/projects/", json={"title": folder.name, "label_config": config}).raise_for_status().json()
    files = {"file": ("label_studio.json", (folder / "label_studio.json").read_bytes(), "application/json")}
    api.post(f"/api/projects/{project['id']}/import", files=files).raise_for_status()
    options = {"exportType": "JSON", "download_all_tasks": "true"}
    answer = api.get(f"/api/projects/{project['id']}/export", params=options).raise_for_status()
    tasks: list[dict[str, Any]] = sorted(answer.json(), key=lambda task: task["data"]["sample"])
    return tasks


def test_polygons_are_imported_as_annotations(
    api: httpx.Client, shelf: Any, difficult: list[Sample], export_to: Callable[..., Path]
) -> None:
    tasks = imported(api, export_to(difficult, "label-studio"))
    for sample, task in zip(difficult, tasks, strict=True):
        exported = shelf.exported(sample)
        height, width = exported.mask.shape
        (annotation,) = task["annotations"]
        assert [region["value"]["polygonlabels"] for region in annotation["result"]] == [["scratch"], ["dent"]]
        for number, region in enumerate(annotation["result"]):
            corners = np.array(region["value"]["points"]) * (width / 100, height / 100)
            np.testing.assert_array_equal(rasterize(corners, (height, width)), exported.inside(number))


def test_brush_masks_are_imported_as_predictions(
    api: httpx.Client, shelf: Any, difficult: list[Sample], export_to: Callable[..., Path]
) -> None:
    tasks = imported(api, export_to(difficult, "label-studio-brush", predictions=True))
    for sample, task in zip(difficult, tasks, strict=True):
        exported = shelf.exported(sample)
        assert task["annotations"] == []
        (prediction,) = api.get("/api/predictions/", params={"task": task["id"]}).raise_for_status().json()
        for number, region in enumerate(prediction["result"]):
            values = np.asarray(decode_rle(region["value"]["rle"])).reshape(*exported.mask.shape, 4)
            np.testing.assert_array_equal(values[..., 3] > 0, exported.inside(number))
