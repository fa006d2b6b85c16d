"""Small pictures: their size in pixels and bytes, what is drawn on them, and the part around an instance."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from datagen.domain.geometry import Box
from datagen.imaging.thumbnails import ThumbnailFormat, close_up, thumbnail

FORM = ThumbnailFormat(side=320, max_bytes=20_000)
SQUARE = ((100, 100), (140, 100), (140, 140), (100, 140))


def opened(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def is_magenta(pixels: np.ndarray) -> np.ndarray:
    return (pixels[..., 0] > 170) & (pixels[..., 1] < 110) & (pixels[..., 2] > 90)


@pytest.mark.parametrize(
    ("shape", "dtype", "size"),
    [
        ((480, 640, 3), np.uint8, (320, 240)),
        ((640, 480), np.uint8, (240, 320)),
        ((100, 80), np.uint16, (80, 100)),
        ((1, 4000, 3), np.uint8, (320, 1)),
    ],
)
def test_thumbnail_has_the_longer_side_and_is_never_enlarged(
    shape: tuple[int, ...], dtype: type, size: tuple[int, int]
) -> None:
    data = thumbnail(np.full(shape, 100, dtype), FORM)
    image = Image.open(io.BytesIO(data))
    assert (image.size, image.format) == (size, "WEBP")


def test_thumbnail_of_noise_stays_below_its_bytes() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (900, 1200, 3), np.uint8)
    smooth = np.kron(np.random.default_rng(2).integers(0, 255, (60, 80, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    assert len(thumbnail(noise, FORM)) <= 20_000
    assert len(thumbnail(smooth, FORM)) <= 20_000


def test_outline_is_drawn_where_the_polygon_is() -> None:
    grey = np.full((320, 320, 3), 128, np.uint8)
    assert not is_magenta(opened(thumbnail(grey, FORM))).any()
    rows, columns = np.nonzero(is_magenta(opened(thumbnail(grey, FORM, [SQUARE]))))
    assert abs(rows.min() - 100) <= 3
    assert abs(rows.max() - 140) <= 3
    assert abs(columns.min() - 100) <= 3
    assert abs(columns.max() - 140) <= 3


def test_outline_at_a_distance_leaves_the_instance_visible() -> None:
    grey = np.full((320, 320, 3), 128, np.uint8)
    thin = ((100, 150), (200, 150), (200, 152), (100, 152))
    near = is_magenta(opened(thumbnail(grey, FORM, [thin])))
    around = is_magenta(opened(thumbnail(grey, ThumbnailFormat(side=320, max_bytes=20_000, distance=5), [thin])))
    assert near[150:153, 120:180].any()
    assert not around[150:153, 120:180].any()
    assert around.any()


def test_close_up_shows_the_box_in_its_middle_and_stays_inside_the_picture() -> None:
    picture = np.zeros((400, 600, 3), np.uint8)
    picture[40:60, 560:580] = 255  # near the upper right corner
    form = ThumbnailFormat(side=300, max_bytes=40_000)
    shown = opened(close_up(picture, Box(560, 40, 20, 20), form))
    assert shown.shape[0] == shown.shape[1]
    rows, columns = np.nonzero(shown[..., 0] > 128)
    assert 0.2 * len(shown) < rows.mean() < 0.8 * len(shown)
    assert columns.max() < shown.shape[1]
    assert len(rows) > 0


def test_close_up_of_a_box_larger_than_the_picture_is_the_picture() -> None:
    picture = np.full((50, 70, 3), 90, np.uint8)
    shown = opened(close_up(picture, Box(0, 0, 70, 50), ThumbnailFormat(side=140, max_bytes=40_000)))
    assert shown.shape[:2] == (100, 140)
