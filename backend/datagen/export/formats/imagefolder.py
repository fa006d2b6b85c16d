"""Hugging Face imagefolder: ``metadata.jsonl`` beside the images, with the objects of each."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Mapping
from typing import IO

from datagen.export.formats.shards import objects_of
from datagen.export.writer import ExportContext, ExportedSample, ExportWriter


class ImageFolderWriter(ExportWriter):
    """Writes one line of JSON for an image; a split has a folder and a file of its own."""

    name = "imagefolder"
    sentence = "Hugging Face imagefolder: metadata.jsonl beside the images, with boxes and run-length masks."
    limits = "Nothing of the shapes; where an image comes from is in manifest.jsonl."
    paths = (
        (
            "images/metadata.jsonl",
            "Hugging Face: objects of each image; load_dataset('imagefolder', data_dir='images')",
        ),
    )
    opened_by = "datasets"

    def __init__(self, context: ExportContext) -> None:
        super().__init__(context)
        self._files: dict[str, IO[bytes]] = {
            split: context.sink.open(context.path(posixpath.join("images", split, "metadata.jsonl")))
            for split in context.splits
        }

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        """Write the line of one image."""
        line = {
            "file_name": posixpath.basename(sample.image_path),
            "width": sample.sample.image.width,
            "height": sample.sample.image.height,
            "objects": objects_of(sample, self.context.labels),
        }
        self._files[sample.split].write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        return {}

    def finish(self) -> None:
        """Complete the files."""
        for file in self._files.values():
            file.close()
