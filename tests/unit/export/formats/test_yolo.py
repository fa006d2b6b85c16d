"""YOLO rows: shares of the image, one line an instance, parts joined without enclosing anything new."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from datagen.domain.geometry import Polygon
from datagen.domain.outline_joining import joined
from datagen.domain.sample import Sample
from datagen.export.formats.yolo import data_yaml
from datagen.synthesis.masks import rasterize

ExportTo = Callable[..., Path]

SQUARE = Polygon(((0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 4.0)))
FAR_SQUARE = Polygon(((10.0, 6.0), (14.0, 6.0), (14.0, 10.0), (10.0, 10.0)))


def rows_of(folder: Path, name: str = "5bec5bec_0000003") -> list[list[str]]:
    return [line.split() for line in (folder / "labels" / f"{name}.txt").read_text().splitlines()]


def test_a_box_row_gives_the_box_back(sample: Sample, export_to: ExportTo) -> None:
    for row, instance, number in zip(rows_of(export_to([sample], "yolo")), sample.instances, (0, 1), strict=True):
        first, *shares = row
        x, y, width, height = (float(share) * side for share, side in zip(shares, (60, 40, 60, 40), strict=True))
        assert int(first) == number
        box = instance.box
        read_back = (x - width / 2, y - height / 2, width, height)
        assert read_back == pytest.approx((box.x, box.y, box.width, box.height), abs=1e-4)


def test_a_polygon_row_gives_the_mask_back(shelf: Any, difficult: list[Sample], export_to: ExportTo) -> None:
    """Filled by the even-odd rule: parts are parts, and holes stay open."""
    folder = export_to(difficult, "yolo-segment")
    for sample in difficult:
        exported = shelf.exported(sample)
        height, width = exported.mask.shape
        for number, row in enumerate(rows_of(folder, exported.name)):
            assert row[0] == str(number)
            corners = np.array(row[1:], float).reshape(-1, 2) * (width, height)
            np.testing.assert_array_equal(rasterize(corners, (height, width)), exported.inside(number))


def test_a_hole_stays_open_where_ultralytics_fills_the_polygon(sample: Sample, export_to: ExportTo) -> None:
    row = rows_of(export_to([sample], "yolo-segment"))[1]
    corners = np.array(row[1:], float).reshape(-1, 2) * (60, 40)
    filled = np.zeros((40, 60), np.uint8)
    cv2.fillPoly(filled, [np.asarray(corners, np.int32)], 1)  # as ultralytics.data.utils.polygon2mask does
    assert filled[28, 45] == 0
    assert filled[28, 38] == 1


def test_an_image_without_the_thing_has_an_empty_file(shelf: Any, export_to: ExportTo) -> None:
    empty = shelf.sample(np.zeros((8, 8), np.uint8), ())
    for name in ("yolo", "yolo-segment", "yolo-obb"):
        assert (export_to([empty], name) / "labels" / "5bec5bec_0000000.txt").read_bytes() == b""


def test_a_turned_box_is_the_smallest_round_the_pixels(shelf: Any, export_to: ExportTo) -> None:
    """A bar at 30 degrees, 120 by 16 pixels; the upright box would be four times as large."""
    corners = cv2.boxPoints(((100, 80), (120, 16), 30))
    drawn = rasterize(corners, (160, 200)).astype(np.uint8)
    sample = shelf.sample(drawn, ("dent",))
    (row,) = rows_of(export_to([sample], "yolo-obb"), "5bec5bec_0000000")
    turned = np.array(row[1:], float).reshape(4, 2) * (200, 160)
    centre, sides, _ = cv2.minAreaRect(turned.astype(np.float32))
    assert centre == pytest.approx((100, 80), abs=0.5)
    assert sorted(sides) == pytest.approx([16, 120], abs=2)
    # every corner of every pixel is inside, up to the rounding of the row's fractions
    ys, xs = np.nonzero(drawn)
    for x, y in zip(xs, ys, strict=True):
        for corner in ((x, y), (x + 1, y), (x, y + 1), (x + 1, y + 1)):
            assert cv2.pointPolygonTest(turned.astype(np.float32), tuple(map(float, corner)), True) > -0.01


def test_a_turned_box_that_would_leave_the_image_is_upright(shelf: Any, export_to: ExportTo) -> None:
    drawn = np.triu(np.ones((30, 30), np.uint8), 12)
    drawn[:, :15] = 0
    sample = shelf.sample(drawn, ("dent",))
    (row,) = rows_of(export_to([sample], "yolo-obb"), "5bec5bec_0000000")
    corners = np.array(row[1:], float).reshape(4, 2) * 30
    box = sample.instances[0].box
    assert corners.min(0) == pytest.approx((box.x, box.y), abs=1e-3)
    assert corners.max(0) == pytest.approx((box.right, box.bottom), abs=1e-3)


@pytest.mark.parametrize("name", ["yolo", "yolo-segment", "yolo-obb"])
def test_supervision_reads_every_variant(difficult: list[Sample], export_to: ExportTo, name: str) -> None:
    import supervision  # here, because each worker would spend half a second on it

    folder = export_to(difficult, name)
    read = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml"), is_obb=name == "yolo-obb"
    )
    assert read.classes == ["scratch", "dent"]
    by_name = {Path(path).stem: detections for path, _, detections in read}
    for sample in difficult:
        detections = by_name[sample.provenance.file_stem]
        assert list(detections.class_id) == [0, 1]
        boxes = np.array([(i.box.x, i.box.y, i.box.right, i.box.bottom) for i in sample.instances])
        if name != "yolo-obb":  # a turned box's frame is larger than the upright one
            np.testing.assert_allclose(detections.xyxy, boxes, atol=1)


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
