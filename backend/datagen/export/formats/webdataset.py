"""WebDataset: tar shards with ``KEY.png`` (or another image), ``KEY.mask.png`` and ``KEY.json`` of each image."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from typing import IO

from datagen.export.formats.shards import MAX_SHARD_BYTES, objects_of, shard_name
from datagen.export.writer import ExportContext, ExportedSample, ExportWriter

_BLOCK = tarfile.BLOCKSIZE
#: A tar ends with two blocks of zeros.
_END = bytes(2 * _BLOCK)


class WebDatasetWriter(ExportWriter):
    """Writes tar shards; the entries of an image are adjacent."""

    name = "webdataset"
    sentence = "WebDataset: tar shards of at most 500 MB with image, instance mask, and JSON of boxes and masks."
    limits = "Nothing of the labels."
    paths = (("webdataset/", "WebDataset: tar shards with NAME.png (or .jpg, .webp), NAME.mask.png and NAME.json"),)
    opened_by = "webdataset, datasets"
    holds_images = True

    def __init__(self, context: ExportContext) -> None:
        super().__init__(context)
        self._shards = {split: _TarShards(context, split) for split in context.splits}

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        """Add the entries of one image."""
        body = {
            "width": sample.sample.image.width,
            "height": sample.sample.image.height,
            "objects": objects_of(sample, self.context.labels),
            "provenance": dict(sample.provenance),
        }
        entries = (
            (f"{sample.name}{sample.image_suffix}", sample.image),
            (f"{sample.name}.mask.png", sample.mask_png),
            (f"{sample.name}.json", json.dumps(body, ensure_ascii=False).encode()),
        )
        shard = self._shards[sample.split].add(b"".join(part for name, data in entries for part in _entry(name, data)))
        return {"shard": shard}

    def finish(self) -> None:
        """Complete the last shards."""
        for shards in self._shards.values():
            shards.finish()


class _TarShards:
    """The shards of one split, one open at a time."""

    def __init__(self, context: ExportContext, split: str) -> None:
        self._context, self._split = context, split
        self._number = 0
        self._path, self._file = self._new()

    def add(self, entries: bytes) -> str:
        """Write the entries of one image; return the path of their shard."""
        if self._file.tell() and self._file.tell() + len(entries) + len(_END) > MAX_SHARD_BYTES:
            self.finish()
            self._number += 1
            self._path, self._file = self._new()
        self._file.write(entries)
        return self._path

    def finish(self) -> None:
        self._file.write(_END)
        self._file.close()

    def _new(self) -> tuple[str, IO[bytes]]:
        path = self._context.path(f"webdataset/{shard_name(self._split, self._number, 'tar')}")
        return path, self._context.sink.open(path, packed=True)


def _entry(name: str, data: bytes) -> tuple[bytes, bytes, bytes]:
    """Return an entry of a tar: header, content, padding. Owner and time are 0, so that equal data give equal bytes."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    return info.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % _BLOCK)
