"""Small pictures for pages: scaled, cropped and with outlines, as WebP of bounded size. Nothing is decoded here."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from datagen.domain.geometry import Box, Point
from datagen.imaging.codec import Pixels

#: Qualities that are tried, the best first, until the file is small enough.
_QUALITIES = (84, 76, 66, 54, 42, 30)
#: Colour of outlines (RGB), the colour on contact sheets.
_OUTLINE = (255, 0, 160)
#: Pixels of a crop's side at least; a smaller crop shows nothing around the instance.
_SMALLEST_CROP = 48
#: Largest factor by which a crop is enlarged.
_LARGEST_FACTOR = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailFormat:
    """The form of a small picture."""

    #: longer side in pixels; a smaller picture stays as it is
    side: int
    #: largest file in bytes. It is exceeded only where the lowest quality needs more
    max_bytes: int
    #: pixels of the small picture between an instance and its outline, so that the line does not hide a thin one
    distance: int = 0


def thumbnail(pixels: Pixels, form: ThumbnailFormat, outlines: Sequence[Sequence[Point]] = ()) -> bytes:
    """Return a picture scaled down to ``form``, as WebP.

    Args:
        pixels: [h, w] or [h, w, 3] uint8 or uint16.
        form: the form of the result.
        outlines: closed polygons to draw, in pixels of the picture.
    """
    height, width = pixels.shape[:2]
    return _drawn(pixels, min(1.0, form.side / max(height, width)), outlines, (0.0, 0.0), form)


def close_up(
    pixels: Pixels, box: Box, form: ThumbnailFormat, outlines: Sequence[Sequence[Point]] = (), margin: float = 0.75
) -> bytes:
    """Return the part of a picture around a box, scaled to ``form``, as WebP; the crop is square where it can be.

    Args:
        pixels: as for ``thumbnail``.
        box: the box, in pixels of the picture.
        form: the form of the result.
        outlines: as for ``thumbnail``.
        margin: space around the box, as a share of its larger side.
    """
    height, width = pixels.shape[:2]
    side = max(_SMALLEST_CROP, round(max(box.width, box.height) * (1 + 2 * margin)))
    left = _start(box.x + box.width / 2, side, width)
    top = _start(box.y + box.height / 2, side, height)
    crop = pixels[top : top + side, left : left + side]
    scale = min(_LARGEST_FACTOR, form.side / max(crop.shape[:2]))
    return _drawn(crop, scale, outlines, (float(left), float(top)), form)


def _start(centre: float, side: int, whole: int) -> int:
    """Return where a part of length ``side`` begins, so that it lies within ``whole`` and around ``centre``."""
    return max(0, min(round(centre - side / 2), whole - side))


def _eight_bit_colour(pixels: Pixels) -> npt.NDArray[Any]:
    if pixels.dtype == np.uint16:
        pixels = (pixels >> 8).astype(np.uint8)
    return cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels


def _drawn(
    picture: npt.NDArray[Any],
    scale: float,
    outlines: Sequence[Sequence[Point]],
    origin: Point,
    form: ThumbnailFormat,
) -> bytes:
    height, width = picture.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST if scale >= 2 else cv2.INTER_CUBIC
    scaled = cv2.resize(picture, size, interpolation=method) if scale != 1 else picture.copy()
    small: Any = _eight_bit_colour(scaled)  # after the scaling, because a large picture takes much memory
    _draw(small, outlines, scale, origin, form.distance)
    return _encoded(small, form.max_bytes)


def _draw(small: Any, outlines: Sequence[Sequence[Point]], scale: float, origin: Point, distance: int) -> None:
    """Draw outlines on a scaled picture, ``distance`` pixels around what they enclose."""
    corners: Sequence[Any] = [
        np.round((np.array(outline, float).reshape(-1, 2) - origin) * scale).astype(np.int32).reshape(-1, 1, 2)
        for outline in outlines
    ]
    if distance and corners:
        inside = np.zeros(small.shape[:2], np.uint8)
        for corner in corners:  # one at a time, because holes of overlapping polygons would be left out
            cv2.fillPoly(inside, [corner], 255)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * distance + 1, 2 * distance + 1))
        corners, _ = cv2.findContours(cv2.dilate(inside, kernel), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if corners:
        cv2.polylines(small, corners, True, _OUTLINE, 2, cv2.LINE_AA)


def _encoded(picture: npt.NDArray[Any], max_bytes: int) -> bytes:
    image = Image.fromarray(picture)
    data = b""
    for quality in _QUALITIES:
        file = io.BytesIO()
        image.save(file, "WEBP", quality=quality, method=2)
        data = file.getvalue()
        if len(data) <= max_bytes:
            break
    return data
