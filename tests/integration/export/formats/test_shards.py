"""Parquet, WebDataset and imagefolder, opened by their own readers: images, masks and objects as they were."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import webdataset
from PIL import Image
from pycocotools import mask as coco_mask

from datagen.domain.sample import Sample

ExportTo = Callable[..., Path]


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()


@pytest.fixture
def samples(shelf: Any, difficult: list[Sample]) -> list[Sample]:
    """Difficult masks, and an image without an object first."""
    return [shelf.sample(np.zeros((20, 30), np.uint8), (), index=99), *difficult]


def masks_of(objects: Any) -> list[Any]:
    """The masks of run lengths, by COCO's own decoder."""
    segmentations = objects["segmentation"]
    if isinstance(segmentations, dict):  # datasets before 4: a dict of lists
        segmentations = [
            {"size": size, "counts": counts}
            for size, counts in zip(segmentations["size"], segmentations["counts"], strict=True)
        ]
    return [
        coco_mask.decode(coco_mask.frPyObjects({"size": list(s["size"]), "counts": list(s["counts"])}, *s["size"]))
        for s in segmentations
    ]


def assert_objects(objects: Any, sample: Sample, shelf: Any) -> None:
    exported = shelf.exported(sample)
    assert list(objects["area"]) == list(exported.areas)
    np.testing.assert_allclose(
        np.array(objects["bbox"], float).reshape(-1, 4),
        np.array([(i.box.x, i.box.y, i.box.width, i.box.height) for i in sample.instances]).reshape(-1, 4),
    )
    for number, mask in enumerate(masks_of(objects)):
        np.testing.assert_array_equal(mask > 0, exported.inside(number))


def pixels(shelf: Any, digest: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(shelf.read(digest))))


def test_datasets_reads_the_parquet_shards(shelf: Any, samples: list[Sample], export_to: ExportTo) -> None:
    folder = export_to(samples, "parquet")
    rows = datasets.load_dataset("parquet", data_dir=str(folder / "parquet"), split="train")
    assert len(rows) == len(samples)
    assert rows.features["image"] == datasets.Image()
    for row, sample in zip(rows, samples, strict=True):
        assert row["key"] == sample.provenance.file_stem
        np.testing.assert_array_equal(np.asarray(row["image"]), pixels(shelf, sample.image.digest))
        np.testing.assert_array_equal(np.asarray(row["mask"]), pixels(shelf, sample.mask.digest))
        assert json.loads(row["provenance"])["index"] == sample.provenance.index
        assert_objects(row["objects"], sample, shelf)
    assert "scratch" in str(rows.features["objects"])


def test_datasets_reads_the_imagefolder(shelf: Any, samples: list[Sample], export_to: ExportTo) -> None:
    folder = export_to(samples, "imagefolder")
    rows = datasets.load_dataset("imagefolder", data_dir=str(folder / "images"), split="train")
    assert len(rows) == len(samples)
    by_size = {row["image"].tobytes(): row for row in rows}
    for sample in samples:
        row = by_size[Image.fromarray(pixels(shelf, sample.image.digest)).tobytes()]
        assert_objects(row["objects"], sample, shelf)
        assert list(row["objects"]["label"]) == [i.label for i in sample.instances]


# webdataset leaves its files to the garbage collector
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning")
def test_webdataset_reads_the_shards(shelf: Any, samples: list[Sample], export_to: ExportTo) -> None:
    folder = export_to(samples, "webdataset")
    shard = folder / "webdataset" / "train-00000.tar"
    rows = list(webdataset.WebDataset(str(shard), shardshuffle=False).decode("pil"))
    assert [row["__key__"] for row in rows] == [sample.provenance.file_stem for sample in samples]
    for row, sample in zip(rows, samples, strict=True):
        np.testing.assert_array_equal(np.asarray(row["png"]), pixels(shelf, sample.image.digest))
        np.testing.assert_array_equal(np.asarray(row["mask.png"].convert("L")), pixels(shelf, sample.mask.digest))
        assert_objects(row["json"]["objects"], sample, shelf)
