"""A file of any kind with fewer rows or columns than its header declares is damaged; a complete one is not."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from datagen.errors import BadPicture
from datagen.imaging.codec import Pixels, decode

WIDTH, HEIGHT = 160, 96
NOISE = np.random.default_rng(0).integers(1, 256, (HEIGHT, WIDTH, 4), np.uint8)
IMAGE = Image.fromarray(NOISE[..., :3])


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(data: bytes) -> Pixels:
    return decode(data, max_bytes=10**7, max_pixels=10**7)


def assert_damaged(data: bytes) -> None:
    with pytest.raises(BadPicture, match="truncated or damaged"):
        decoded(data)


# -- JPEG

FORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("RGB", {}),
    "full colour": ("RGB", {"subsampling": 0}),
    "grey": ("L", {}),
    "CMYK": ("CMYK", {}),
    "progressive": ("RGB", {"progressive": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 3}),
    "progressive with restarts": ("L", {"progressive": True, "restart_marker_rows": 1}),
    "RGB inside": ("RGB", {"keep_rgb": True}),
}


def jpeg(form: str) -> bytes:
    mode, options = FORMS[form]
    return saved(IMAGE.convert(mode), "JPEG", quality=90, **options)


def frame_at(data: bytes) -> int:
    """Where the frame's header (SOF) begins."""
    at = 2
    while data[at + 1] not in (0xC0, 0xC1, 0xC2):
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return at


