"""coco.json is read by COCO's own tools, and agrees with the masks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from datagen.domain.sample import Sample
from datagen.export import coco


@pytest.fixture
def document(sample: Sample, mask: npt.NDArray[np.uint8], labels: tuple[str, ...]) -> dict[str, Any]:
    areas = [int((mask == 1).sum()), int((mask == 2).sum())]
    entries = coco.instances(sample, areas, mask=mask, image_number=1, first_number=1, labels=labels)
    pieces = coco.document(
        {"study": "plätes"},
        labels,
        [json.dumps(coco.image(1, "images/a.png", sample))],
        [json.dumps(entry) for entry in entries],
    )
    body: dict[str, Any] = json.loads("".join(pieces))
    return body


def test_numbers_start_at_one_and_categories_keep_the_order_of_the_study(document: dict[str, Any]) -> None:
    assert [(c["id"], c["name"]) for c in document["categories"]] == [(1, "scratch"), (2, "dent")]
    assert [(a["id"], a["image_id"], a["category_id"]) for a in document["annotations"]] == [(1, 1, 1), (2, 1, 2)]
    assert document["images"] == [{"id": 1, "file_name": "images/a.png", "width": 60, "height": 40}]
    assert document["info"] == {"study": "plätes"}


def test_boxes_and_areas_are_those_of_the_mask(document: dict[str, Any], mask: npt.NDArray[np.uint8]) -> None:
    for i, annotation in enumerate(document["annotations"]):
        ys, xs = np.nonzero(mask == i + 1)
        width, height = xs.max() - xs.min() + 1, ys.max() - ys.min() + 1
        assert annotation["bbox"] == [xs.min(), ys.min(), width, height]
        assert annotation["area"] == len(xs)
        assert annotation["iscrowd"] == 0


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
def test_coco_s_own_reader_gives_the_mask_back(
    document: dict[str, Any], mask: npt.NDArray[np.uint8], tmp_path: Path
) -> None:
    """The bar's polygons give its pixels; the ring is a run-length mask, and gives exactly its own."""
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    read = COCO(str(path))
    bar, ring = (read.annToMask(read.anns[number]) for number in (1, 2))
    assert (bar != (mask == 1)).mean() < 0.002
    np.testing.assert_array_equal(ring, mask == 2)
    assert coco_mask.area(read.annToRLE(read.anns[2])) == read.anns[2]["area"]
    assert coco_mask.area(read.annToRLE(read.anns[1])) == pytest.approx(read.anns[1]["area"], rel=0.1)
    assert read.getCatIds(catNms=["dent"]) == [2]
    assert read.getAnnIds(imgIds=[1], catIds=[2]) == [2]


def test_an_empty_set_is_a_valid_file(labels: tuple[str, ...]) -> None:
    body = json.loads("".join(coco.document({}, labels, [], [])))
    assert (body["images"], body["annotations"], len(body["categories"])) == ([], [], 2)
