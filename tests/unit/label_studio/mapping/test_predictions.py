"""Predictions fit the label config of their project, by the SDK's own check."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.label_interface import LabelInterface

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import ImageRef, ProjectKind
from datagen.domain.sample import Instance, Provenance, Sample
from datagen.export import holes
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
from datagen.synthesis import masks

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
    messages: list[str] = LabelInterface(render(kind, LABELS)).validate_prediction(posted, return_errors=True)
    return messages


@pytest.mark.parametrize("kind", [ProjectKind.PREVIEWS, ProjectKind.DATASET])
def test_prediction_of_a_sample_fits_the_config_of_its_project(kind: ProjectKind) -> None:
    posted = prediction(SAMPLE, kind)
    assert errors(kind, posted) == []
    assert posted["model_version"] == MODEL_VERSION


def test_dataset_has_one_polygon_for_each_object_and_a_preview_one_for_each_part() -> None:
    """Label Studio's COCO and YOLO exports have an annotation for each region."""

    def labels(kind: ProjectKind) -> list[tuple[str, list[str]]]:
        return [(region["type"], region["value"]["polygonlabels"]) for region in prediction(SAMPLE, kind)["result"]]

    assert labels(ProjectKind.PREVIEWS) == [("polygonlabels", ["dent"])] * 2 + [("polygonlabels", ["a & b"])]
    assert labels(ProjectKind.DATASET) == [("polygonlabels", ["dent"]), ("polygonlabels", ["a & b"])]


def test_polygon_of_the_dataset_covers_the_parts_and_leaves_the_holes_open() -> None:
    mask = np.zeros((480, 640), np.uint8)
    mask[10:50, 10:50], mask[20:30, 20:30], mask[60:70, 60:70] = 1, 0, 1
    inside = mask == 1
    instance = Instance(label="dent", box=masks.tight_box(inside), outlines=masks.outlines(inside))
    sample = replace(SAMPLE, instances=(instance,))
    [region] = prediction(sample, ProjectKind.DATASET, holes.of_instances(mask, 1))["result"]
    corners = np.array(region["value"]["points"]) * (6.4, 4.8)
    np.testing.assert_array_equal(masks.rasterize(corners, mask.shape), inside)
    # the shoelace formula, by which Label Studio computes the area in its COCO export
    x, y = corners.T
    area = abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2
    assert area == pytest.approx(inside.sum(), abs=3)
    # as an input of another study it is read as the same area
    left = concept_regions([{**region, "from_name": "outline"}], 640, 480, LABELS)[0]
    assert sum(part.area for region in left for part in region.outline) == pytest.approx(inside.sum(), abs=3)


def test_ids_of_regions_are_unique_and_the_same_whenever_posted() -> None:
    ids = [region["id"] for region in prediction(SAMPLE, ProjectKind.DATASET)["result"]]
    assert len(set(ids)) == len(ids)
    assert ids == [region["id"] for region in prediction(SAMPLE, ProjectKind.DATASET)["result"]]


def test_every_region_says_the_size_of_its_image() -> None:
    for region in prediction(SAMPLE, ProjectKind.DATASET)["result"]:
        assert (region["original_width"], region["original_height"], region["image_rotation"]) == (640, 480, 0)


def test_form_begins_with_the_suggested_action() -> None:
    posted = form_prediction(500)
    assert errors(ProjectKind.DECISIONS, posted) == []
    assert [(region["from_name"], region["value"]) for region in posted["result"]] == [("count", {"number": 500})]


def test_a_proposed_outline_is_read_back_as_the_one_proposed() -> None:
    posted = regions_prediction(
        [
            box_region("b", "concept", "dent", Box(10, 10, 40, 30), 640, 480),
            polygon_region("o", "outline", "dent", triangle(12, 12), 640, 480),
        ]
    )
    assert errors(ProjectKind.CONCEPTS, posted) == []
    (region,), problems = concept_regions(posted["result"], 640, 480, LABELS)
    assert problems == ()
    assert region.outline[0].area == pytest.approx(300, abs=0.01)
