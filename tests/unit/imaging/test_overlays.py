"""Pictures to lay over a photo: where they show something, and in which colour."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from datagen.imaging.overlays import AREA_SIDE, DRAWN, HEAT, INSIDE, MATTE, MATTE_SIDE, area_overlay, matte_overlay


def shown(overlay: bytes) -> npt.NDArray[Any]:
    """The pixels [h, w, 4] of an overlay."""
    return np.asarray(Image.open(io.BytesIO(overlay)).convert("RGBA"))


def has_colour(pixels: npt.NDArray[Any], colour: tuple[int, int, int]) -> npt.NDArray[np.bool_]:
    return np.asarray(np.all(pixels[..., :3] == colour, axis=-1) & (pixels[..., 3] > 0))


def test_a_matte_is_coloured_where_its_mask_is_and_transparent_elsewhere() -> None:
    mask = np.zeros((20, 30), bool)
    mask[5:15, 10:25] = True
    pixels = shown(matte_overlay([(mask, 40, 60)], 200, 150))
    expected = np.zeros((150, 200), bool)
    expected[65:75, 50:65] = True
    np.testing.assert_array_equal(pixels[..., 3] > 0, expected)
    assert has_colour(pixels, MATTE)[expected].all()
    inner = pixels[70, 55, 3]
    assert inner < 255 == pixels[65, 50, 3], "the photo is seen through the matte, not through its contour"


def test_a_matte_at_the_border_of_its_photo_is_cut_off_there() -> None:
    pixels = shown(matte_overlay([(np.ones((20, 20), bool), 90, 70)], 100, 80))
    assert pixels.shape[:2] == (80, 100)
    assert np.count_nonzero(pixels[..., 3]) == 100


def test_a_line_of_two_pixels_in_a_large_photo_stays_visible() -> None:
    width, height = 4 * MATTE_SIDE, 3 * MATTE_SIDE
    pixels = shown(matte_overlay([(np.ones((2, 400), bool), 1000, 1000)], width, height))
    assert pixels.shape[1] == MATTE_SIDE
    assert np.count_nonzero((pixels[..., 3] > 0).any(axis=0)) >= 99


def test_each_fifth_of_the_likelihood_has_its_colour() -> None:
    likelihood = np.repeat(np.array([[0, 60, 120, 180, 255]], np.uint8), 40, axis=1).repeat(50, axis=0)
    pixels = shown(area_overlay(likelihood, np.zeros((50, 200), bool), [], 200, 50))
    for level, colour in enumerate(HEAT):
        assert has_colour(pixels, colour)[25, 40 * level + 20], level


def test_the_used_places_and_the_drawn_polygons_are_outlined() -> None:
    inside = np.zeros((60, 80), bool)
    inside[20:40, 20:40] = True
    polygon = [(500.0, 100.0), (700.0, 100.0), (700.0, 500.0), (500.0, 500.0)]
    pixels = shown(area_overlay(np.zeros((60, 80), np.uint8), inside, [polygon], 800, 600))
    assert pixels.shape == (480, AREA_SIDE, 4)
    outlined = np.argwhere(has_colour(pixels, INSIDE))
    assert outlined.min() >= 155
    assert outlined.max() <= 325
    drawn = np.argwhere(has_colour(pixels, DRAWN))
    assert abs(drawn[:, 0].min() - 80) <= 1
    assert abs(drawn[:, 1].max() - 560) <= 1
