"""YOLO in the variants of Ultralytics: ``labels/NAME.txt`` for each ``images/NAME.png``, and ``data.yaml``.

Each row is an instance: its class (from 0, in the study's order), then coordinates as fractions of the image's width
and height. Boxes, polygons and turned boxes share ``labels/`` and ``data.yaml``, so several variants of one export get
a folder each, with a copy of the images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Point
from datagen.domain.outline_joining import joined
from datagen.export.writer import NO_SPLIT, ExportedSample, ExportWriter
from datagen.export.yaml_text import quoted


class _YoloWriter(ExportWriter):
    """The common part of the variants: a file of rows for each image, and ``data.yaml``."""

    opened_by = "Ultralytics, supervision"

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        labels, instances = self.context.labels, sample.sample.instances
        rows = (
            _row(labels.index(instance.label), numbers)
            for instance, numbers in zip(instances, self._fractions(sample), strict=True)
        )
        path = sample.image_path.replace("images/", "labels/", 1).rpartition(".")[0] + ".txt"
        self.context.sink.write(self.context.path(path), "".join(rows).encode())
        return {}

    def finish(self) -> None:
        text = data_yaml(self.context.labels, self.context.splits)
        self.context.sink.write(self.context.path("data.yaml"), text.encode())

    @abstractmethod
    def _fractions(self, sample: ExportedSample) -> Iterator[Sequence[float]]:
        """Yield the numbers that follow the class in the row of each instance, as fractions of the image's size."""


class YoloWriter(_YoloWriter):
    """Writes rows of ``class x_centre y_centre width height``."""

    name = "yolo"
    sentence = "YOLO detect: boxes, in one text file an image, and data.yaml."
    limits = "Boxes alone, no shapes."
    boxes_suffice = True
    paths = (
        ("labels/", "YOLO: boxes, one text file an image"),
        ("data.yaml", "YOLO: the folders and classes, as Ultralytics reads them"),
    )

    def _fractions(self, sample: ExportedSample) -> Iterator[Sequence[float]]:
        width, height = sample.sample.image.width, sample.sample.image.height
        for instance in sample.sample.instances:
            box = instance.box
            centre = (box.x + box.width / 2, box.y + box.height / 2)
            yield centre[0] / width, centre[1] / height, box.width / width, box.height / height


class YoloSegmentWriter(_YoloWriter):
    """Writes rows of ``class x1 y1 x2 y2 …``.

    An instance with several parts is one polygon, whose parts are joined by a segment in both directions, as
    Ultralytics joins the parts of COCO polygons. Holes are joined in the same way, and stay open because Ultralytics
    fills by the even-odd rule (``cv2.fillPoly``).
    """

    name = "yolo-segment"
    sentence = "YOLO segment: one polygon an object, in one text file an image, and data.yaml."
    limits = (
        "One line per object. Parts and holes are joined to it by lines of no width, which hold for readers that fill "
        "by the even-odd rule, as Ultralytics does."
    )
    paths = (
        ("labels/", "YOLO: polygons, one text file an image"),
        ("data.yaml", "YOLO: the folders and classes, as Ultralytics reads them"),
    )

    def _fractions(self, sample: ExportedSample) -> Iterator[Sequence[float]]:
        for instance, rings in zip(sample.sample.instances, sample.rings, strict=True):
            yield _flat_fractions(sample, joined((*instance.outlines, *rings)))


class YoloObbWriter(_YoloWriter):
    """Writes rows of ``class x1 y1 x2 y2 x3 y3 x4 y4``: the smallest turned box round an instance's pixels.

    Where that box reaches out of the image, which Ultralytics refuses, the upright box is written.
    """

    name = "yolo-obb"
    sentence = "YOLO OBB: turned boxes, in one text file an image, and data.yaml."
    limits = "The smallest turned box round each object (the upright one at the edge of an image), no shapes."
    paths = (
        ("labels/", "YOLO: turned boxes, one text file an image"),
        ("data.yaml", "YOLO: the folders and classes, as Ultralytics reads them"),
    )

    def _fractions(self, sample: ExportedSample) -> Iterator[Sequence[float]]:
        width, height = sample.sample.image.width, sample.sample.image.height
        for i, instance in enumerate(sample.sample.instances):
            corners = _turned_box(sample.inside(i))
            if corners.min() < 0 or (corners > (width, height)).any():
                box = instance.box
                corners = np.array(
                    [(box.x, box.y), (box.right, box.y), (box.right, box.bottom), (box.x, box.bottom)], np.float64
                )
            yield _flat_fractions(sample, [(x, y) for x, y in corners.tolist()])


def data_yaml(labels: Sequence[str], splits: Sequence[str] = (NO_SPLIT,)) -> str:
    """Return the file with the folders and the classes.

    It has no ``path``: Ultralytics then uses the file's own folder, from any working directory. It would search a
    relative ``path`` below the working directory and the folder in Ultralytics' settings.
    """
    names = "".join(f"  {i}: {quoted(label)}\n" for i, label in enumerate(labels))
    if tuple(splits) != (NO_SPLIT,):
        return "".join(f"{split}: images/{split}\n" for split in splits) + f"names:\n{names}"
    return (
        "# Ultralytics wants a validation set: name a folder of held-out real images here.\n"
        "# Scores on the images that a model was trained on say nothing.\n"
        "train: images\n"
        "val: images\n"
        f"names:\n{names}"
    )


def _turned_box(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the corners [4, 2] in pixels of the smallest box, turned in any way, round the pixels of a mask [h, w]."""
    rows, columns = np.nonzero(inside)
    firsts, lasts = np.unique(rows, return_index=True)[1], np.unique(rows[::-1], return_index=True)[1]
    ends = np.concatenate(  # the outermost pixels of each row; nonzero's columns ascend in each row
        [np.stack([rows[firsts], columns[firsts]], 1), np.stack([rows[::-1][lasts], columns[::-1][lasts]], 1)]
    )[:, ::-1]
    corners = np.concatenate([ends + offset for offset in ((0, 0), (1, 0), (0, 1), (1, 1))])
    turned = cv2.minAreaRect(corners.astype(np.float32))
    # OpenCV computes in 32 bits: a box along the edge of the image may lie a millionth outside
    return np.asarray(np.round(cv2.boxPoints(turned).astype(np.float64), 3), np.float64)


def _flat_fractions(sample: ExportedSample, corners: Sequence[Point]) -> list[float]:
    width, height = sample.sample.image.width, sample.sample.image.height
    return [fraction for x, y in corners for fraction in (x / width, y / height)]


def _row(number: int, fractions: Sequence[float]) -> str:
    return f"{number} {' '.join(f'{min(max(fraction, 0.0), 1.0):.6f}' for fraction in fractions)}\n"
