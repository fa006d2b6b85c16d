"""COCO object detection and segmentation: one ``coco.json`` for the whole set (Lin et al. 2014, cocodataset.org).

Numbers start at 1, categories are in the study's order, ``file_name`` is relative to the file itself, coordinates are
continuous pixels as everywhere here. ``area`` is counted in the mask's pixels. A polygon has no hole: the segmentation
of an instance with one is a run-length mask (a list of counts), every other's a list of polygons.
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

#: Decimal places of a coordinate: a thousandth of a pixel is finer than any mask.
PLACES = 3


def image(number: int, file_name: str, sample: Sample) -> dict[str, Any]:
    """The entry of one image."""
    return {"id": number, "file_name": file_name, "width": sample.image.width, "height": sample.image.height}


def instances(
    sample: Sample, areas: Sequence[int], *, mask: Mask, image_number: int, first_number: int, labels: Sequence[str]
) -> list[dict[str, Any]]:
    """The entries of a sample's instances, numbered from ``first_number``; ``areas`` are their pixels in ``mask``."""
    hollow = holes.of_instances(mask, len(sample.instances))
    return [
        {
            "id": first_number + i,
            "image_id": image_number,
            "category_id": labels.index(instance.label) + 1,
            "bbox": _bbox(instance.box),
            "area": area,
            "segmentation": run_lengths(mask == i + 1) if hollow[i] else [_flat(one) for one in instance.outlines],
            "iscrowd": 0,
        }
        for i, (instance, area) in enumerate(zip(sample.instances, areas, strict=True))
    ]


def run_lengths(inside: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """COCO's uncompressed run-length form of a mask [h, w]: runs down the columns, the first one outside."""
    flat = np.concatenate([[False], inside.T.reshape(-1), [False]])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts: list[int] = np.diff(np.concatenate([[0], changes, [inside.size]])).tolist()
    return {"size": [*inside.shape], "counts": counts}


def document(
    about: Mapping[str, Any], labels: Sequence[str], images: Iterable[str], annotations: Iterable[str]
) -> Iterator[str]:
    """The file in pieces, from entries that are JSON already, so that a million of them need no memory."""
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
