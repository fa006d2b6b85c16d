"""Line segmentation: separates thin lines, such as cracks and scratches, from texture by their length.

A single pixel of a faint crack is no stronger than the grain around it, but the sum of the pixels along the crack is.
The picture is therefore filtered with short bars in every direction except that of the grain (oriented
second-derivative filters, Freeman and Adelson 1991). A response in the box that is stronger than those outside is a
line."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.extraction.background_inpainting import grain_direction
from datagen.synthesis.intensity import Bools, Floats, lengths

#: Standard deviations of a bar's filter along and across the bar, in pixels, and the number of directions.
_ALONG_PX, _ACROSS_PX, _DIRECTIONS = 5.0, 1.0, 16
#: Bars within this angle of the grain's direction, in degrees, are not used.
_OF_THE_GRAIN = 15.0
#: Quantiles of the response outside the box. A line starts above the first and continues above the second.
_BEGINS, _FOLLOWED = 0.998, 0.97
#: Largest ratio of the first of these quantiles to the second in a texture. A larger ratio comes from edges of the part
#: or holes in it, so the first is reduced to this ratio.
_TEXTURE_MAX = 2.0
#: Lower bounds of the two limits, as shares of the line's own response.
_OWN_BEGINS, _OWN_FOLLOWED = 0.65, 0.35
#: A pixel beside a line belongs to it if its difference is at least this share of the line's largest difference within
#: this many pixels.
_BESIDE, _REACH_PX = 0.35, 3
#: A line's area is at least this many times the square of its half width. For a line, this ratio is about 4 times
#: length over width; for a disc, it is π.
_LONG = 12.0
#: Width in pixels of the margin round the box that is analysed.
_ROUND_PX = 24
#: Minimum number of pixels outside the box for statistics of the texture.
_MIN_OUTSIDE = 50


def line_matte(tones: Floats, clean: Floats, hole: Bools) -> Bools | None:
    """Return which pixels of ``hole`` belong to thin lines, [h, w]; None if no line is stronger than the texture.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        clean: the same window without the concept.
        hole: true inside the box, [h, w].
    """
    near = round_the(hole)
    matte = np.zeros(hole.shape, bool)
    line = _line(tones[near], clean[near], hole[near])
    if line is None:
        return None
    matte[near] = line
    return matte


def hysteresis(weak: Bools, strong: Bools) -> Bools:
    """Return the connected parts of ``weak`` [h, w] that contain a pixel of ``strong`` [h, w] (Canny's second step)."""
    count, parts = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    kept = np.zeros(count, bool)
    kept[parts[strong & weak]] = True
    return np.asarray(kept[parts])


def round_the(hole: Bools) -> tuple[slice, slice]:
    """Return the rows and columns of the box with a margin of ``_ROUND_PX``, enough for statistics of the texture."""
    rows, columns = np.flatnonzero(hole.any(axis=1)), np.flatnonzero(hole.any(axis=0))
    return (
        slice(max(0, rows[0] - _ROUND_PX), rows[-1] + 1 + _ROUND_PX),
        slice(max(0, columns[0] - _ROUND_PX), columns[-1] + 1 + _ROUND_PX),
    )


def _line(tones: Floats, clean: Floats, hole: Bools) -> Bools | None:
    difference = tones - clean
    distance = lengths(difference)
    tone_direction = difference[hole & (distance >= np.quantile(distance[hole], 0.93))].mean(axis=0)
    length = float(np.linalg.norm(tone_direction))
    outside = cv2.dilate(hole.astype(np.uint8), np.ones((5, 5), np.uint8)) == 0
    if length < 1 or np.count_nonzero(outside) < _MIN_OUTSIDE:
        return None
    strength = _strength(np.ascontiguousarray(tones @ (tone_direction / length)), grain_direction(tones, ~hole))
    peak = float(np.quantile(strength[hole], 0.97))
    begins, followed = (float(v) for v in np.quantile(strength[outside], (_BEGINS, _FOLLOWED)))
    begins = min(begins, _TEXTURE_MAX * followed)
    weak = (strength > max(followed, _OWN_FOLLOWED * peak)) & hole
    line = hysteresis(weak, (strength > max(begins, _OWN_BEGINS * peak)) & hole)
    if not line.any():
        return None
    line_difference: Floats = cv2.GaussianBlur(
        np.ascontiguousarray(difference @ (tone_direction / length)), (0, 0), 0.6
    )
    reach = np.ones((2 * _REACH_PX + 1, 2 * _REACH_PX + 1), np.uint8)
    strongest = cv2.dilate(np.where(line, line_difference, 0).astype(np.float32), reach)
    beside = cv2.dilate(line.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    matte = beside & (line_difference > _BESIDE * strongest) & hole
    return matte if matte.any() and _is_long(matte) else None


def _is_long(matte: Bools) -> bool:
    """Return whether the matte is much longer than wide.

    Enclosed areas are filled first, because a ring is not a line.
    """
    whole = cv2.morphologyEx(matte.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8))
    contours, _ = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(whole, contours, -1, 1, cv2.FILLED)
    depth = cv2.distanceTransform(whole, cv2.DIST_L2, 3)
    return bool(np.count_nonzero(whole) >= _LONG * float(depth.max()) ** 2)


def _strength(plain: Floats, grain: tuple[float, float] | None) -> Floats:
    """Return the strongest response [h, w] of the bars that are not parallel to the ``grain`` (x, y)."""
    bars = [
        bar
        for (x, y), bar in _bars()
        if grain is None or abs(x * grain[1] - y * grain[0]) >= np.sin(np.deg2rad(_OF_THE_GRAIN))
    ]
    rows, columns = plain.shape
    reach = bars[0].shape[0] // 2
    padded = cv2.copyMakeBorder(plain, reach, reach, reach, reach, cv2.BORDER_REFLECT_101)
    # the picture is transformed once for all bars: eight times as fast as a filter2D for each
    size = [cv2.getOptimalDFTSize(side) for side in padded.shape]
    spectrum = np.fft.rfft2(padded, size)
    strongest = np.full(plain.shape, -np.inf, np.float32)
    for bar in bars:
        response = np.fft.irfft2(spectrum * np.fft.rfft2(bar, size).conj(), size)
        np.maximum(strongest, response[:rows, :columns], out=strongest)
    return strongest


@cache
def _bars() -> tuple[tuple[tuple[float, float], npt.NDArray[np.float32]], ...]:
    """Return each direction (x, y) with its bar filter, a narrow line minus a wider one; the sum of a filter is 0."""
    reach = int(np.ceil(2.5 * _ALONG_PX))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    bars = []
    for angle in np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS:
        direction = (float(np.cos(angle)), float(np.sin(angle)))
        along, across = x * direction[0] + y * direction[1], y * direction[0] - x * direction[1]
        line, wide = (
            np.exp(-0.5 * (along / _ALONG_PX) ** 2 - 0.5 * (across / deviation) ** 2)
            for deviation in (_ACROSS_PX, 2.5 * _ACROSS_PX)
        )
        bars.append((direction, (line / line.sum() - wide / wide.sum()).astype(np.float32)))
    return tuple(bars)
