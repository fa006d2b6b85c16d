"""Checks that a file contains all rows that its header declares, because Pillow fills missing rows with zeros.

Only PNG and TIFF need these checks. The JPEG decoder warns of a truncated file (see ``codec.decode``). The decoders of
BMP, GIF, WebP and 16-bit colour raise errors."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL import Image
from PIL.TiffImagePlugin import TiffImageFile

_SIGNATURE_BYTES, _HEADER = 8, slice(16, 29)
_BLOCK = 2**20
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
#: Samples per pixel of a PNG, by its colour type.
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: The seven passes of Adam7 interlacing: the first column and row of each, then the steps between its columns and rows.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def check_png_rows(picture: Image.Image, data: bytes) -> None:
    """Check that a loaded PNG contains all rows.

    Pillow loads missing rows as black. If rows are missing, one of the picture's last two rows is among them. The data
    is therefore decompressed again and counted only if one of these two rows is black.

    Raises:
        ValueError: rows are missing.
    """
    width, height = picture.size
    last = [picture.crop((0, row, width, row + 1)) for row in range(max(0, height - 2), height)]
    if all(row.getbbox(alpha_only=False) for row in last):
        return
    expected = _uncompressed_bytes(data)
    unpacked = 0
    inflate = zlib.decompressobj()
    for chunk in _image_chunks(data):
        while chunk and unpacked < expected:
            unpacked += len(inflate.decompress(chunk, _BLOCK))
            chunk = inflate.unconsumed_tail
    unpacked += len(inflate.flush())
    if unpacked < expected:
        raise ValueError(f"its rows end after {unpacked:,} of {expected:,} bytes")


def check_tiff_rows(picture: TiffImageFile) -> None:
    """Check that the strips or tiles of an opened TIFF reach its lower right corner.

    Raises:
        ValueError: they do not reach it.
    """
    boxes = [tile.extents for tile in picture.tile if tile.extents is not None]
    right, bottom = (max((box[side] for box in boxes), default=0) for side in (2, 3))
    width, height = picture.tag_v2[_TIFF_WIDTH], picture.tag_v2[_TIFF_HEIGHT]  # before it is turned upright
    if right < width or bottom < height:
        raise ValueError(f"its pixels are {right} by {bottom}, its header says {width} by {height}")


def _uncompressed_bytes(data: bytes) -> int:
    """Return the size in bytes of a PNG's uncompressed rows, including one byte of each row for its filter."""
    header = data[_HEADER]
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, colour_type, interlaced = header[8], header[9], header[12]
    bits = depth * _SAMPLES[colour_type]
    sizes = [(width, height)]
    if interlaced:
        sizes = [(-((left - width) // across), -((top - height) // down)) for left, top, across, down in _PASSES]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def _image_chunks(data: bytes) -> Iterator[bytes]:
    """Yield the data of a PNG's IDAT chunks."""
    offset = _SIGNATURE_BYTES
    while offset + 8 <= len(data):
        length = int.from_bytes(data[offset : offset + 4], "big")
        if data[offset + 4 : offset + 8] == b"IDAT":
            yield data[offset + 8 : offset + 8 + length]
        offset += 12 + length
