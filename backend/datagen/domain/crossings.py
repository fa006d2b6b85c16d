"""How often a polygon crosses itself, found with bounded work, before anything whose cost grows with the crossings.

Splitting a polygon at its crossings takes time that grows faster than their number: 450 random corners cross some
20,000 times and take more than a minute. Pairs of sides whose upright boxes meet come from a tree (STR-packed R-tree,
Leutenegger et al. 1997); their number is bounded by a multiple of the corners, so the work is n log n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from datagen.errors import BadRegion

#: More often than this no hand crosses its own outline; splitting takes less than a second up to here.
MOST_CROSSINGS = 200
#: Pairs of sides that may lie near each other: this many in any polygon, and this many more for each corner.
_PAIRS, _PAIRS_A_CORNER = 250_000, 50
#: Sides looked up in the tree at a time, to bound the memory of their pairs.
_AT_A_TIME = 64
#: What is as good as zero, relative to the square of the largest coordinate: rounding must not hide a crossing.
_NOTHING = 1e-15

_Floats = npt.NDArray[np.float64]


def check_crossings(points: Sequence[tuple[float, float]]) -> None:
    """Let a polygon pass that does not cross or touch itself too often; its corners are finite pixels.

    Raises:
        BadRegion: it crosses itself more than ``MOST_CROSSINGS`` times, or very many of its sides lie close together.
    """
    corners = np.asarray(points, np.float64)
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    if len(corners) < 4:
        return
    ends = np.roll(corners, -1, axis=0)
    sides = shapely.linestrings(np.stack([corners, ends], axis=1))
    tree = shapely.STRtree(sides)
    count, pairs, most_pairs = len(sides), 0, _PAIRS + _PAIRS_A_CORNER * len(sides)
    crossings = 0
    for start in range(0, count, _AT_A_TIME):
        first, second = tree.query(sides[start : start + _AT_A_TIME])
        first = first + start
        pairs += len(first)
        if pairs > most_pairs:
            raise BadRegion(
                f"too many of the polygon's {count:,} sides lie across or close to one another; "
                "draw it again with fewer corners"
            )
        apart = (second > first + 1) & ~((first == 0) & (second == count - 1))  # neighbours share a corner
        crossings += int(_cross(corners, ends, first[apart], second[apart]).sum())
        if crossings > MOST_CROSSINGS:
            raise BadRegion(
                f"the polygon crosses itself more than {MOST_CROSSINGS} times; draw it with fewer crossings"
            )


def _cross(starts: _Floats, ends: _Floats, first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which pairs of sides, whose upright boxes meet, cross or touch."""
    a, b, c, d = starts[first], ends[first], starts[second], ends[second]
    nothing = _NOTHING * float(np.abs(starts).max()) ** 2
    return _astride(a, b, c, d, nothing) & _astride(c, d, a, b, nothing)


def _astride(a: _Floats, b: _Floats, c: _Floats, d: _Floats, nothing: float) -> npt.NDArray[np.bool_]:
    """Whether ``c`` and ``d`` lie on different sides of the line through ``a`` and ``b``, or on it."""
    left, right = _turn(a, b, c), _turn(a, b, d)
    return ~(((left > nothing) & (right > nothing)) | ((left < -nothing) & (right < -nothing)))


def _turn(a: _Floats, b: _Floats, c: _Floats) -> _Floats:
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
