"""A mask's label geometry: its tight box and the polygons whose rasterization gives the mask back.

A polygon runs through the midpoints of the cracks between inner and outer pixels, so that a pixel's centre is inside
exactly when the pixel is in the mask (marching squares at level 0.5 on a binary image, Lorensen & Cline 1987 in two
dimensions). Holes are not drawn: a polygon has none.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box, Point, Polygon

#: How far, in pixels, a simplified outline may run from the exact one. A pixel's centre is never nearer than 0.35
#: to the exact outline, so below that the centres stay on their side.
TOLERANCE_PX = 0.3

# Directions of travel along cracks with the mask at the right hand: 0 right, 1 down, 2 left, 3 up.
_STEP = ((1, 0), (0, 1), (-1, 0), (0, -1))


def tight_box(mask: npt.NDArray[np.bool_]) -> Box:
    """The smallest box of whole pixels round the true pixels of ``mask`` [h, w], which has at least one."""
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return Box(float(xs[0]), float(ys[0]), float(xs[-1] - xs[0] + 1), float(ys[-1] - ys[0] + 1))


def outlines(mask: npt.NDArray[np.bool_], offset: tuple[int, int] = (0, 0)) -> tuple[Polygon, ...]:
    """The outer outline of every 8-connected part of ``mask`` [h, w], largest first, in pixels.

    Args:
        mask: true inside.
        offset: x and y of the mask's top left corner in the image whose pixels are meant.
    """
    solid = np.pad(mask.astype(np.uint8), 1)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    found: list[tuple[int, Polygon]] = []
    for part in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[part])
        window = np.pad(parts[y : y + h, x : x + w] == part, 1)
        points = _simplified(_trace(window))
        # the paddings of 1 by the window and by ``solid`` are taken back
        shift_x, shift_y = x - 2 + offset[0], y - 2 + offset[1]
        found.append((area, Polygon(tuple((px + shift_x, py + shift_y) for px, py in points))))
    found.sort(key=lambda item: (-item[0], item[1].points))
    return tuple(polygon for _, polygon in found)


def _trace(window: npt.NDArray[np.bool_]) -> list[Point]:
    """The outer crack midpoints, clockwise, of the one part in ``window``, whose rim is false."""
    inside = window.tolist()
    top = int(np.flatnonzero(window.any(axis=1))[0])
    x, y, heading = int(np.flatnonzero(window[top])[0]), top, 0
    start = (x, y, heading)
    points: list[Point] = []
    while True:
        dx, dy = _STEP[heading]
        points.append((x + dx / 2, y + dy / 2))
        x, y = x + dx, y + dy
        # the two pixels ahead of the corner just reached: left and right of the heading
        left, right = _ahead(inside, x, y, heading)
        if left:  # 8-connected: go round the pixel at the left even where the right one is empty
            heading = (heading + 3) % 4
        elif not right:
            heading = (heading + 1) % 4
        if (x, y, heading) == start:
            return points


def _ahead(inside: list[list[bool]], x: int, y: int, heading: int) -> tuple[bool, bool]:
    """Whether the pixels ahead of corner (x, y), left and right of the heading, are in the mask."""
    match heading:
        case 0:
            return inside[y - 1][x], inside[y][x]
        case 1:
            return inside[y][x], inside[y][x - 1]
        case 2:
            return inside[y][x - 1], inside[y - 1][x - 1]
        case _:
            return inside[y - 1][x - 1], inside[y - 1][x]


def _simplified(points: list[Point]) -> list[Point]:
    """Fewer corners, the same pixels: Douglas-Peucker, kept only where it stays true."""
    exact = np.asarray(points, np.float32)
    short = cv2.approxPolyDP(exact[:, None], TOLERANCE_PX, True)[:, 0]
    shape = (int(exact[:, 1].max()) + 2, int(exact[:, 0].max()) + 2)
    if len(short) >= 3 and np.array_equal(rasterize(short, shape), rasterize(exact, shape)):
        return [(float(x), float(y)) for x, y in short]
    return points


def rasterize(points: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Which pixel centres of a frame [h, w] a polygon covers, by the even-odd rule.

    ``cv2.fillPoly`` also fills the pixels an outline merely touches, and so makes every mask a pixel too large.

    Args:
        points: corners [n, 2], x and y in pixels of the frame; they may lie outside it.
        shape: height and width of the frame.
    """
    height, width = shape
    corners = np.asarray(points, np.float64)
    (x0, y0), (x1, y1) = corners.T, np.roll(corners, -1, axis=0).T
    middles = np.arange(height)[:, None] + 0.5
    rows, edges = np.nonzero((y0 <= middles) != (y1 <= middles))
    crossing = x0[edges] + (rows + 0.5 - y0[edges]) * (x1 - x0)[edges] / (y1 - y0)[edges]
    toggles = np.zeros((height, width + 1), np.int32)
    np.add.at(toggles, (rows, np.clip(np.ceil(crossing - 0.5).astype(int), 0, width)), 1)
    return np.asarray((np.cumsum(toggles, axis=1) % 2 == 1)[:, :width])
