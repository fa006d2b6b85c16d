"""The common part of the formats with images inside their files: numbered shards of a limited size, and objects.

A shard's name begins with its split, ``train`` in an export without splits, as readers of shards expect.
"""

from __future__ import annotations

from typing import Any

from datagen.export.formats.coco import bbox, run_lengths
from datagen.export.writer import NO_SPLIT, ExportedSample

#: Largest size of a shard in bytes.
MAX_SHARD_BYTES = 500_000_000


def shard_name(split: str, number: int, suffix: str) -> str:
    """Return the name of shard ``number``, counted from 0, of a split."""
    return f"{'train' if split == NO_SPLIT else split}-{number:05d}.{suffix}"


def objects_of(sample: ExportedSample, labels: tuple[str, ...]) -> dict[str, list[Any]]:
    """Return an image's objects as columns: one list for each property, in the order of the mask's values.

    ``category`` counts the study's labels from 0, ``bbox`` is x, y, width and height in pixels, ``area`` is in pixels,
    and ``segmentation`` is COCO's uncompressed run-length mask.
    """
    instances = sample.sample.instances
    return {
        "id": list(range(1, len(instances) + 1)),
        "category": [labels.index(instance.label) for instance in instances],
        "label": [instance.label for instance in instances],
        "bbox": [bbox(instance.box) for instance in instances],
        "area": list(sample.areas),
        "segmentation": [run_lengths(sample.inside(i)) for i in range(len(instances))],
    }
