"""COCO object detection and segmentation: one JSON file for a split (Lin et al. 2014, cocodataset.org).

Ids start at 1, categories are in the study's order, ``file_name`` is relative to the JSON file, and coordinates are
continuous pixels as in all of Datagen. ``area`` is the number of the mask's pixels. COCO's readers fill each polygon of
a list for itself, so an instance with holes or several parts is a run-length mask (a list of counts), any other a
polygon. An object of a photo of which people drew a box alone has no segmentation.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import RealPhoto
from datagen.export.writer import NO_SPLIT, ExportContext, ExportedSample, ExportWriter

#: Decimal places of a coordinate: a thousandth of a pixel is more precise than any mask.
PLACES = 3


class CocoWriter(ExportWriter):
    """Writes ``coco.json``, or ``coco_SPLIT.json`` of each split."""

    name = "coco"
    sentence = "COCO: boxes, areas, and polygons or run-length masks, in one JSON file; in pixels."
    limits = (
        "A polygon follows the pixels' edge; what has holes or several parts is a run-length mask, pixel for pixel."
    )
    paths = (("coco.json", "COCO: boxes, polygons (run-length masks of holes and parts), areas; in pixels"),)
    opened_by = "pycocotools, supervision, Detectron2, MMDetection"
    boxes_suffice = True

    def __init__(self, context: ExportContext) -> None:
        super().__init__(context)
        self._documents = {split: _Document(context, split) for split in context.splits}

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        """Add the image and its annotations to the file of its split."""
        self._documents[sample.split].add(sample)
        return {}

    def finish(self) -> None:
        """Write the annotations behind the images."""
        for document in self._documents.values():
            document.finish()


class _Document:
    """One JSON file; its annotations, which follow the images in it, are collected in a temporary file."""

    def __init__(self, context: ExportContext, split: str) -> None:
        self._labels = context.labels
        name = "coco.json" if split == NO_SPLIT else f"coco_{split}.json"
        self._file = context.sink.open(context.path(name))
        self._annotations = context.sink.scratch()
        self._images = self._instances = 0
        categories = [{"id": i + 1, "name": label, "supercategory": ""} for i, label in enumerate(self._labels)]
        head = f'{{"info": {json.dumps(dict(context.about))},\n"licenses": [],\n"categories": {json.dumps(categories)}'
        self._file.write(f'{head},\n"images": ['.encode())

    def add(self, sample: ExportedSample) -> None:
        self._images += 1
        size = {"width": sample.sample.image.width, "height": sample.sample.image.height}
        entry = {"id": self._images, "file_name": sample.image_path, **size}
        _add_entry(self._file, entry, first=self._images == 1)
        for i in range(len(sample.sample.instances)):
            self._instances += 1
            annotation = {"id": self._instances, "image_id": self._images, **annotation_of(sample, i, self._labels)}
            _add_entry(self._annotations, annotation, first=self._instances == 1)

    def finish(self) -> None:
        with self._file, self._annotations:
            self._file.write(b'],\n"annotations": [')
            self._annotations.seek(0)
            shutil.copyfileobj(self._annotations, self._file)
            self._file.write(b"]}\n")


def annotation_of(sample: ExportedSample, number: int, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return COCO's annotation of instance ``number`` (from 0), without the ids of the annotation and the image."""
    instance = sample.sample.instances[number]
    box_only = isinstance(sample.sample, RealPhoto) and number in sample.sample.boxes_only
    polygons = len(instance.outlines) == 1 and not sample.rings[number]
    return {
        "category_id": labels.index(instance.label) + 1,
        "bbox": bbox(instance.box),
        "area": sample.areas[number],
        "segmentation": []
        if box_only
        else [_flat(instance.outlines[0])]
        if polygons
        else run_lengths(sample.inside(number)),
        "iscrowd": 0,
    }


def run_lengths(inside: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return COCO's uncompressed run-length encoding of a mask [h, w]: column-major runs, the first one outside."""
    flat = np.concatenate([[False], inside.T.reshape(-1), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts: list[int] = np.diff(np.concatenate([[0], changes, [inside.size]])).tolist()
    return {"size": [*inside.shape], "counts": counts}


def bbox(box: Box) -> list[float]:
    """Return a box as x, y, width and height in pixels."""
    return [round(value, PLACES) for value in (box.x, box.y, box.width, box.height)]


def _add_entry(file: IO[bytes], entry: Mapping[str, Any], *, first: bool) -> None:
    file.write(f"{'' if first else ','}\n{json.dumps(entry)}".encode())


def _flat(outline: Polygon) -> list[float]:
    return [round(value, PLACES) for point in outline.points for value in point]
