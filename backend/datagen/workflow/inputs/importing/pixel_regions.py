"""Conversion of boxes and polygons in pixels to Label Studio's regions, for COCO, Pascal VOC and YOLO."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from datagen.errors import BadRegion

#: Largest number of corners of a polygon.
MAX_CORNERS = 10_000


def box(x: float, y: float, across: float, down: float, label: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the region of a box: left, top, width and height in pixels, on a picture of ``size`` (width, height)."""
    width, height = size
    value = {
        "x": 100 * x / width,
        "y": 100 * y / height,
        "width": 100 * across / width,
        "height": 100 * down / height,
        "rotation": 0,
        "rectanglelabels": [label],
    }
    return _region("rectanglelabels", value, size)


def polygon(points: Sequence[tuple[float, float]], label: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the region of a polygon with corners in pixels, on a picture of ``size`` (width, height)."""
    width, height = size
    corners = [[100 * x / width, 100 * y / height] for x, y in points]
    return _region("polygonlabels", {"points": corners, "closed": True, "polygonlabels": [label]}, size)


def numbers(values: Any, least: int, name: str) -> list[float]:
    """Return a value of a file as a list of finite numbers. ``name`` is the value's name in messages.

    Raises:
        BadRegion: the value is not a list of finite numbers, has fewer than ``least``, or has too many.
    """
    if not isinstance(values, list | tuple) or len(values) < least:
        raise BadRegion(f"its {name} is no list of {least} numbers or more")
    if len(values) > 2 * MAX_CORNERS:
        raise BadRegion(f"its {name} has more than {MAX_CORNERS:,} corners; simplify it")
    checked = []
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e9:
            raise BadRegion(f"its {name} has a value that is no number")
        checked.append(float(value))
    return checked


def pairs(flat: Sequence[float], name: str) -> list[tuple[float, float]]:
    """Return the numbers x, y, x, y, … as points (x, y). ``name`` is their name in messages.

    Raises:
        BadRegion: the number of coordinates is odd.
    """
    if len(flat) % 2:
        raise BadRegion(f"its {name} has an odd number of coordinates")
    return list(zip(flat[::2], flat[1::2], strict=True))


def whole_size(width: Any, height: Any) -> tuple[int, int] | None:
    """Return a picture's size (width, height) as declared in a file; None if the file declares no valid size."""
    sides = []
    for side in (width, height):
        try:
            number = float(side)
        except (TypeError, ValueError, OverflowError):
            return None
        if not math.isfinite(number) or not 1 <= number < 1e6:
            return None
        sides.append(int(number))
    return sides[0], sides[1]


def _region(kind: str, value: dict[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    sizes = {"original_width": size[0], "original_height": size[1], "image_rotation": 0}
    return {"from_name": "", "to_name": "image", "type": kind, "value": value, **sizes}
