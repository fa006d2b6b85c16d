"""Conversion of Label Studio's brush masks (run-length encoded RGBA) to outlines in pixels, with bounded work.

The format is that of the SDK's ``label_studio_sdk.converter.brush``. Its function ``decode_rle`` creates an object for
every bit. This module reads runs from the bytes, so that the work is proportional to the sizes of the file and the
image."""

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

from datagen.domain.geometry import MAX_HOLES, SMALLEST_AREA_PX, Polygon, polygons_of
from datagen.errors import BadRegion

#: Maximum encoded size of a mask in bytes; decoding takes up to a second for each megabyte.
MAX_RLE_BYTES = 4 * 2**20
#: A mask with more separate strokes than this is refused.
MAX_STROKES = 200
#: A mask is refused if its strokes have more holes than this; pinholes are not counted. See ``geometry.MAX_HOLES``.
_MAX_HOLES = MAX_HOLES
#: Maximum length of a mask's outlines in edges of pixels; a mask of many specks, like dust, has more and is refused.
MAX_EDGES = 200_000
#: Maximum total area of the bounding boxes of a mask's strokes, as a multiple of the area of the mask's bounding box.
#: Each stroke is traced in its bounding box.
_MAX_TIMES_TRACED = 3
_HEADER_BYTES = 4
#: Number of bits of a value in Label Studio's masks.
_VALUE_BITS = 8

_Mask = npt.NDArray[np.bool_]


def decode(rle: Any, width: int, height: int) -> _Mask:
    """The mask [height, width] of a brush region on an image of ``width`` by ``height`` pixels.

    Raises:
        BadRegion: The data is not a mask, or the mask has another size or is empty.
    """
    data = bytes_of(rle)
    if int.from_bytes(data[:_HEADER_BYTES], "big") != width * height * 4:
        raise BadRegion(f"the brush mask was not painted on this picture ({width} × {height} pixels); paint it again")
    mask: _Mask = _values(data, width * height * 4).reshape(height, width, 4)[:, :, 3] > 127
    if not mask.any():
        raise BadRegion("the brush mask is empty; paint it again, or delete it")
    return mask


def outlines(mask: _Mask) -> tuple[tuple[Polygon, ...], ...]:
    """The outlines in pixels of each connected stroke of a mask [h, w]; specks are left out.

    An outline runs half-way between the pixels inside and outside (marching squares, Lorensen & Cline 1987, in two
    dimensions). The area of the outlines of a stroke excludes the stroke's holes.

    Raises:
        BadRegion: The mask exceeds the limit of strokes, holes or edges.
    """
    x, y, across, down = cv2.boundingRect(mask.astype(np.uint8))
    mask = _bounded(np.pad(mask[y : y + down, x : x + across], 1))
    x, y = x - 1, y - 1
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    strokes = [label for label in range(1, count) if stats[label, cv2.CC_STAT_AREA] >= SMALLEST_AREA_PX]
    _check_strokes(stats[strokes], mask.size)
    outlined: list[tuple[Polygon, ...]] = []
    for label in strokes:
        left, top, width, height, _ = (int(v) for v in stats[label])
        stroke = np.pad(labels[top : top + height, left : left + width] == label, 1)
        # coordinate 0 of a contour is the centre of the first padding pixel, half a pixel outside the window
        rings = [
            # corners on a straight line are redundant, and would cost as much as the others in later steps
            ShapelyPolygon([(x + left + column - 0.5, y + top + row - 0.5) for row, column in ring]).simplify(0)
            for ring in find_contours(stroke.astype(np.float64), 0.5, fully_connected="high")  # type: ignore[no-untyped-call]
        ]
        parts = polygons_of(reduce(symmetric_difference, rings).simplify(0))
        if parts:
            outlined.append(parts)
    return tuple(outlined)


def extent(mask: _Mask) -> int:
    """Number of pixels in the bounding box of the painted area. The work of tracing outlines is proportional to it."""
    _, _, across, down = cv2.boundingRect(mask.astype(np.uint8))
    return int(across * down)


def check_edges(mask: _Mask) -> None:
    """Check that the outlines of a mask [h, w] are not too long, because the work on the mask grows with their length.

    Raises:
        BadRegion: They are longer than MAX_EDGES.
    """
    edges = int(np.count_nonzero(mask[1:] != mask[:-1]) + np.count_nonzero(mask[:, 1:] != mask[:, :-1]))
    if edges > MAX_EDGES:
        raise BadRegion(
            f"the outlines of the brush mask are {edges:,} pixels long, at most {MAX_EDGES:,} are accepted; "
            "paint it coarser"
        )


