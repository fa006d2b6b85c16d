"""The last look before a sample leaves: do its labels say what its mask's pixels say?

Compares values; reads no file and mends nothing. A sample that disagrees is a fault of whoever made it.
"""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import Sample
from datagen.errors import StoreError
from datagen.export import holes

#: [h, w] uint8: 0 outside, i + 1 inside instance i.
Mask = npt.NDArray[np.uint8]

#: Instances that a mask of eight bits can tell apart.
MOST_INSTANCES = 255

#: How far a box's side may lie from the mask's, pixels: room for a JSON round trip, not for a mistake.
BOX_SLACK_PX = 0.01

#: How far an outline may run from the edge of its mask, pixels: it may be simplified, but by no more than this.
OUTLINE_SLACK_PX = 1

#: ``cv2.fillPoly`` takes whole numbers; with this many binary places they are fine enough.
_FRACTION_BITS = 8


def check(sample: Sample, name: str, mask: Mask, *, labels: Collection[str]) -> tuple[int, ...]:
    """The area of each instance in pixels, once everything agrees.

    Args:
        sample: what the labels say.
        name: how the sample is called in an error.
        mask: what the pixels say.
        labels: the study's; no other may occur.

    Raises:
        StoreError: the two disagree; the sentence names the sample, the instance and both sides.
    """
    if mask.shape != (sample.image.height, sample.image.width):
        raise _disagreement(name, f"its mask is {mask.shape[1]} by {mask.shape[0]} pixels, its image {_size(sample)}")
    count = len(sample.instances)
    if count > MOST_INSTANCES:
        raise _disagreement(name, f"its labels name {count} instances, a mask of eight bits holds {MOST_INSTANCES}")
    highest = int(mask.max(initial=0))
    if highest > count:
        raise _disagreement(name, f"its mask marks an instance {highest}, its labels name {count}")
    places = ndimage.find_objects(mask, max_label=count)
    areas = []
    for i, (instance, place) in enumerate(zip(sample.instances, places, strict=True)):
        which = f"instance {i + 1} ({instance.label})"
        if instance.label not in labels:
            raise _disagreement(name, f"{which} has a label that the study does not: {', '.join(labels)}")
        if place is None:
            raise _disagreement(name, f"{which} has no pixel in the mask")
        rows, columns = place
        tight = Box(columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        if not _close(tight, instance.box):
            raise _disagreement(name, f"{which} has the box {_spoken(instance.box)}, its pixels {_spoken(tight)}")
        inside = mask[place] == i + 1
        if not _outlined(inside, instance.outlines, columns.start, rows.start):
            raise _disagreement(
                name, f"the outline of {which} runs more than {OUTLINE_SLACK_PX} pixel from the edge of its pixels"
            )
        areas.append(int(np.count_nonzero(inside)))
    return tuple(areas)


def _close(one: Box, other: Box) -> bool:
    sides = zip((one.x, one.y, one.right, one.bottom), (other.x, other.y, other.right, other.bottom), strict=True)
    return all(abs(a - b) <= BOX_SLACK_PX for a, b in sides)


def _outlined(inside: npt.NDArray[np.bool_], outlines: tuple[Polygon, ...], left: int, top: int) -> bool:
    """Whether the polygons cover ``inside`` [h, w], whose corner lies at (left, top), up to the slack.

    An outline cannot have a hole: the rings of the holes, which COCO and YOLO write with it, are filled together with
    the outlines by the even-odd rule, and a hole that this does not leave open is a disagreement.
    """
    pad = OUTLINE_SLACK_PX + 1
    solid = np.pad(inside, pad).astype(np.uint8)
    drawn = np.zeros_like(solid)
    lines = []
    for outline in (*outlines, *holes.rings(inside, left, top)):
        # fillPoly counts from the middle of the first pixel, outlines from its corner
        points = np.asarray(outline.points, np.float64) + np.array([pad - left - 0.5, pad - top - 0.5])
        lines.append(np.clip(np.rint(points * 2**_FRACTION_BITS), -(2**30), 2**30).astype(np.int32))
    if lines:
        cv2.fillPoly(drawn, lines, 1, shift=_FRACTION_BITS)
    # fillPoly fills what an outline touches, half a pixel too much: the slack of one pixel takes that in
    kernel = np.ones((2 * OUTLINE_SLACK_PX + 1,) * 2, np.uint8)
    return not (drawn > cv2.dilate(solid, kernel)).any() and not (solid > cv2.dilate(drawn, kernel)).any()


def _size(sample: Sample) -> str:
    return f"{sample.image.width} by {sample.image.height}"


def _spoken(box: Box) -> str:
    return f"({box.x:g}, {box.y:g}) to ({box.right:g}, {box.bottom:g})"


def _disagreement(name: str, what: str) -> StoreError:
    return StoreError(
        f"sample {name} is not exported, because its labels disagree with its pixels: {what}. "
        "This is a fault of the engine that made it: report it, and generate the run again"
    )
