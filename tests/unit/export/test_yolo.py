"""YOLO rows: shares of the image, one line an instance, parts joined without enclosing anything new."""

from __future__ import annotations

import tracemalloc
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import yaml

from datagen.domain.geometry import Polygon
from datagen.domain.outline_joining import joined
from datagen.domain.sample import Sample
from datagen.export.yolo import box_rows, data_yaml, polygon_rows
from datagen.synthesis.masks import rasterize

SQUARE = Polygon(((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)))
FAR_SQUARE = Polygon(((10.0, 6.0), (14.0, 6.0), (14.0, 10.0), (10.0, 10.0)))


def test_a_box_row_gives_the_box_back(sample: Sample, labels: tuple[str, ...]) -> None:
    for row, instance, number in zip(box_rows(sample, labels).splitlines(), sample.instances, (0, 1), strict=True):
        first, *shares = row.split()
        x, y, width, height = (float(share) * side for share, side in zip(shares, (60, 40, 60, 40), strict=True))
        assert int(first) == number
        box = instance.box
        found = (x - width / 2, y - height / 2, width, height)
        assert found == pytest.approx((box.x, box.y, box.width, box.height), abs=1e-4)


def test_a_polygon_row_gives_the_mask_back(
    sample: Sample, mask: npt.NDArray[np.uint8], labels: tuple[str, ...]
) -> None:
    """The first instance has two parts, in one polygon; the second has a hole, which stays open."""
    for number, line in enumerate(polygon_rows(sample, labels, mask).splitlines()):
        row = line.split()
        assert row[0] == str(number)
        corners = np.array(row[1:], float).reshape(-1, 2) * (60, 40)
        np.testing.assert_array_equal(rasterize(corners, (40, 60)), mask == number + 1)


def test_a_hole_stays_open_where_ultralytics_fills_the_polygon(
    sample: Sample, mask: npt.NDArray[np.uint8], labels: tuple[str, ...]
) -> None:
    row = polygon_rows(sample, labels, mask).splitlines()[1].split()
    corners = np.array(row[1:], float).reshape(-1, 2) * (60, 40)
    filled = np.zeros((40, 60), np.uint8)
    cv2.fillPoly(filled, [np.asarray(corners, np.int32)], 1)  # as ultralytics.data.utils.polygon2mask does
    assert filled[28, 45] == 0
    assert filled[28, 38] == 1


def test_an_image_without_the_thing_has_an_empty_file(shelf: Any, labels: tuple[str, ...]) -> None:
    empty = shelf.sample(np.zeros((8, 8), np.uint8), ())
    assert box_rows(empty, labels) == polygon_rows(empty, labels, np.zeros((8, 8), np.uint8)) == ""


def test_one_part_stays_as_it_is() -> None:
    assert joined([SQUARE]) == SQUARE.points


def test_joined_parts_cover_what_they_covered() -> None:
    both = rasterize(np.array(SQUARE.points), (12, 16)) | rasterize(np.array(FAR_SQUARE.points), (12, 16))
    line = np.array(joined([SQUARE, FAR_SQUARE]))
    np.testing.assert_array_equal(rasterize(line, (12, 16)), both)
    np.testing.assert_array_equal(line[[2, 3, 7, 8]], [(4, 4), (10, 6), (10, 6), (4, 4)])


def test_large_outlines_are_joined_in_little_memory_where_they_are_nearest() -> None:
    """The distances of all corners to all others took gigabytes."""
    angles = np.linspace(0, 2 * np.pi, 8_000, endpoint=False)
    outer, inner = (
        Polygon(tuple((100 + x + r * float(np.cos(a)), 100 + r * float(np.sin(a))) for a in angles))
        for r, x in ((100, 0), (50, 45))
    )
    tracemalloc.start()
    line = joined([outer, inner])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 50 * 2**20
    assert len(line) == 2 * 8_000 + 2
    assert line[1] == inner.points[0]


@pytest.mark.parametrize("label", ["scratch", "no", "a: b # c", '"quoted" \\ back', "Lunker ø", "- x", "血小板", "🩹"])
def test_a_label_survives_yaml(label: str) -> None:
    assert yaml.safe_load(data_yaml(["first", label]))["names"] == {0: "first", 1: label}


def test_ultralytics_finds_the_folders_beside_the_file_from_any_working_directory() -> None:
    """Without a path it takes the file's own folder; a relative one is looked for below the working directory."""
    body = yaml.safe_load(data_yaml(["x"]))
    assert "path" not in body
    assert (body["train"], body["val"]) == ("images", "images")
