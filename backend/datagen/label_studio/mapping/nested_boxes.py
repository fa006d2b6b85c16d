"""Boxes round the same object: a loose one and a tight one inside it.

Such pairs occur if two people draw boxes, or if a person draws boxes beside imported ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datagen.domain.geometry import Box

#: A box lies inside another one if at least this share of its area lies in it.
_INSIDE = 0.9
#: Two boxes are round the same object only if the outer one's area is at most this many times the inner one's. A larger
#: box is round another object, or round several.
_LARGER = 10.0


def looser_boxes(boxes: Sequence[tuple[str, Box]]) -> dict[int, int]:
    """The loose boxes: the index of each, mapped to the index of a tighter box round the same object.

    Both boxes have the same label. Of equal boxes, the first is the tighter one. If a box lies inside several others,
    all of these are loose.
    """
    if len(boxes) < 2:
        return {}
    labels = np.array([label for label, _ in boxes], object)
    left, top, right, bottom = np.array([(box.x, box.y, box.right, box.bottom) for _, box in boxes]).T
    area = (right - left) * (bottom - top)
    tight = np.ones(len(boxes), bool)
    looser: dict[int, int] = {}
    # smallest first: a box is compared with those that are already known to be tight
    order = np.argsort(area, kind="stable")
    for position, index in enumerate(order.tolist()):
        inner = order[:position][tight[order[:position]]]
        across = np.minimum(right[inner], right[index]) - np.maximum(left[inner], left[index])
        down = np.minimum(bottom[inner], bottom[index]) - np.maximum(top[inner], top[index])
        share = np.maximum(across, 0) * np.maximum(down, 0) / area[inner]
        is_same = (labels[inner] == labels[index]) & (share >= _INSIDE) & (area[index] <= _LARGER * area[inner])
        if is_same.any():
            looser[index] = int(inner[np.argmax(is_same)])
            tight[index] = False
    return looser