def with_size(data: bytes, width: int, height: int) -> bytes:
    at = frame_at(data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


@pytest.mark.parametrize("form", FORMS)
def test_jpeg_decodes_to_the_pixels_that_pillow_makes(form: str) -> None:
    with Image.open(io.BytesIO(jpeg(form))) as picture:
        expected = np.asarray(picture if picture.mode in ("L", "RGB") else picture.convert("RGB"))
    np.testing.assert_array_equal(decoded(jpeg(form)), expected)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "size",
    [(WIDTH, HEIGHT * 4), (WIDTH, HEIGHT + 16), (WIDTH * 2, HEIGHT), (WIDTH, HEIGHT // 2), (WIDTH // 2, HEIGHT)],
    ids=["four times as high", "a row of blocks higher", "wider", "lower", "narrower"],
)
def test_jpeg_with_a_forged_size_is_damaged(form: str, size: tuple[int, int]) -> None:
    assert_damaged(with_size(jpeg(form), *size))


@pytest.mark.parametrize("form", FORMS)
def test_jpeg_that_was_cut_and_ended_is_damaged(form: str) -> None:
    data = jpeg(form)
    assert_damaged(data[: len(data) * 2 // 3] + b"\xff\xd9")


@pytest.mark.parametrize("form", FORMS)
def test_jpeg_with_two_frames_is_damaged(form: str) -> None:
    data = jpeg(form)
    at = frame_at(data)
    header = data[at : at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")]
    larger = with_size(data, WIDTH * 8, HEIGHT * 8)[at : at + len(header)]
    assert_damaged(data[:at] + larger + data[at:])
    assert_damaged(data[: at + len(header)] + larger + data[at + len(header) :])


@pytest.mark.parametrize("form", ["baseline", "grey", "CMYK", "restarts"])
def test_jpeg_with_a_few_bytes_after_its_last_row_is_whole(form: str) -> None:
    """Some cameras write them."""
    data = jpeg(form)
    np.testing.assert_array_equal(decoded(data[:-2] + b"\0" * 20 + b"\xff\xd9"), decoded(data))
    np.testing.assert_array_equal(decoded(data + b"a second picture"), decoded(data))


# -- PNG

PNG_FORMS = [(8, 0, 1), (8, 2, 3), (8, 3, 1), (8, 4, 2), (8, 6, 4), (1, 0, 1), (16, 0, 2), (16, 2, 6), (16, 6, 8)]
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(rows: bytes, depth: int, colour_type: int, *, height: int = 61, interlaced: bool = False) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 48, height, depth, colour_type, 0, 0, interlaced))
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour_type == 3 else b""
    packed = zlib.compress(rows)
    body = chunk(b"IDAT", packed[:100]) + chunk(b"IDAT", packed[100:])
    return b"\x89PNG\r\n\x1a\n" + header + palette + body + chunk(b"IEND", b"")


def noisy_rows(columns: int, count: int, depth: int, samples: int) -> bytes:
    size = (columns * samples + 7) // 8 if depth == 1 else columns * samples
    return b"".join(b"\0" + NOISE.tobytes()[row * size : row * size + size] for row in range(count))


@pytest.mark.parametrize(("depth", "colour_type", "samples"), PNG_FORMS)
def test_png_without_its_last_rows_is_damaged(depth: int, colour_type: int, samples: int) -> None:
    whole = noisy_rows(48, 61, depth, samples)
    assert decoded(png(whole, depth, colour_type)).shape[:2] == (61, 48)
    row = len(whole) // 61
    for missing in (row, row // 2 or 1, 40 * row):
        assert_damaged(png(whole[:-missing], depth, colour_type))
    assert_damaged(png(whole, depth, colour_type, height=4 * 61))


@pytest.mark.parametrize(("depth", "colour_type", "samples"), PNG_FORMS)
@pytest.mark.parametrize("height", [60, 61])
def test_interlaced_png_without_its_last_rows_is_damaged(
    depth: int, colour_type: int, samples: int, height: int
) -> None:
    whole = b"".join(
        noisy_rows(-((left - 48) // across), -((top - height) // down), depth, samples)
        for left, top, across, down in PASSES
    )
    assert decoded(png(whole, depth, colour_type, height=height, interlaced=True)).shape[:2] == (height, 48)
    row = len(noisy_rows(48, 1, depth, samples))
    for missing in (row, 20 * row):
        assert_damaged(png(whole[:-missing], depth, colour_type, height=height, interlaced=True))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_png_that_ends_in_black_is_whole(mode: str) -> None:
    black = NOISE.copy()
    black[40:] = 0
    data = saved(Image.fromarray(black).convert(mode), "PNG")
    assert decoded(data).shape[:2] == (HEIGHT, WIDTH)


# -- TIFF and the others


def tiff_with(data: bytes, tag: int, value: int) -> bytes:
    start = int.from_bytes(data[4:8], "little")
    changed = bytearray(data)
    for entry in range(start + 2, start + 2 + 12 * int.from_bytes(data[start : start + 2], "little"), 12):
        name, kind = struct.unpack("<HH", data[entry : entry + 4])
        if name == tag:
            changed[entry + 8 : entry + 12] = value.to_bytes(4 if kind == 4 else 2, "little").ljust(4, b"\0")
    return bytes(changed)


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
def test_tiff_without_its_last_strips_is_damaged(mode: str) -> None:
    deep = Image.fromarray(NOISE[..., 0].astype(np.uint16) * 257)
    data = saved(deep if mode == "I;16" else IMAGE.convert(mode), "TIFF")
    assert decoded(data).shape[:2] == (HEIGHT, WIDTH)
    assert_damaged(tiff_with(data, 257, HEIGHT * 4))


@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_packed_tiff_without_its_last_rows_is_damaged(packing: str) -> None:
    data = saved(IMAGE, "TIFF", compression=packing)
    assert_damaged(tiff_with(data, 257, HEIGHT * 4))
    assert_damaged(tiff_with(data, 256, WIDTH * 2))


def test_tiff_of_16_bit_colour_without_its_last_rows_is_damaged() -> None:
    data = cv2.imencode(".tiff", NOISE[..., :3].astype(np.uint16) * 257)[1].tobytes()
    assert_damaged(tiff_with(data, 257, HEIGHT * 4))


@pytest.mark.parametrize("lossless", [False, True])
def test_webp_with_a_forged_size_is_damaged(lossless: bool) -> None:
    data = bytearray(saved(IMAGE, "WEBP", lossless=lossless))
    if lossless:
        size = int.from_bytes(data[21:25], "little") & ~(0x3FFF << 14) | (4 * HEIGHT - 1) << 14
        data[21:25] = size.to_bytes(4, "little")
    else:
        data[28:30] = (4 * HEIGHT).to_bytes(2, "little")
    assert_damaged(bytes(data))


def test_bmp_with_a_forged_size_is_damaged() -> None:
    data = bytearray(saved(IMAGE, "BMP"))
    data[22:26] = (4 * HEIGHT).to_bytes(4, "little")
    assert_damaged(bytes(data))


def test_gif_with_a_forged_size_is_damaged() -> None:
    data = bytearray(saved(IMAGE, "GIF"))
    at = data.index(b",", 13 + 3 * 256)
    for where in (8, at + 7):
        data[where : where + 2] = (4 * HEIGHT).to_bytes(2, "little")
    assert_damaged(bytes(data))
