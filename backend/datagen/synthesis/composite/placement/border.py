"""Places at a background's border, for concepts that the border of their photo cuts off."""

from __future__ import annotations

import numpy as np

from datagen.synthesis.composite.extraction.cut_sides import CutSides
from datagen.synthesis.intensity import Bools

#: Cells of the reduced picture by which people's polygons may end short of a border.
_SHORT_CELLS = 2


def reaching_borders(area: Bools) -> Bools:
    """Return a reduced area [h, w] extended to the borders from which it ends a little short."""
    reaching = area.copy()
    for cells in (reaching, reaching.T):
        if cells.shape[0] > 2 * _SHORT_CELLS:
            cells[:_SHORT_CELLS] |= cells[_SHORT_CELLS]
            cells[-_SHORT_CELLS:] |= cells[-_SHORT_CELLS - 1]
    return reaching


def border_place(area: Bools, cut: CutSides, at: float, size: tuple[int, ...], full: tuple[int, ...]) -> int | None:
    """Return the flat index of a cell of the area where a window at the cut sides has its centre; None if none is.

    Args:
        area: the reduced area, [h, w].
        cut: the sides at which the window lies; no opposite ones.
        at: in 0..1, selects one of the cells.
        size: height and width of the window.
        full: height and width of the background.
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
    """Return top and left of a window moved to the cut sides."""
    top, left = spot
    if cut.along:
        top = 0 if cut.top is not None else full[0] - size[0]
    if cut.across:
        left = 0 if cut.left is not None else full[1] - size[1]
    return top, left
