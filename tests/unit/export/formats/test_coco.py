"""coco.json is read by COCO's own tools, and agrees with the masks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from datagen.domain.sample import Sample

ExportTo = Callable[..., Path]


@pytest.fixture
def document(sample: Sample, export_to: ExportTo) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((export_to([sample], "coco") / "coco.json").read_text())
    return body


def test_numbers_start_at_one_and_categories_keep_the_order_of_the_study(document: dict[str, Any]) -> None:
    assert [(c["id"], c["name"]) for c in document["categories"]] == [(1, "scratch"), (2, "dent")]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in document["annotations"]] == [(1, 1, 1), (2, 1, 2)]
    assert document["images"] == [{"id": 1, "file_name": "images/5bec5bec_0000003.png", "width": 60, "height": 40}]
    assert document["info"] == {"study": "Plates"}


def test_boxes_and_areas_are_those_of_the_mask(document: dict[str, Any], mask: Any) -> None:
    for i, annotation in enumerate(document["annotations"]):
        ys, xs = np.nonzero(mask == i + 1)
        width, height = xs.max() - xs.min() + 1, ys.max() - ys.min() + 1
        assert annotation["bbox"] == [xs.min(), ys.min(), width, height]
        assert annotation["area"] == len(xs)
        assert annotation["iscrowd"] == 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
def test_coco_s_own_reader_gives_every_mask_back(shelf: Any, difficult: list[Sample], export_to: ExportTo) -> None:
    """What has holes or parts is a run-length mask and exact; a polygon covers its pixels within a hundredth."""
    folder = export_to(difficult, "coco")
    read = COCO(str(folder / "coco.json"))
    exact = 0
    for number, sample in enumerate(difficult, start=1):
        pixels = shelf.exported(sample).mask
        for value, annotation in enumerate(read.loadAnns(read.getAnnIds(imgIds=[number])), start=1):
            mask, expected = read.annToMask(annotation) > 0, pixels == value
            if isinstance(annotation["segmentation"], dict):
                exact += 1
                np.testing.assert_array_equal(mask, expected)
                assert coco_mask.area(read.annToRLE(annotation)) == annotation["area"]
            else:
                assert (mask & expected).sum() / (mask | expected).sum() >= 0.99
    assert exact >= 5


def test_supervision_reads_boxes_and_masks(shelf: Any, difficult: list[Sample], export_to: ExportTo) -> None:
    import supervision  # here, because each worker would spend half a second on it

    folder = export_to(difficult, "coco")
    read = supervision.DetectionDataset.from_coco(str(folder), str(folder / "coco.json"), force_masks=True)
    assert read.classes == ["scratch", "dent"]
    for sample, (_, image, detections) in zip(difficult, read, strict=True):
        assert image.shape[:2] == (sample.image.height, sample.image.width)
        boxes = [(i.box.x, i.box.y, i.box.right, i.box.bottom) for i in sample.instances]
        np.testing.assert_allclose(detections.xyxy, boxes, atol=0.01)
        assert list(detections.class_id) == [0, 1]
        exported = shelf.exported(sample)
        for number, inside in enumerate(detections.mask):
            if exported.rings[number] or len(sample.instances[number].outlines) > 1:
                np.testing.assert_array_equal(inside, exported.inside(number))


def test_an_empty_set_is_a_valid_file(export_to: ExportTo) -> None:
    body = json.loads((export_to([], "coco") / "coco.json").read_text())
    assert (body["images"], body["annotations"], len(body["categories"])) == ([], [], 2)
