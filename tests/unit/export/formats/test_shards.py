"""Parquet and WebDataset: shards stay below their largest size. Their own readers open them in the integration test."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from datagen.export.formats import parquet, webdataset

ExportTo = Callable[..., Path]


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
def test_shards_stay_below_their_largest_size(
    shelf: Any, export_to: ExportTo, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    samples = [shelf.sample(np.pad(np.ones((4, 4), np.uint8), 40), ("dent",), index=i) for i in range(40)]
    limit = 120_000
    monkeypatch.setattr(parquet, "MAX_SHARD_BYTES", limit)
    monkeypatch.setattr(parquet, "_FOOTER_BYTES", 10_000)
    monkeypatch.setattr(webdataset, "MAX_SHARD_BYTES", limit)
    shards = sorted((export_to(samples, name) / name).iterdir())
    assert len(shards) > 4
    assert all(shard.stat().st_size <= limit for shard in shards)
    keys = []
    for shard in shards:
        if name == "parquet":
            keys += pq.read_table(shard, columns=["key"])["key"].to_pylist()
        else:
            with tarfile.open(shard) as archive:
                keys += [n.partition(".")[0] for n in archive.getnames() if n.endswith(".json")]
    assert keys == [sample.provenance.file_stem for sample in samples]
