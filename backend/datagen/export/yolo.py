"""YOLO in the variant of Ultralytics: ``labels/NAME.txt`` for each ``images/NAME.png``, and ``data.yaml``.

Each row is an instance: its class (from 0, in the order of the study's labels), then coordinates as fractions of the
image's width and height. Boxes and polygons cannot share the folder ``labels/``, so they are two formats.

An instance with several parts becomes one polygon. A segment joins two parts, and the polygon runs along it in both
directions, as in Ultralytics' own conversion of COCO polygons. Holes are joined in the same way. They stay open,
because Ultralytics fills by the even-odd rule (``cv2.fillPoly``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from datagen.domain.outline_joining import joined
from datagen.domain.sample import Sample
from datagen.export import holes
from datagen.export.consistency_check import Mask


def box_rows(sample: Sample, labels: Sequence[str]) -> str:
    """Return a sample's file of boxes: rows of ``class x_centre y_centre width height``. Empty without instances."""
    width, height = sample.image.width, sample.image.height
    rows = []
    for instance in sample.instances:
        box = instance.box
        centre = (box.x + box.width / 2, box.y + box.height / 2)
        numbers = (centre[0] / width, centre[1] / height, box.width / width, box.height / height)
        rows.append(_row(labels.index(instance.label), numbers))
    return "".join(rows)


def polygon_rows(sample: Sample, labels: Sequence[str], mask: Mask) -> str:
    """Return a sample's file of polygons: rows of ``class x1 y1 x2 y2 …``. Empty without instances.

    The holes of the instances are taken from ``mask``, the sample's instance mask.
    """
    width, height = sample.image.width, sample.image.height
    rows = []
    rings_by_instance = holes.of_instances(mask, len(sample.instances))
    for instance, rings in zip(sample.instances, rings_by_instance, strict=True):
        corners = joined((*instance.outlines, *rings))
        numbers = [fraction for x, y in corners for fraction in (x / width, y / height)]
        rows.append(_row(labels.index(instance.label), numbers))
    return "".join(rows)


def data_yaml(labels: Sequence[str]) -> str:
    """Return the text of ``data.yaml``, which names the folders and the classes.

    The file has no ``path``, so Ultralytics uses the file's own folder, whatever the working directory is. Ultralytics
    would search for a relative ``path`` below the working directory and below the folder in its settings.
    """
    names = "".join(f"  {i}: {json.dumps(label, ensure_ascii=False)}\n" for i, label in enumerate(labels))
    return (
        "# Ultralytics wants a validation set: name a folder of held-out real images here.\n"
        "# Scores on the images that a model was trained on say nothing.\n"
        "train: images\n"
        "val: images\n"
        f"names:\n{names}"
    )


def _row(number: int, fractions: Sequence[float]) -> str:
    return f"{number} {' '.join(f'{min(max(fraction, 0.0), 1.0):.6f}' for fraction in fractions)}\n"
