"""YOLO as Ultralytics reads it: ``labels/NAME.txt`` beside ``images/NAME.png``, and ``data.yaml``.

One row an instance: its class (from 0, in the study's order) and shares of the image's width and height. Boxes and
polygons cannot both lie in ``labels/``, so they are two formats. An instance in several parts becomes one polygon, its
parts joined by a way there and back, as Ultralytics itself joins COCO's; a hole is joined in the same way, and stays
open because Ultralytics fills by the even-odd rule (``cv2.fillPoly``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from datagen.domain.geometry import Point, Polygon
from datagen.domain.sample import Sample
from datagen.export import holes
from datagen.export.consistency_check import Mask


def box_rows(sample: Sample, labels: Sequence[str]) -> str:
    """``class x_centre y_centre width height`` a row; empty for an image without the thing."""
    width, height = sample.image.width, sample.image.height
    rows = []
    for instance in sample.instances:
        box = instance.box
        centre = (box.x + box.width / 2, box.y + box.height / 2)
        numbers = (centre[0] / width, centre[1] / height, box.width / width, box.height / height)
        rows.append(_row(labels.index(instance.label), numbers))
    return "".join(rows)


def polygon_rows(sample: Sample, labels: Sequence[str], mask: Mask) -> str:
    """``class x1 y1 x2 y2 …`` a row; empty for an image without the thing. ``mask`` is the sample's, for the holes."""
    width, height = sample.image.width, sample.image.height
    rows = []
    hollow = holes.of_instances(mask, len(sample.instances))
    for instance, rings in zip(sample.instances, hollow, strict=True):
        corners = joined((*instance.outlines, *rings))
        numbers = [share for x, y in corners for share in (x / width, y / height)]
        rows.append(_row(labels.index(instance.label), numbers))
    return "".join(rows)


def data_yaml(labels: Sequence[str]) -> str:
    """The file that names the folders and the classes.

    It names no ``path``: Ultralytics takes the folder that the file lies in, from any working directory, while a
    relative ``path`` would be looked for below the working directory and its own settings.
    """
    names = "".join(f"  {i}: {json.dumps(label, ensure_ascii=False)}\n" for i, label in enumerate(labels))
    return (
        "# Ultralytics wants a validation set: name a folder of held-out real images here.\n"
        "# Scores on the images that a model was trained on say nothing.\n"
        "train: images\n"
        "val: images\n"
        f"names:\n{names}"
    )


def joined(outlines: Sequence[Polygon]) -> tuple[Point, ...]:
    """One closed line through all outlines: each further one is entered and left at its corner nearest to the line.

    The ways between have no width, so they enclose nothing.
    """
    line = list(outlines[0].points)
    for outline in outlines[1:]:
        there, here = np.asarray(outline.points, np.float64), np.asarray(line, np.float64)
        gaps, nearest = cKDTree(here).query(there)  # all pairs of large outlines would not fit into memory
        enter = int(np.argmin(gaps))
        leave = int(nearest[enter])
        tour = [*outline.points[enter:], *outline.points[: enter + 1]]
        line[leave + 1 : leave + 1] = [*tour, line[leave]]
    return tuple(line)


def _row(number: int, shares: Sequence[float]) -> str:
    return f"{number} {' '.join(f'{min(max(share, 0.0), 1.0):.6f}' for share in shares)}\n"