def _bounded(mask: _Mask) -> _Mask:
    """The mask [h, w] after a check of its outlines and holes; its border must be false.

    If there are too many holes, but not without pinholes, the pinholes are filled.

    Raises:
        BadRegion: The outlines are longer than MAX_EDGES, or there are more than _MAX_HOLES holes besides pinholes.
    """
    check_edges(mask)
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    if count - 1 <= _MAX_HOLES:
        return mask
    is_hole = np.ones(count, bool)
    is_hole[0] = False  # the painted area
    is_hole[labels[0, 0]] = False  # the outside, which includes the border of the mask
    is_pinhole = is_hole & (stats[:, cv2.CC_STAT_AREA] < SMALLEST_AREA_PX)
    if (holes := int((is_hole & ~is_pinhole).sum())) > _MAX_HOLES:
        raise BadRegion(
            f"the brush mask has {holes:,} holes, at most {_MAX_HOLES} are accepted; paint it with fewer holes"
        )
    filled: _Mask = mask | is_pinhole[labels]
    return filled


def _check_strokes(stats: npt.NDArray[Any], pixels: int) -> None:
    """Check that a mask has few strokes, and that their bounding boxes do not overlap too much.

    ``stats`` are OpenCV's statistics [strokes, 5]. ``pixels`` is the area of the mask's bounding box.

    Raises:
        BadRegion: There are too many strokes, or their bounding boxes overlap too much.
    """
    if len(stats) > MAX_STROKES:
        raise BadRegion(
            f"the brush mask has {len(stats):,} separate strokes, at most {MAX_STROKES} are accepted; "
            "paint it with fewer"
        )
    windows = stats[:, cv2.CC_STAT_WIDTH].astype(np.int64) * stats[:, cv2.CC_STAT_HEIGHT]
    if windows.sum() > _MAX_TIMES_TRACED * pixels:
        raise BadRegion("too many of the brush mask's strokes lie round one another; paint it with fewer strokes")


def bytes_of(rle: Any) -> bytes:
    """The bytes of a run-length encoded mask, given as a list of numbers.

    Raises:
        BadRegion: It is not a list of bytes of an accepted length.
    """
    if (
        not isinstance(rle, Sequence)
        or isinstance(rle, str)
        or not _HEADER_BYTES < len(rle) <= MAX_RLE_BYTES
        or set(map(type, rle)) != {int}
    ):
        raise BadRegion("the brush mask cannot be read; paint it again")
    try:
        return bytes(rle)
    except ValueError:  # a number outside the range of a byte
        raise BadRegion("the brush mask cannot be read; paint it again") from None


def _values(data: bytes, count: int) -> npt.NDArray[np.uint8]:
    """The ``count`` values of a mask, decoded from its bytes.

    After a header, the bytes contain runs of one value and sequences of literal values.

    Raises:
        BadRegion: The data ends too early, or has values of another size.
    """
    bits = _Bits(data, at=8 * _HEADER_BYTES)
    value_bits = bits.read(5) + 1
    if value_bits != _VALUE_BITS:
        raise BadRegion("the brush mask is damaged; paint it again")
    lengths = [bits.read(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    done = 0
    while done < count:
        is_run = bits.read(1)
        length = min(bits.read(lengths[bits.read(2)]) + 1, count - done)
        values[done : done + length] = bits.read(_VALUE_BITS) if is_run else bits.read_bytes(length)
        done += length
    return values


class _Bits:
    """Reads a byte string bit by bit, most significant bit first."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data, self._at = data, at

    def read(self, count: int) -> int:
        """The next ``count`` bits (at most 16) as a number."""
        first, end = self._at, self._at + count
        if end > 8 * len(self._data):
            raise BadRegion("the brush mask is damaged; paint it again")
        self._at = end
        last_byte = (end + 7) // 8
        window = int.from_bytes(self._data[first // 8 : last_byte], "big")
        return (window >> (8 * last_byte - end)) & ((1 << count) - 1)

    def read_bytes(self, count: int) -> npt.NDArray[np.uint8]:
        """The next ``count`` values of eight bits."""
        first, shift = divmod(self._at, 8)
        if self._at + 8 * count > 8 * len(self._data):
            raise BadRegion("the brush mask is damaged; paint it again")
        self._at += 8 * count
        window = np.frombuffer(self._data, np.uint8, count + bool(shift), first).astype(np.uint16)
        if not shift:
            return window.astype(np.uint8)
        return ((window[:-1] << shift | window[1:] >> (8 - shift)) & 0xFF).astype(np.uint8)
