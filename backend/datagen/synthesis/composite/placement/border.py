"""Places at a background's border, for concepts that the border of their photo cuts off."""

from __future__ import annotations

import numpy as np

from datagen.synthesis.composite.extraction.cut_sides import CutSides
from datagen.synthesis.intensity import Bools

#: People's polygons may end this many cells of the reduced picture short of a border.
_SHORT_CELLS = 2


def reaching_borders(area: Bools) -> Bools:
    """Return a reduced area [h, w], extended to every border from which it ends at most ``_SHORT_CELLS`` cells."""
    reaching = area.copy()
    for cells in (reaching, reaching.T):
        if cells.shape[0] > 2 * _SHORT_CELLS:
            cells[:_SHORT_CELLS] |= cells[_SHORT_CELLS]
            cells[-_SHORT_CELLS:] |= cells[-_SHORT_CELLS - 1]
    return reaching


def border_place(area: Bools, cut: CutSides, at: float, size: tuple[int, ...], full: tuple[int, ...]) -> int | None:
    """Return the flat index of a cell of the area in which the window's centre lies if the window is at the cut sides.

    Return None if there is no such cell.

    Args:
        area: the reduced area, [h, w].
        cut: the sides of the background at which the window lies; no two are opposite.
        at: in 0..1, selects one of the cells.
        size: height and width of the window in pixels.
        full: height and width of the background in pixels.
    """
    allowed = area
    for axis, (first, last) in enumerate(((cut.top, cut.bottom), (cut.left, cut.right))):
        if first is None and last is None:
            continue
        depth = min(size[axis] * area.shape[axis] // (2 * full[axis]), area.shape[axis] - 1)
        line = np.zeros((area.shape[axis], 1) if axis == 0 else (1, area.shape[axis]), bool)
        line.flat[depth if first is not None else -1 - depth] = True
        allowed = allowed & line
    cells = allowed.ravel().nonzero()[0]
    return int(cells[int(at * len(cells))]) if len(cells) else None


def at_border(spot: tuple[int, int], cut: CutSides, size: tuple[int, ...], full: tuple[int, ...]) -> tuple[int, int]:
    """Return top and left of a window after it is moved to the cut sides of the background.

    ``spot`` is its top and left before. ``size`` and ``full`` are height and width of the window and the background.
    """
    top, left = spot
    if cut.along:
        top = 0 if cut.top is not None else full[0] - size[0]
    if cut.across:
        left = 0 if cut.left is not None else full[1] - size[1]
    return top, left
