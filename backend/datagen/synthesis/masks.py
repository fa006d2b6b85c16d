"""Label geometry of a mask: its tight box, and the polygons whose rasterization reproduces the mask.

A polygon runs through the midpoints of the edges between pixels inside and outside the mask. The centre of a pixel is
therefore in the polygon exactly if the pixel is in the mask (marching squares at level 0.5 on a binary image; Lorensen
& Cline 1987, in two dimensions). Holes are not represented."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box, Polygon

#: Largest distance in pixels between a simplified outline and the exact one. The centre of a pixel is never nearer than
#: 0.35 to the exact outline, so with a smaller distance each centre remains on its side.
TOLERANCE_PX = 0.3

# Directions of travel along cracks with the mask on the right side: 0 right, 1 down, 2 left, 3 up.
_STEP = np.array(((1, 0), (0, 1), (-1, 0), (0, -1)), np.float64)


def tight_box(mask: npt.NDArray[np.bool_]) -> Box:
    """Return the smallest box of whole pixels that contains the true pixels (at least one) of ``mask`` [h, w]."""
    return Box(*cv2.boundingRect(np.ascontiguousarray(mask).view(np.uint8)))


def outlines(mask: npt.NDArray[np.bool_], offset: tuple[int, int] = (0, 0)) -> tuple[Polygon, ...]:
    """Return the outer outline in pixels of every 8-connected part of ``mask``, largest part first.

    Args:
        mask: true inside, [h, w].
        offset: x and y of the mask's top left corner in the image whose pixels the outlines refer to.
    """
    solid = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
    solid[1:-1, 1:-1] = mask
    count, parts, stats, _ = cv2.connectedComponentsWithStats(solid, connectivity=8)
    polygons: list[tuple[int, Polygon]] = []
    for part in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[part])
        window = parts[y - 1 : y + h + 1, x - 1 : x + w + 1] == part
        points = _simplified(_trace(window), window)
        # subtract the paddings of 1 by the window and by ``solid``
        points += (x - 2 + offset[0], y - 2 + offset[1])
        polygons.append((area, Polygon(tuple((px, py) for px, py in points.tolist()))))
    polygons.sort(key=lambda item: (-item[0], item[1].points))
    return tuple(polygon for _, polygon in polygons)


def _trace(window: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return the outer outline [n, 2] of the single part in ``window``: midpoints of pixel edges, clockwise.

    The outermost rows and columns of ``window`` must be false.
    """
    # corners and pixels are flat indices, which are faster to step through than pairs
    inside, width = window.tobytes(), window.shape[1]
    step = (1, width, -1, -width)
    # the two pixels ahead of a corner, left and right of the heading
    left, right = (-width, 0, -1, -width - 1), (0, -1, -width - 1, -width)
    corner, heading = inside.index(1), 0
    start = (corner, heading)
    corners: list[int] = []
    headings: list[int] = []
    while True:
        corners.append(corner)
        headings.append(heading)
        corner += step[heading]
        if inside[corner + left[heading]]:  # 8-connected: go round the pixel at the left even where the right is empty
            heading = (heading + 3) % 4
        elif not inside[corner + right[heading]]:
            heading = (heading + 1) % 4
        if (corner, heading) == start:
            break
    ys, xs = np.divmod(corners, width)
    return np.asarray(np.stack([xs, ys], axis=1) + _STEP[headings] / 2)


def _simplified(points: npt.NDArray[np.float64], window: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return fewer corners of the same outline (Douglas-Peucker) if they cover the same pixels; else ``points``."""
    exact = points.astype(np.float32)
    short = cv2.approxPolyDP(exact[:, None], TOLERANCE_PX, True)[:, 0]
    return short.astype(np.float64) if len(short) >= 3 and _same_pixels(short, exact, window) else points


def _same_pixels(short: npt.NDArray[Any], exact: npt.NDArray[Any], window: npt.NDArray[np.bool_]) -> bool:
    shape = (window.shape[0], window.shape[1])
    covered = rasterize(short, shape)
    # most parts have no holes; the exact outline covers a part including its holes
    return np.array_equal(covered, window) or np.array_equal(covered, rasterize(exact, shape))


def rasterize(points: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a frame, [h, w], whose centres a polygon covers by the even-odd rule.

    ``cv2.fillPoly`` also fills pixels that an outline only touches, so that every mask is a pixel too large.

    Args:
        points: corners [n, 2], x and y in pixels of the frame; they may lie outside it.
        shape: height and width of the frame in pixels.
    """
    height, width = shape
    corners = np.asarray(points, np.float64)
    (x0, y0), (x1, y1) = corners.T, np.concatenate([corners[1:], corners[:1]]).T
    middles = np.arange(height)[:, None] + 0.5
    rows, edges = ((y0 <= middles) != (y1 <= middles)).nonzero()
    crossing = x0[edges] + (rows + 0.5 - y0[edges]) * (x1 - x0)[edges] / (y1 - y0)[edges]
    columns = np.minimum(np.maximum(np.ceil(crossing - 0.5), 0), width).astype(np.intp)
    toggles = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1)).reshape(height, width + 1)
    return np.asarray((np.cumsum(toggles, axis=1) % 2 == 1)[:, :width])
