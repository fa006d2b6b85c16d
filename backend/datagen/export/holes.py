"""Holes of instances, each as a ring (a polygon around the hole). An instance's outlines do not contain its holes.

If outlines and rings are filled together by the even-odd rule, they cover the instance's pixels. A ring excludes the
hole inside an outline. The outline of a part that lies inside a hole includes that part again.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
from scipy import ndimage
from shapely.geometry import Polygon as ShapelyPolygon
from skimage.measure import find_contours

from datagen.domain.geometry import Polygon


def rings(inside: npt.NDArray[np.bool_], left: int = 0, top: int = 0) -> tuple[Polygon, ...]:
    """Return the rings of all holes of an instance, in pixels of the image.

    A ring runs half-way between the pixels inside and outside (marching squares). Pixels that touch at a corner are
    connected (8-connectivity), as in the outlines, so a hole is not open at a corner. Rings run in the opposite
    direction to outlines. The sum of the signed areas of an outline and its rings is therefore the area of the pixels
    between them.

    Args:
        inside: the instance's pixels, [h, w] bool.
        left, top: the position of the top left corner of ``inside`` in the image, in pixels.
    """
    if cv2.connectedComponents(np.pad(~inside, 1, constant_values=True).view(np.uint8), connectivity=4)[0] <= 2:
        return ()  # one component outside, besides the number of the pixels inside: there is no hole
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    polygons = []
    for number in range(1, count):
        x, y, width, height, _ = (int(value) for value in stats[number])
        part = parts[y : y + height, x : x + width] == number
        hole_pixels = ndimage.binary_fill_holes(part) & ~part
        if not hole_pixels.any():
            continue
        contours = find_contours(np.pad(hole_pixels, 1).astype(np.float64), 0.5, fully_connected="low")  # type: ignore[no-untyped-call]
        for contour in contours:
            ring = ShapelyPolygon([(column, row) for row, column in contour]).simplify(0)  # removes collinear points
            # a contour's origin is the centre of the padding's first pixel, half a pixel outside of the window
            corners = ((px + left + x - 0.5, py + top + y - 0.5) for px, py in ring.exterior.coords[:0:-1])
            polygons.append(Polygon(tuple((float(px), float(py)) for px, py in corners)))
    return tuple(polygons)


def of_instances(mask: npt.NDArray[np.uint8], count: int) -> tuple[tuple[Polygon, ...], ...]:
    """Return the rings of each of ``count`` instances of a mask [h, w], where instance i has the value i + 1."""
    polygons: list[tuple[Polygon, ...]] = []
    for number, window in enumerate(ndimage.find_objects(mask, max_label=count), start=1):
        if window is None:
            polygons.append(())
        else:
            rows, columns = window
            polygons.append(rings(mask[window] == number, columns.start, rows.start))
    return tuple(polygons)
