"""The holes of an instance, which its outlines leave out: as the rings round them.

Outlines and rings together, filled by the even-odd rule, cover the instance's pixels: each part is what its outline
encloses without what its rings enclose, and what lies within a hole is enclosed once more.
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
    """The rings round every hole of the pixels ``inside`` [h, w], whose corner lies at (left, top), in pixels.

    A ring runs half-way between the pixels inside and outside (marching squares). Pixels that touch at a corner belong
    together, as they do for the outlines, so a hole does not leak through a corner.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8), connectivity=8)
    found = []
    for number in range(1, count):
        x, y, width, height, _ = (int(value) for value in stats[number])
        part = parts[y : y + height, x : x + width] == number
        hollow = ndimage.binary_fill_holes(part) & ~part
        if not hollow.any():
            continue
        contours = find_contours(np.pad(hollow, 1).astype(np.float64), 0.5, fully_connected="low")  # type: ignore[no-untyped-call]
        for contour in contours:
            ring = ShapelyPolygon([(column, row) for row, column in contour]).simplify(
                0
            )  # straight lines need no corners
            # a contour's 0 is the middle of the padding's first pixel, half a pixel outside of the window's edge
            corners = ((px + left + x - 0.5, py + top + y - 0.5) for px, py in ring.exterior.coords[:-1])
            found.append(Polygon(tuple((float(px), float(py)) for px, py in corners)))
    return tuple(found)


def of_instances(mask: npt.NDArray[np.uint8], count: int) -> tuple[tuple[Polygon, ...], ...]:
    """The rings of each of ``count`` instances of a mask [h, w], where instance i has the value i + 1."""
    found: list[tuple[Polygon, ...]] = []
    for number, place in enumerate(ndimage.find_objects(mask, max_label=count), start=1):
        if place is None:
            found.append(())
        else:
            rows, columns = place
            found.append(rings(mask[place] == number, columns.start, rows.start))
    return tuple(found)
