"""Joins several outlines to one closed line, for formats in which a polygon is a single line.

If the line is filled by the even-odd rule, it covers the same area as the outlines: parts stay separate, and holes stay
open.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from datagen.domain.geometry import Point, Polygon


def joined(outlines: Sequence[Polygon]) -> tuple[Point, ...]:
    """Return one closed line through all outlines, as points in pixels.

    The line begins with the first outline. Each further outline is connected to the line by a segment from the
    outline's corner that is nearest to a corner of the line. The line runs along the segment in both directions, so the
    segment encloses no area.
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
