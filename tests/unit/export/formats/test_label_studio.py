"""Label Studio JSON: valid for the label config beside it, and its regions are the masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface

from datagen.domain.sample import Sample
from datagen.synthesis.masks import rasterize

ExportTo = Callable[..., Path]


def tasks_in(folder: Path) -> list[dict[str, Any]]:
    body: list[dict[str, Any]] = json.loads((folder / "label_studio.json").read_text())
    return body


@pytest.mark.parametrize("name", ["label-studio", "label-studio-brush"])
def test_labels_fit_the_label_config(difficult: list[Sample], export_to: ExportTo, name: str) -> None:
    folder = export_to(difficult, name, labels=("scratch", "dent", "<b> & “ö”"))
    interface = LabelInterface((folder / "label_config.xml").read_text())
    assert set(interface.get_control("label").labels) == {"scratch", "dent", "<b> & “ö”"}
    for task in tasks_in(folder):
        (annotation,) = task["annotations"]
        assert interface.validate_annotation(annotation)
        assert not task.get("predictions")


def test_predictions_are_written_in_place_of_annotations(difficult: list[Sample], export_to: ExportTo) -> None:
    folder = export_to(difficult, "label-studio", predictions=True)
    interface = LabelInterface((folder / "label_config.xml").read_text())
    for task in tasks_in(folder):
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction)
        assert "annotations" not in task


def test_images_are_named_as_local_files(difficult: list[Sample], export_to: ExportTo) -> None:
    folder = export_to(difficult, "label-studio")
    for task in tasks_in(folder):
        prefix, _, path = task["data"]["image"].partition("?d=")
        assert prefix == "/data/local-files/"
        assert (folder / path).is_file()


def test_polygons_filled_by_the_even_odd_rule_are_the_masks(
    shelf: Any, difficult: list[Sample], export_to: ExportTo
) -> None:
    for sample, task in zip(difficult, tasks_in(export_to(difficult, "label-studio")), strict=True):
        exported = shelf.exported(sample)
        height, width = exported.mask.shape
        for number, region in enumerate(task["annotations"][0]["result"]):
            corners = np.array(region["value"]["points"]) * (width / 100, height / 100)
            np.testing.assert_array_equal(rasterize(corners, (height, width)), exported.inside(number))


def test_label_studio_s_own_decoder_gives_every_brush_mask_back(
    shelf: Any, difficult: list[Sample], export_to: ExportTo
) -> None:
    from label_studio_sdk.converter.brush import decode_rle  # here, because each worker would spend seconds on it

    for sample, task in zip(difficult, tasks_in(export_to(difficult, "label-studio-brush")), strict=True):
        exported = shelf.exported(sample)
        for number, region in enumerate(task["annotations"][0]["result"]):
            values = np.asarray(decode_rle(region["value"]["rle"])).reshape(*exported.mask.shape, 4)
            for channel in range(4):
                np.testing.assert_array_equal(values[..., channel] > 0, exported.inside(number))


def test_set_without_samples_is_an_empty_list(export_to: ExportTo) -> None:
    assert tasks_in(export_to([], "label-studio")) == []
