"""A bounded check for polygons that cross themselves too often, made before any step whose cost grows with crossings.

Splitting a polygon at its crossings takes time that grows faster than the number of crossings. A polygon with 450
random corners has some 20,000 crossings, and splitting it takes more than a minute.

The check first finds the candidate pairs: two sides whose axis-aligned bounding boxes meet. They come from an
STR-packed R-tree (Leutenegger et al. 1997). The number of pairs is bounded by a multiple of the number of corners n, so
the work is O(n log n).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from datagen.errors import BadRegion

#: Largest number of crossings accepted. Hand-drawn outlines have fewer. Splitting a polygon with this many takes less
#: than a second.
MAX_CROSSINGS = 200
#: Largest number of candidate pairs of a polygon with n corners: ``_PAIRS + n * _PAIRS_A_CORNER``.
_PAIRS, _PAIRS_A_CORNER = 250_000, 50
#: Number of sides whose pairs are queried from the tree in one call. It bounds the memory for the pairs.
_SIDES_PER_QUERY = 64
#: A cross product counts as zero up to this multiple of the square of the largest coordinate, so that rounding hides no
#: crossing.
_ZERO_TOLERANCE = 1e-15

_Floats = npt.NDArray[np.float64]


def check_crossings(points: Sequence[tuple[float, float]]) -> None:
    """Check that a polygon does not cross or touch itself too often. Its corners must be finite, in pixels.

    Raises:
        BadRegion: it crosses itself more than ``MAX_CROSSINGS`` times, or very many of its sides lie close together.
    """
    corners = np.asarray(points, np.float64)
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    if len(corners) < 4:
        return
    ends = np.roll(corners, -1, axis=0)
    sides = shapely.linestrings(np.stack([corners, ends], axis=1))
    tree = shapely.STRtree(sides)
    count, pairs, max_pairs = len(sides), 0, _PAIRS + _PAIRS_A_CORNER * len(sides)
    crossings = 0
    for start in range(0, count, _SIDES_PER_QUERY):
        first, second = tree.query(sides[start : start + _SIDES_PER_QUERY])
        first = first + start
        pairs += len(first)
        if pairs > max_pairs:
            raise BadRegion(
                f"too many of the polygon's {count:,} sides lie across or close to one another; "
                "draw it again with fewer corners"
            )
        apart = (second > first + 1) & ~((first == 0) & (second == count - 1))  # neighbours share a corner
        crossings += int(_cross(corners, ends, first[apart], second[apart]).sum())
        if crossings > MAX_CROSSINGS:
            raise BadRegion(f"the polygon crosses itself more than {MAX_CROSSINGS} times; draw it with fewer crossings")


def _cross(starts: _Floats, ends: _Floats, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return for each pair of sides whether they cross or touch.

    Args:
        starts, ends: the corners at which each side begins and ends, both [n, 2].
        first, second: the indices of the two sides of each pair, whose bounding boxes meet, both [m].

    Returns:
        A boolean array [m].
    """
    a, b, c, d = starts[first], ends[first], starts[second], ends[second]
    tolerance = _ZERO_TOLERANCE * float(np.abs(starts).max()) ** 2
    return _on_opposite_sides(a, b, c, d, tolerance) & _on_opposite_sides(c, d, a, b, tolerance)


def _on_opposite_sides(a: _Floats, b: _Floats, c: _Floats, d: _Floats, tolerance: float) -> npt.NDArray[np.bool_]:
    """Return whether the line through ``a`` and ``b`` separates ``c`` from ``d``; all are points [m, 2].

    The result is also true if ``c`` or ``d`` lies on the line within ``tolerance``, which is in square pixels.
    """
    left, right = _orientation(a, b, c), _orientation(a, b, d)
    return ~(((left > tolerance) & (right > tolerance)) | ((left < -tolerance) & (right < -tolerance)))


def _orientation(a: _Floats, b: _Floats, c: _Floats) -> _Floats:
    """Return the cross product of ``b - a`` and ``c - a``.

    Its sign shows on which side of the line through ``a`` and ``b`` the point ``c`` lies.
    """
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
