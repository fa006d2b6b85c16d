"""Windows round a place: always inside the photo, with room that keeps off the neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.synthesis.diffusion.models.crops import enlarged, enlarged_mask, place_of, reduced, square


@pytest.mark.parametrize(("x", "y"), [(0, 0), (99, 59), (50, 30), (3, 58)])
def test_a_window_at_the_border_is_moved_inside(x, y):
    frame = square(x, y, 24, 100, 60)
    assert frame.shape == (24, 24)
    assert frame.left >= 0
    assert frame.top >= 0
    assert frame.right <= 100
    assert frame.bottom <= 60


def test_a_photo_smaller_than_the_window_is_the_window():
    assert square(10, 10, 90, 40, 30).shape == (30, 40)


def test_room_holds_the_outline_and_keeps_off_its_neighbour():
    mask = np.zeros((60, 80), np.uint8)
    mask[20:30, 20:30] = 1
    mask[20:30, 33:40] = 2
    place = place_of(mask, 1, 2.5)
    window = mask[place.frame.slices]
    assert np.array_equal(place.laid, window == 1)
    assert place.room[place.laid].all()
    assert place.room.sum() > place.laid.sum()
    assert not place.room[window == 2].any()


def test_a_thing_of_twelve_pixels_fills_a_good_part_of_the_crop():
    mask = np.zeros((200, 200), np.uint8)
    mask[94:106, 94:106] = 1
    place = place_of(mask, 1, 2.5)
    assert enlarged_mask(place.laid, 512).mean() == pytest.approx(1 / 2.5**2, rel=0.2)


@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
def test_enlarging_and_reducing_gives_a_smooth_picture_back(kind):
    ramp = np.add.outer(np.linspace(20, 120, 60), np.linspace(0, 100, 80))
    picture = np.rint(ramp * (257 if kind == "deep" else 1)).astype(np.uint16 if kind == "deep" else np.uint8)
    if kind == "colour":
        picture = np.stack([picture] * 3, axis=2)
    mask = np.zeros((60, 80), np.uint8)
    mask[25:35, 30:45] = 1
    place = place_of(mask, 1, 2.5)
    back = reduced(enlarged(picture, place.frame, 128), place, 3 if kind == "colour" else 1)
    true = ramp[place.frame.slices]
    assert np.abs(back[2:-2, 2:-2].mean(axis=2) - true[2:-2, 2:-2]).max() < 1.5
