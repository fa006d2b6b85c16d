"""COCO object detection and segmentation: one ``coco.json`` for the whole set (Lin et al. 2014, cocodataset.org).

Ids start at 1, and categories are in the order of the study's labels. ``file_name`` is relative to ``coco.json``.
Coordinates are continuous pixels as in all of Datagen. ``area`` is the number of an instance's pixels in the mask.

The segmentation of an instance is a list of polygons. Polygons cannot have holes, so the segmentation of an instance
with holes is a run-length mask (a list of counts) instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import Sample
from datagen.export import holes
from datagen.export.consistency_check import Mask

#: Number of decimal places of a coordinate. A thousandth of a pixel is more precise than any mask.
PLACES = 3


def image(number: int, file_name: str, sample: Sample) -> dict[str, Any]:
    """Return the entry of one image."""
    return {"id": number, "file_name": file_name, "width": sample.image.width, "height": sample.image.height}


def instances(
    sample: Sample, areas: Sequence[int], *, mask: Mask, image_number: int, first_number: int, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """Return the entries of a sample's instances.

    Args:
        sample: the sample.
        areas: the number of pixels of each instance.
        mask: the sample's instance mask.
        image_number: the id of the sample's image.
        first_number: the id of the first instance; the others follow it.
        labels: the study's labels, in order.
    """
    rings = holes.of_instances(mask, len(sample.instances))
    return [
        {
            "id": first_number + i,
            "image_id": image_number,
            "category_id": labels.index(instance.label) + 1,
            "bbox": _bbox(instance.box),
            "area": area,
            "segmentation": run_lengths(mask == i + 1)
            if rings[i]
            else [_flat(outline) for outline in instance.outlines],
            "iscrowd": 0,
        }
        for i, (instance, area) in enumerate(zip(sample.instances, areas, strict=True))
    ]


def run_lengths(inside: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """Return COCO's uncompressed run-length encoding of a mask [h, w]: column-major runs, the first one outside."""
    flat = np.concatenate([[False], inside.T.reshape(-1), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts: list[int] = np.diff(np.concatenate([[0], changes, [inside.size]])).tolist()
    return {"size": [*inside.shape], "counts": counts}


def document(
    about: Mapping[str, Any], labels: Sequence[str], images: Iterable[str], annotations: Iterable[str]
) -> Iterator[str]:
    """Yield the text of ``coco.json`` in pieces, so that the entries of a million images need not be in memory.

    Args:
        about: JSON values that describe the export.
        labels: the study's labels, in order.
        images, annotations: the entries, each as JSON text.
    """
    yield f'{{"info": {json.dumps(dict(about))},\n"licenses": [],\n"categories": ['
    categories = (json.dumps({"id": i + 1, "name": label, "supercategory": ""}) for i, label in enumerate(labels))
    yield from _listed(categories)
    yield '],\n"images": ['
    yield from _listed(images)
    yield '],\n"annotations": ['
    yield from _listed(annotations)
    yield "]}\n"


def _listed(entries: Iterable[str]) -> Iterator[str]:
    for i, entry in enumerate(entries):
        yield (",\n" if i else "\n") + entry


def _bbox(box: Box) -> list[float]:
    return [round(value, PLACES) for value in (box.x, box.y, box.width, box.height)]


def _flat(outline: Polygon) -> list[float]:
    return [round(value, PLACES) for point in outline.points for value in point]
