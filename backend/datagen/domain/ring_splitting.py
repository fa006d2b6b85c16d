"""Splits a closed line at the segments that it runs in both directions: the inverse of ``outline_joining``.

Such a segment encloses no area by the even-odd rule, and joins parts or holes of one region. Shapely takes the segments
of a line as a set, and would fill what several of them enclose.
"""

from __future__ import annotations

from collections.abc import Sequence

_Point = tuple[float, float]


def split_rings(points: Sequence[_Point]) -> list[list[_Point]]:
    """Return rings of at least three corners that together cover, by the even-odd rule, what ``points`` cover."""
    rings: list[list[_Point]] = []
    path: list[_Point] = []
    #: segment → its position in ``path``
    segments: dict[tuple[_Point, _Point], int] = {}
    closed = [*points, points[0]] if points and points[0] != points[-1] else points
    for point in closed:
        back = segments.get((point, path[-1])) if path else None
        if back is None:
            if path:
                segments[(path[-1], point)] = len(path) - 1
            path.append(point)
            continue
        for i in range(back, len(path) - 1):
            segments.pop((path[i], path[i + 1]), None)
        rings.append(path[back + 1 :])
        del path[back + 1 :]
    rings.append(path)
    corners = (ring[:-1] if len(ring) > 1 and ring[0] == ring[-1] else ring for ring in rings)
    return [ring for ring in corners if len(ring) >= 3]
