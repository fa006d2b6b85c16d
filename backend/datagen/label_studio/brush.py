"""A brush mask as Label Studio keeps it (run-length encoded RGBA) as outlines in pixels.

The code of the run-length format is the SDK's; what is here are the limits it lacks, and the outlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from shapely import symmetric_difference
from shapely.geometry import Polygon as ShapelyPolygon
from skimage.measure import find_contours

from datagen.domain.geometry import SMALLEST_AREA_PX, Polygon, polygons_of
from datagen.errors import BadRegion

#: A mask of more bytes than this is no drawing; decoding takes about a second a megabyte.
_MOST_RLE_BYTES = 4 * 2**20
_HEADER_BYTES = 4


def decode(rle: Any, width: int, height: int) -> npt.NDArray[np.bool_]:
    """The mask [height, width] of a brush region painted on a picture of that size.

    Raises:
        BadRegion: it is no such mask, is of another size, or is empty.
    """
    # importing the SDK's converter takes over a second, which only a study with brush strokes should pay
    from label_studio_sdk.converter.brush import decode_rle

    if not _is_bytes(rle):
        raise BadRegion("the brush mask cannot be read; paint it again")
    if int.from_bytes(bytes(rle[:_HEADER_BYTES]), "big") != width * height * 4:
        raise BadRegion(f"the brush mask was not painted on this picture ({width} × {height} pixels); paint it again")
    try:
        pixels = decode_rle(rle)
    except (ValueError, IndexError, OverflowError):
        raise BadRegion("the brush mask is damaged; paint it again") from None
    mask: npt.NDArray[np.bool_] = np.asarray(pixels, np.uint8).reshape(height, width, 4)[:, :, 3] > 127
    if not mask.any():
        raise BadRegion("the brush mask is empty; paint it again, or delete it")
    return mask


def encode(mask: npt.NDArray[np.bool_]) -> list[int]:
    """A mask [h, w] as Label Studio keeps it."""
    from label_studio_sdk.converter.brush import mask2rle

    rle = mask2rle(mask.astype(np.uint8) * 255)  # type: ignore[no-untyped-call]
    return [int(byte) for byte in rle]


def outlines(mask: npt.NDArray[np.bool_]) -> tuple[tuple[Polygon, ...], ...]:
    """For each connected stroke of a mask [h, w] its outlines in pixels, holes cut out; specks are left out.

    The outline runs half-way between the pixels inside and outside (marching squares, Lorensen & Cline 1987, in two
    dimensions).
    """
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    found: list[tuple[Polygon, ...]] = []
    for one in range(1, count):
        left, top, width, height, area = (int(v) for v in stats[one])
        if area < SMALLEST_AREA_PX:
            continue
        stroke = np.pad(labels[top : top + height, left : left + width] == one, 1)
        # a contour's 0 is the middle of the padding's first pixel, half a pixel outside of the window's edge
        rings = [
            ShapelyPolygon([(x + left - 0.5, y + top - 0.5) for y, x in ring])
            for ring in find_contours(stroke.astype(np.float64), 0.5, fully_connected="high")  # type: ignore[no-untyped-call]
        ]
        parts = polygons_of(reduce(symmetric_difference, rings).simplify(0))  # corners on a straight line say nothing
        if parts:
            found.append(parts)
    return tuple(found)


def _is_bytes(rle: Any) -> bool:
    return (
        isinstance(rle, Sequence)
        and not isinstance(rle, str)
        and _HEADER_BYTES < len(rle) <= _MOST_RLE_BYTES
        and all(type(one) is int and 0 <= one <= 255 for one in rle)
    )
