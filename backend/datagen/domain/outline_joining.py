"""One closed line through several outlines, for formats whose polygon is a single line.

Filled by the even-odd rule, the line covers what the outlines cover: parts stay parts, and holes stay open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from datagen.domain.geometry import Point, Polygon


def joined(outlines: Sequence[Polygon]) -> tuple[Point, ...]:
    """Return one closed line through all outlines; each further one is joined at its corner nearest to the line.

    The joining segments run in both directions, so they enclose no area.
    """
    line = list(outlines[0].points)
    for outline in outlines[1:]:
        outline_points, line_points = np.asarray(outline.points, np.float64), np.asarray(line, np.float64)
        # a matrix of all pairs of large outlines would not fit into memory
        gaps, nearest = cKDTree(line_points).query(outline_points)
        enter = int(np.argmin(gaps))
        leave = int(nearest[enter])
        tour = [*outline.points[enter:], *outline.points[: enter + 1]]
        line[leave + 1 : leave + 1] = [*tour, line[leave]]
    return tuple(line)
