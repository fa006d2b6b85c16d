"""Checks that the labels of a sample agree with its mask, before the sample is exported.

The check compares values; it reads no files and corrects nothing. A disagreement is a fault of the sample's engine.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import RealPhoto, Sample
from datagen.errors import StoreError
from datagen.export import holes
from datagen.export.writer import Mask

#: Largest number of instances that an 8-bit mask can distinguish.
MAX_INSTANCES = 255

#: Tolerance for the sides of a box, pixels. It allows for rounding in a JSON round trip.
BOX_SLACK_PX = 0.01

#: Tolerance for the distance of an outline from the edge of its mask, pixels. It allows for the simplification of
#: outlines.
OUTLINE_SLACK_PX = 1

#: Fractional bits of the fixed-point coordinates for ``cv2.fillPoly``.
_FRACTION_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Certified:
    """The measurements of each instance by the check of a sample."""

    #: pixels
    areas: tuple[int, ...]
    #: the rings of the holes; see ``holes.rings``
    rings: tuple[tuple[Polygon, ...], ...]


def check(sample: Sample | RealPhoto, name: str, mask: Mask, *, labels: Collection[str]) -> Certified:
    """Check that a sample's labels agree with its mask, and return each instance's area and holes.

    Args:
        sample: the sample with its labels.
        name: the sample's name in errors.
        mask: the sample's instance mask.
        labels: the study's labels; no others may occur.

    Raises:
        StoreError: labels and mask disagree; the sentence names the sample and the difference, and the
            instance if only one is affected.
    """
    if mask.shape != (sample.image.height, sample.image.width):
        raise _disagreement(name, f"its mask is {mask.shape[1]} by {mask.shape[0]} pixels, its image {_size(sample)}")
    count = len(sample.instances)
    if count > MAX_INSTANCES:
        raise _disagreement(name, f"its labels name {count} instances, a mask of eight bits holds {MAX_INSTANCES}")
    highest = int(mask.max(initial=0))
    if highest > count:
        raise _disagreement(name, f"its mask marks an instance {highest}, its labels name {count}")
    windows = ndimage.find_objects(mask, max_label=count)
    areas = []
    rings = []
    for i, (instance, window) in enumerate(zip(sample.instances, windows, strict=True)):
        instance_name = f"instance {i + 1} ({instance.label})"
        if instance.label not in labels:
            raise _disagreement(name, f"{instance_name} has a label that the study does not: {', '.join(labels)}")
        if window is None:
            raise _disagreement(name, f"{instance_name} has no pixel in the mask")
        rows, columns = window
        mask_box = Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        if not _close(mask_box, instance.box):
            raise _disagreement(
                name, f"{instance_name} has the box {_format_box(instance.box)}, its pixels {_format_box(mask_box)}"
            )
        inside = mask[window] == i + 1
        instance_rings = holes.rings(inside, columns.start, rows.start)
        if not _outlined(inside, (*instance.outlines, *instance_rings), columns.start, rows.start):
            raise _disagreement(
                name,
                f"the outline of {instance_name} runs more than {OUTLINE_SLACK_PX} pixel from the edge of its pixels",
            )
        areas.append(int(np.count_nonzero(inside)))
        rings.append(instance_rings)
    return Certified(areas=tuple(areas), rings=tuple(rings))


def _close(first: Box, second: Box) -> bool:
    sides = zip(
        (first.x, first.y, first.right, first.bottom), (second.x, second.y, second.right, second.bottom), strict=True
    )
    return all(abs(a - b) <= BOX_SLACK_PX for a, b in sides)


def _outlined(inside: npt.NDArray[np.bool_], lines: tuple[Polygon, ...], left: int, top: int) -> bool:
    """Return whether an instance's outlines cover its pixels within ``OUTLINE_SLACK_PX``.

    Outlines cannot have holes, so ``lines`` contains the rings of the holes too (see ``holes``), as the formats with
    polygons do. They are filled together by the even-odd rule. The result must have the same holes as ``inside``.

    Args:
        inside: the instance's pixels, [h, w] bool.
        lines: the instance's outlines and the rings of its holes, in pixels of the image.
        left, top: the position of the top left corner of ``inside`` in the image, in pixels.
    """
    pad = OUTLINE_SLACK_PX + 1
    mask_pixels = np.pad(inside, pad).astype(np.uint8)
    outline_pixels = np.zeros_like(mask_pixels)
    polygons = []
    for line in lines:
        # fillPoly's origin is the centre of the first pixel, that of outlines its corner
        points = np.asarray(line.points, np.float64) + np.array([pad - left - 0.5, pad - top - 0.5])
        polygons.append(np.clip(np.rint(points * 2**_FRACTION_BITS), -(2**30), 2**30).astype(np.int32))
    if polygons:
        cv2.fillPoly(outline_pixels, polygons, 1, shift=_FRACTION_BITS)
    # fillPoly also fills touched pixels, half a pixel too much; the tolerance of one pixel includes that
    kernel = np.ones((2 * OUTLINE_SLACK_PX + 1,) * 2, np.uint8)
    return (
        not (outline_pixels > cv2.dilate(mask_pixels, kernel)).any()
        and not (mask_pixels > cv2.dilate(outline_pixels, kernel)).any()
    )


def _size(sample: Sample | RealPhoto) -> str:
    return f"{sample.image.width} by {sample.image.height}"


def _format_box(box: Box) -> str:
    return f"({box.x:g}, {box.y:g}) to ({box.right:g}, {box.bottom:g})"


def _disagreement(name: str, detail: str) -> StoreError:
    return StoreError(
        f"sample {name} is not exported, because its labels disagree with its pixels: {detail}. "
        "This is a fault of the engine that made it: report it, and generate the run again"
    )
