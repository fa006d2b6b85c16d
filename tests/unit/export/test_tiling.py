"""Tiles: their masks are the tiles of the masks, and every format gives their labels back."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools.coco import COCO

from datagen.domain.sample import Sample
from datagen.errors import InputProblem
from datagen.export.archive import ExportOptions, write_dataset
from datagen.export.image_encoding import ImageEncoding, decode_own
from datagen.export.image_kinds import ImageKind
from datagen.export.splitting import Split
from datagen.export.tiling import Tiling
from datagen.synthesis.masks import rasterize

TILING = Tiling(side=64, overlap=16, empty_share=1.0)


@given(
    st.integers(1, 500),
    st.integers(1, 500),
    st.integers(32, 200).flatmap(lambda side: st.tuples(st.just(side), st.integers(0, side - 1))),
)
def test_tiles_cover_the_image_and_overlap_as_asked(width: int, height: int, sizes: tuple[int, int]) -> None:
    side, overlap = sizes
    seen = np.zeros((height, width), bool)
    tiling = Tiling(side=side, overlap=min(overlap, side - 8))
    windows = list(tiling.windows(width, height))
    for window in windows:
        assert (window.width, window.height) == (min(side, width), min(side, height))
        assert window.x + window.width <= width
        assert window.y + window.height <= height
        seen[window.slices] = True
    assert seen.all()
    assert len(set(windows)) == len(windows)
    lefts = sorted({window.x for window in windows})
    assert all(a + side - b >= tiling.overlap for a, b in pairwise(lefts))


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"side": 8}, "a tile of 8 pixels is too small; give 32 or more"),
        ({"side": 64, "overlap": 64}, "tiles of 64 pixels cannot overlap by 64; give 0 to 63"),
        ({"side": 64, "empty_share": 1.5}, r"1\.5 is no share of the empty tiles; give 0 to 1"),
    ],
)
def test_impossible_tiles_are_refused(values: Any, sentence: str) -> None:
    with pytest.raises(InputProblem, match=sentence):
        Tiling(**values)


def tiles_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def test_masks_of_tiles_are_the_tiles_of_masks(
    difficult: list[Sample], shelf: Any, export_to: Callable[..., Path]
) -> None:
    folder = export_to(difficult, "coco", tiling=TILING)
    tiles = tiles_of(folder)
    by_index = {sample.provenance.index: shelf.exported(sample) for sample in difficult}
    assert len(tiles) == sum(len(list(TILING.windows(s.image.width, s.image.height))) for s in difficult)
    for tile in tiles:
        whole = by_index[tile["provenance"]["index"]]
        x, y, size = tile["tile"]["x"], tile["tile"]["y"], (tile["height"], tile["width"])
        window = (slice(y, y + size[0]), slice(x, x + size[1]))
        pixels = decode_own((folder / tile["files"]["image"]).read_bytes())
        np.testing.assert_array_equal(pixels, decode_own(whole.image)[window])
        mask = decode_own((folder / tile["files"]["mask"]).read_bytes())
        assert sorted(np.unique(mask)) == [*([0] if (mask == 0).any() else []), *range(1, len(tile["instances"]) + 1)]
        for number, of_whole in enumerate(tile["tile"]["instances"], start=1):
            np.testing.assert_array_equal(mask == number, whole.mask[window] == of_whole)
        np.testing.assert_array_equal(mask > 0, whole.mask[window] > 0)
        for instance in tile["instances"]:
            filled = np.zeros(size, bool)
            for line in (*instance["outlines"], *instance.get("holes", ())):
                filled ^= rasterize(np.array(line), size)
            np.testing.assert_array_equal(filled, mask == instance["mask_value"])


def test_labels_of_tiles_read_back_from_coco_equal_the_masks(
    difficult: list[Sample], export_to: Callable[..., Path]
) -> None:
    folder = export_to(difficult, "coco", "yolo-segment", tiling=TILING)
    coco = COCO(str(folder / "coco.json"))
    masks = {tile["files"]["image"]: tile for tile in tiles_of(folder)}
    compared = 0
    for image in coco.imgs.values():
        mask = decode_own((folder / masks[image["file_name"]]["files"]["mask"]).read_bytes())
        for number, annotation in enumerate(coco.imgToAnns[image["id"]], start=1):
            read, inside = coco.annToMask(annotation) > 0, mask == number
            overlap = np.count_nonzero(read & inside) / np.count_nonzero(read | inside)
            assert overlap == 1 if isinstance(annotation["segmentation"], dict) else overlap >= 0.99
            compared += 1
    assert compared > 20


def test_polygons_of_tiles_read_back_from_yolo_equal_the_masks(
    difficult: list[Sample], export_to: Callable[..., Path]
) -> None:
    folder = export_to(difficult, "yolo-segment", tiling=TILING)
    for tile in tiles_of(folder):
        rows = (folder / "labels" / f"{Path(tile['files']['image']).stem}.txt").read_text().splitlines()
        mask = decode_own((folder / tile["files"]["mask"]).read_bytes())
        for number, row in enumerate(rows, start=1):
            corners = np.array(row.split()[1:], float).reshape(-1, 2) * (tile["width"], tile["height"])
            read, inside = rasterize(corners, mask.shape), mask == number
            assert np.count_nonzero(read & inside) >= 0.99 * np.count_nonzero(read | inside)


def test_share_of_the_empty_tiles_is_kept_the_same_every_time(
    shelf: Any, export_to: Callable[..., Path], tmp_path: Path
) -> None:
    drawn = np.zeros((640, 640), np.uint8)
    cv2.circle(drawn, (100, 100), 20, 1, -1)
    samples = [shelf.sample(drawn, ("dent",), index=i) for i in range(4)]
    kept = {}
    for share in (0.0, 0.3, 1.0):
        tiling = Tiling(side=64, empty_share=share)
        tiles = tiles_of(export_to(samples, "voc" if share else "coco", tiling=tiling))
        kept[share] = {tile["files"]["image"] for tile in tiles if not tile["instances"]}
        assert sum(bool(tile["instances"]) for tile in tiles) == 4
    assert not kept[0.0]
    assert len(kept[1.0]) == 4 * 99
    assert 0.2 < len(kept[0.3]) / len(kept[1.0]) < 0.4
    assert kept[0.3] < kept[1.0]
    left = tiles_of(export_to(samples, "yolo", tiling=Tiling(side=64, empty_share=0.3)))
    assert {tile["files"]["image"] for tile in left if not tile["instances"]} == kept[0.3]


def test_tiles_of_one_image_are_in_one_split(difficult: list[Sample], export_to: Callable[..., Path]) -> None:
    split = Split(
        counts={"train": 2, "val": 2},
        of=lambda sample: "train" if sample.provenance.index < 2 else "val",
        has=lambda _: True,
    )
    folder = export_to(difficult, "coco", "parquet", tiling=TILING, split=split)
    tiles = tiles_of(folder)
    for tile in tiles:
        assert tile["split"] == ("train" if tile["provenance"]["index"] < 2 else "val")
    text = (folder / "README.txt").read_text()
    for name in ("train", "val"):
        count = sum(tile["split"] == name for tile in tiles)
        assert f"  {name}: {count:,}" in text


def test_label_that_disagrees_is_found_before_it_is_cut(difficult: list[Sample], export_to: Any) -> None:
    first = difficult[0]
    box = replace(first.instances[0].box, x=0.0)
    wrong = replace(first, instances=(replace(first.instances[0], box=box), *first.instances[1:]))
    with pytest.raises(Exception, match="is not exported, because its labels disagree with its pixels"):
        export_to([wrong], "coco", tiling=TILING)


def test_memory_does_not_grow_with_the_images(shelf: Any, labels: tuple[str, ...], tmp_path: Path) -> None:
    drawn = np.zeros((160, 160), np.uint8)
    drawn[40:60, 30:80] = 1
    sample = shelf.sample(drawn, ("dent",), index=0)
    options = ExportOptions(tiling=Tiling(side=64, overlap=16, empty_share=1.0), encoding=ImageEncoding(ImageKind.JPEG))

    def peak(count: int) -> int:
        samples = (replace(sample, provenance=replace(sample.provenance, index=i)) for i in range(count))
        tracemalloc.start()
        try:
            write_dataset(
                tmp_path / f"set of {count}",  # a zip keeps its directory in memory
                samples,
                labels=labels,
                read=shelf.read,
                about={},
                options=options,
                backgrounds=lambda _: decode_own(shelf.read(sample.image.digest)),
            )
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(1)  # loads what is imported late
    assert peak(50) < peak(20) + 500_000  # an image with its mask has 100 kB
