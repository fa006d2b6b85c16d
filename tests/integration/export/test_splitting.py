"""Splits, as the formats' own readers see them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import supervision
from pycocotools.coco import COCO

from datagen.domain.sample import Sample
from datagen.domain.trace import Trace
from datagen.export.splitting import shares_of, split


@pytest.fixture
def samples(shelf: Any) -> list[Sample]:
    """Twenty samples on five backgrounds."""
    sample = shelf.sample(np.pad(np.ones((4, 4), np.uint8), 8), ("dent",))
    background = sample.provenance.background
    return [
        replace(
            sample,
            provenance=replace(
                sample.provenance,
                index=index,
                background=replace(background, digest=f"b{index % 5}"),
                trace=Trace(instances=()),
            ),
        )
        for index in range(20)
    ]


FORMATS = ("coco", "yolo", "voc", "imagefolder", "semantic", "parquet", "webdataset", "label-studio")


def test_formats_are_read_split_by_split(
    samples: list[Sample], export_to: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    assignment = split(samples, shares_of("60,20,20"))
    folder = export_to(samples, *FORMATS, split=assignment)
    images = datasets.load_dataset("imagefolder", data_dir=str(folder / "images"))
    shards = datasets.load_dataset("parquet", data_dir=str(folder / "parquet"))
    lists = folder / "ImageSets" / "Main"
    for name, count in assignment.counts.items():
        names = {sample.provenance.file_stem for sample in samples if assignment.of(sample) == name}
        assert len(names) == count
        assert {path.stem for path in (folder / "images" / name).glob("*.png")} == names
        assert {path.stem for path in (folder / "masks" / name).glob("*.png")} == names
        assert {path.stem for path in (folder / "semantic" / name).glob("*.png")} == names
        assert {Path(i["file_name"]).stem for i in COCO(str(folder / f"coco_{name}.json")).imgs.values()} == names
        assert set((lists / f"{name}.txt").read_text().split()) == names
        yolo = supervision.DetectionDataset.from_yolo(
            str(folder / "images" / name), str(folder / "labels" / name), str(folder / "data.yaml")
        )
        assert len(yolo) == count
        hub = "validation" if name == "val" else name
        assert len(images[hub]) == len(shards[hub]) == count
        assert (folder / "webdataset" / f"{name}-00000.tar").is_file()
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    assert [line["split"] for line in lines] == [assignment.of(sample) for sample in samples]
    text = (folder / "README.txt").read_text()
    assert "Images: 20\n  train: 12\n  val: 4\n  test: 4\n" in text
