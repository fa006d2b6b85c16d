"""Encoding of pixels as PNG (ISO/IEC 15948), compressed by Intel's ISA-L.

ISA-L deflates photographs 3 to 5 times as fast as the zlib of OpenCV and Pillow at level 1, at about the same size.
Python packages that encode PNG do not use it. This module gives all rows the same filter, so that encoding takes only a
few numpy operations."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import numpy.typing as npt
from isal import isal_zlib

#: Compression level of ISA-L, from 0 to 3. Level 1 is as fast as 0, and its files are a tenth to a third smaller.
#: Levels 2 and 3 save only another hundredth.
_LEVEL = 1
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Colour types of PNG, by the number of channels.
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
#: Colour type of pictures whose pixels are numbers of colours.
_INDEXED = 3
#: Filter types of PNG. The bytes of a row are stored unchanged (none), or as differences from the row above (up).
_NONE, _UP = 0, 2
#: What precedes an XMP packet in its chunk: the keyword, not compressed, no language, no translated keyword.
_XMP_HEAD = b"XML:com.adobe.xmp\0\0\0\0\0"


def encode_png(image: npt.NDArray[Any], *, xmp: bytes = b"") -> bytes:
    """Return a lossless PNG of an image [h, w] (grey) or [h, w, 3] (RGB), uint8 or uint16, with an XMP packet if given.

    Equal pixels and packets give equal bytes on machines with the same CPU features: ISA-L has code for several.

    Raises:
        ValueError: the array has another shape or type. This is an error of the caller, not of a user's file.
    """
    if image.dtype not in (np.uint8, np.uint16) or not (image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 3)):
        raise ValueError(f"no PNG of {image.dtype}{list(image.shape)}: give [h, w] or [h, w, 3], uint8 or uint16")
    return _png(image, _UP, xmp)


def encode_translucent(image: npt.NDArray[np.uint8]) -> bytes:
    """Return a lossless PNG of an image with opacity: [h, w, 4] uint8, RGB and 0 (transparent) to 255.

    Raises:
        ValueError: the array has another shape or type. This is an error of the caller.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4:
        raise ValueError(f"no translucent PNG of {image.dtype}{list(image.shape)}: give [h, w, 4] of uint8")
    return _png(image, _UP)


def encode_mask(mask: npt.NDArray[np.uint8]) -> bytes:
    """Return a lossless PNG of a mask [h, w] of instance numbers.

    What ``encode_png`` says about equal bytes applies here too.

    Raises:
        ValueError: the array has another shape or type. This is an error of the caller.
    """
    if mask.dtype != np.uint8 or mask.ndim != 2:
        raise ValueError(f"no mask is {mask.dtype}{list(mask.shape)}: give [h, w] of uint8")
    return _png(mask, _NONE)


def encode_indexed(indices: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]) -> bytes:
    """Return a lossless PNG of an image with few colours, some of which may be translucent.

    Args:
        indices: [h, w], the number of each pixel's colour.
        colours: [n, 4], at most 256: RGB and 0 (transparent) to 255.

    Raises:
        ValueError: an array has another shape or type, or a colour is missing. This is an error of the caller.
    """
    if indices.dtype != np.uint8 or indices.ndim != 2 or colours.dtype != np.uint8 or colours.shape[1:] != (4,):
        raise ValueError("no PNG: give indices [h, w] and colours [n, 4] of uint8")
    if not int(indices.max(initial=0)) < len(colours) <= 256:
        raise ValueError(f"no PNG: index {indices.max(initial=0)} is not one of a palette of size {len(colours)}")
    palette = (_chunk(b"PLTE", colours[:, :3].tobytes()), _chunk(b"tRNS", colours[:, 3].tobytes()))
    return _png(indices, _NONE, further=b"".join(b"".join(chunk) for chunk in palette), colour_type=_INDEXED)


def _png(
    pixels: npt.NDArray[Any], filter_type: int, xmp: bytes = b"", further: bytes = b"", colour_type: int | None = None
) -> bytes:
    height, width = pixels.shape[:2]
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    depth = 8 * pixels.dtype.itemsize
    kind = _COLOUR_TYPES[channels] if colour_type is None else colour_type
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    body = isal_zlib.compress(_filtered(pixels, filter_type), _LEVEL)
    text = _chunk(b"iTXt", _XMP_HEAD + xmp) if xmp else ()
    chunks = (*_chunk(b"IHDR", header), *text, further, *_chunk(b"IDAT", body), *_chunk(b"IEND", b""))
    return b"".join((_SIGNATURE, *chunks))


def _filtered(pixels: npt.NDArray[Any], filter_type: int) -> npt.NDArray[np.uint8]:
    """Return the filtered rows as bytes [h, 1 + w·c·b], each with its filter type first; a sample has b bytes."""
    # PNG stores 16 bits with the high byte first
    ordered = np.ascontiguousarray(pixels if pixels.dtype == np.uint8 else pixels.astype(">u2"))
    rows = ordered.view(np.uint8).reshape(len(pixels), -1)
    filtered = np.empty((rows.shape[0], rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = filter_type
    if filter_type == _NONE:
        filtered[:, 1:] = rows
    else:
        filtered[0, 1:] = rows[0]
        np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    return filtered


def _chunk(kind: bytes, body: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    checksum = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)
