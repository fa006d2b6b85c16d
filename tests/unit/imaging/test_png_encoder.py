"""Encoding: every decoder gives the same pixels back, and equal pixels have equal bytes."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from datagen.imaging.codec import decode
from datagen.imaging.png_encoder import encode_indexed, encode_mask, encode_png, encode_translucent

RAMP = (np.arange(20 * 40 * 3) % 251).astype(np.uint8).reshape(20, 40, 3)


def decoded(data: bytes) -> npt.NDArray[Any]:
    return decode(data, max_bytes=10_000_000, max_pixels=1_000_000)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(7, 5), (7, 5, 3), (1, 1), (300, 200, 3)])
def test_not_a_bit_is_lost(shape: tuple[int, ...], dtype: type) -> None:
    pixels = np.random.default_rng(2).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    data = encode_png(pixels)
    back = decoded(data)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, pixels)


def test_opacity_is_kept_for_each_pixel() -> None:
    pixels = np.random.default_rng(4).integers(0, 255, (31, 17, 4), np.uint8, endpoint=True)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(encode_translucent(pixels)))), pixels)
    with pytest.raises(ValueError, match="no translucent PNG of"):
        encode_translucent(pixels[..., :3])


def test_each_pixel_has_the_colour_of_its_number() -> None:
    colours = np.random.default_rng(5).integers(0, 255, (7, 4), np.uint8, endpoint=True)
    numbers = np.random.default_rng(6).integers(0, 7, (31, 17)).astype(np.uint8)
    shown = np.asarray(Image.open(io.BytesIO(encode_indexed(numbers, colours))).convert("RGBA"))
    np.testing.assert_array_equal(shown, colours[numbers])


@pytest.mark.parametrize("colours", [np.zeros((3, 3), np.uint8), np.zeros((2, 4), np.uint8)], ids=["RGB", "too few"])
def test_a_number_without_a_colour_is_refused(colours: npt.NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="no PNG"):
        encode_indexed(np.full((2, 2), 2, np.uint8), colours)


def test_the_same_pixels_give_the_same_bytes() -> None:
    assert encode_png(RAMP) == encode_png(RAMP.copy()) == encode_png(np.asfortranarray(RAMP))


def test_a_view_into_a_larger_picture() -> None:
    np.testing.assert_array_equal(decoded(encode_png(RAMP[2:9, 3:11])), RAMP[2:9, 3:11])


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((3, 3), np.float32), np.zeros((3, 3, 4), np.uint8), np.zeros((3, 3), bool), np.zeros(3, np.uint8)],
)
def test_array_that_is_no_picture_is_an_error_of_the_caller(pixels: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="no PNG of"):
        encode_png(pixels)


def test_not_a_number_is_lost() -> None:
    mask = np.zeros((300, 200), np.uint8)
    mask[40:90, 50:70], mask[200:, 150:] = 1, 255
    np.testing.assert_array_equal(decoded(encode_mask(mask)), mask)
    assert encode_mask(mask) == encode_mask(np.asfortranarray(mask))


@pytest.mark.parametrize("mask", [np.zeros((3, 3), bool), np.zeros((3, 3), np.uint16), np.zeros((3, 3, 3), np.uint8)])
def test_array_that_is_no_mask_is_an_error_of_the_caller(mask: npt.NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="no mask is"):
        encode_mask(mask)


@pytest.mark.parametrize("shape", [(31, 17), (31, 17, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_other_decoders_give_the_same_pixels(shape: tuple[int, ...], dtype: type) -> None:
    pixels = np.random.default_rng(3).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    data = encode_png(pixels)
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert by_opencv is not None
    np.testing.assert_array_equal(by_opencv[..., ::-1] if pixels.ndim == 3 else by_opencv, pixels)
    with Image.open(io.BytesIO(data)) as picture:
        picture.verify()  # every chunk's checksum
    if dtype == np.uint8 or pixels.ndim == 2:  # Pillow has no 16-bit colour
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


def test_a_photograph_takes_less_than_its_pixels() -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(4).normal(128, 400, (200, 300, 3)), (0, 0), 8)
    pixels = np.clip(smooth, 0, 255).astype(np.uint8)
    assert len(encode_png(pixels)) < 0.6 * pixels.nbytes


def test_a_mask_takes_a_hundredth_of_its_pixels() -> None:
    mask = np.zeros((400, 600), np.uint8)
    mask[100:140, 200:260] = 1
    assert len(encode_mask(mask)) < mask.nbytes / 100
