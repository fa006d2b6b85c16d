"""Translucent pictures to lay over a photo: a matte, or an area as a heat map. Each has few colours and a few kB."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Point
from datagen.imaging.png_encoder import encode_indexed

#: Longest side of a matte and of a heat map in pixels. A matte has fine parts, and is empty elsewhere.
MATTE_SIDE, AREA_SIDE = 1280, 640
#: Share of a pixel that a matte has to cover, 0 to 255: a line that is thinner than a pixel stays visible.
_COVERED = 40
#: Colour of mattes (RGB), which differs from that of outlines.
MATTE = (0, 214, 255)
#: Colours of a heat map (RGB), from the least to the most likely fifth. They differ in lightness, so that people who do
#: not see colours can tell them apart (viridis).
HEAT = ((68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37))
#: Colour of the line around the places that are used, of its dark border, and of drawn polygons.
INSIDE, BORDER, DRAWN = (255, 255, 255), (20, 20, 20), (255, 0, 160)
_OPAQUE, _MATTE_OPACITY, _HEAT_OPACITY = 255, 105, 140

Bools = npt.NDArray[np.bool_]


def matte_overlay(masks: Sequence[tuple[Bools, int, int]], width: int, height: int) -> bytes:
    """Return mattes as a translucent PNG with a contour.

    Args:
        masks: each mask [h, w], and the pixel of the photo (x, y) at its upper left corner.
        width: the photo's width in pixels.
        height: the photo's height in pixels.
    """
    whole = np.zeros((height, width), np.uint8)
    for mask, left, top in masks:
        window = whole[top : top + mask.shape[0], left : left + mask.shape[1]]
        window[mask[: window.shape[0], : window.shape[1]]] = 255
    small = _resized(whole, *_size(width, height, MATTE_SIDE), cv2.INTER_AREA) > _COVERED
    indices = small.astype(np.uint8)
    contours, _ = cv2.findContours(indices, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(indices, contours, -1, 2, 1)
    return encode_indexed(indices, _colours((0, 0, 0, 0), (*MATTE, _MATTE_OPACITY), (*MATTE, _OPAQUE)))


def area_overlay(
    likelihood: npt.NDArray[np.uint8],
    inside: Bools,
    drawn: Sequence[Sequence[Point]],
    width: int,
    height: int,
) -> bytes:
    """Return an area as a translucent PNG: a heat map, a line around the places that are used, and drawn polygons.

    Args:
        likelihood: [h, w] of the whole photo, at any resolution, 0 to 255.
        inside: [h, w] of the same resolution, true where places are used.
        drawn: polygons, in pixels of the photo.
        width: the photo's width in pixels.
        height: the photo's height in pixels.
    """
    columns, rows = _size(width, height, AREA_SIDE)
    smooth = _resized(likelihood, columns, rows, cv2.INTER_LINEAR)
    indices = np.minimum(smooth.astype(np.uint16) * len(HEAT) // 255, len(HEAT) - 1).astype(np.uint8)
    coarse = max(1.0, columns / inside.shape[1])
    enlarged = cv2.GaussianBlur(
        _resized(inside.astype(np.uint8) * 255, columns, rows, cv2.INTER_LINEAR), (0, 0), coarse / 2
    )
    used = (np.asarray(enlarged) > 127).astype(np.uint8)
    contours, _ = cv2.findContours(used, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    line, border, polygon = len(HEAT), len(HEAT) + 1, len(HEAT) + 2
    for colour, thickness in ((border, 3), (line, 1)):
        cv2.drawContours(indices, contours, -1, colour, thickness)
    corners: list[Any] = [
        np.round(np.array(points, float) * (columns / width, rows / height)).astype(np.int32).reshape(-1, 1, 2)
        for points in drawn
    ]
    if corners:
        cv2.polylines(indices, corners, True, polygon, 2)
    heat = [(*colour, _HEAT_OPACITY) for colour in HEAT]
    lines = [(*colour, _OPAQUE) for colour in (INSIDE, BORDER, DRAWN)]
    return encode_indexed(indices, _colours(*heat, *lines))


def _size(width: int, height: int, side: int) -> tuple[int, int]:
    """Return the width and height of an overlay for a photo of ``width`` by ``height`` pixels."""
    shrink = min(1.0, side / max(width, height))
    return max(1, round(width * shrink)), max(1, round(height * shrink))


def _resized(values: npt.NDArray[np.uint8], width: int, height: int, method: int) -> npt.NDArray[np.uint8]:
    if values.shape == (height, width):
        return values
    return np.asarray(cv2.resize(values, (width, height), interpolation=method), np.uint8)


def _colours(*colours: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.array(colours, np.uint8)
