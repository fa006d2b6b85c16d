"""Predictions fit the label config of their project, by the SDK's own check."""

from __future__ import annotations

from typing import Any

import pytest
from label_studio_sdk.label_interface import LabelInterface

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef, ProjectKind
from datagen.domain.sample import Instance, Provenance, Sample
from datagen.label_studio.mapping.predictions import (
    MODEL_VERSION,
    box_region,
    form_prediction,
    polygon_region,
    prediction,
    regions_prediction,
)
from datagen.label_studio.mapping.regions import concept_regions
from datagen.label_studio.projects.label_configs import render

LABELS = ["dent", "a & b"]


def image(digest: str) -> ImageRef:
    return ImageRef(digest=digest * 64, width=640, height=480, name="photo.jpg")


def triangle(x: float, y: float) -> Polygon:
    return Polygon(((x, y), (x + 30, y), (x + 30, y + 20)))


SAMPLE = Sample(
    image=image("a"),
    mask=image("b"),
    instances=(
        Instance(label="dent", box=Box(10, 10, 130, 20), outlines=(triangle(10, 10), triangle(110, 10))),
        Instance(label="a & b", box=Box(300, 300, 30, 20), outlines=(triangle(300, 300),)),
    ),
    provenance=Provenance(
        spec_digest="c" * 64, index=3, seed=1, engine="composite", engine_version="1", background=image("d")
    ),
)


def errors(kind: ProjectKind, posted: dict[str, Any]) -> list[str]:
    found: list[str] = LabelInterface(render(kind, LABELS)).validate_prediction(posted, return_errors=True)
    return found


@pytest.mark.parametrize("kind", [ProjectKind.PREVIEWS, ProjectKind.DATASET])
def test_prediction_of_a_sample_fits_the_config_of_its_project(kind: ProjectKind) -> None:
    posted = prediction(SAMPLE, kind)
    assert errors(kind, posted) == []
    assert posted["model_version"] == MODEL_VERSION


def test_a_preview_shows_outlines_and_the_dataset_boxes_too() -> None:
    def kinds(kind: ProjectKind) -> list[str]:
        return [one["type"] for one in prediction(SAMPLE, kind)["result"]]

    assert kinds(ProjectKind.PREVIEWS) == ["polygonlabels"] * 3
    assert sorted(kinds(ProjectKind.DATASET)) == ["polygonlabels"] * 3 + ["rectanglelabels"] * 2


def test_ids_of_regions_are_unique_and_the_same_whenever_posted() -> None:
    ids = [one["id"] for one in prediction(SAMPLE, ProjectKind.DATASET)["result"]]
    assert len(set(ids)) == len(ids)
    assert ids == [one["id"] for one in prediction(SAMPLE, ProjectKind.DATASET)["result"]]


def test_every_region_says_the_size_of_its_image() -> None:
    for one in prediction(SAMPLE, ProjectKind.DATASET)["result"]:
        assert (one["original_width"], one["original_height"], one["image_rotation"]) == (640, 480, 0)


def test_form_begins_with_the_suggested_action() -> None:
    posted = form_prediction(500)
    assert errors(ProjectKind.DECISIONS, posted) == []
    assert [(one["from_name"], one["value"]) for one in posted["result"]] == [("count", {"number": 500})]


def test_a_proposed_outline_is_read_back_as_the_one_proposed() -> None:
    posted = regions_prediction(
        [
            box_region("b", "concept", "dent", Box(10, 10, 40, 30), 640, 480),
            polygon_region("o", "outline", "dent", triangle(12, 12), 640, 480),
        ]
    )
    assert errors(ProjectKind.CONCEPTS, posted) == []
    (one,), problems = concept_regions(posted["result"], 640, 480, LABELS)
    assert problems == ()
    assert one.outline[0].area == pytest.approx(300, abs=0.01)
