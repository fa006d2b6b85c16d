"""A box is filled as if the object were absent."""

from __future__ import annotations

import numpy as np

from datagen.domain.geometry import Box
from datagen.synthesis.composite.extraction import background_inpainting
from datagen.synthesis.composite.extraction.background_inpainting import around, clean_fill, grain_direction, membrane
from datagen.synthesis.intensity import to_tones


def filled(picture, box):
    frame = around(box, 20, picture.shape[1], picture.shape[0])
    return clean_fill(picture, box, frame, [box]), frame


def test_streaks_go_on_through_the_hole():
    chance = np.random.default_rng(0)
    truth = np.clip(np.repeat(chance.normal(120, 25, (1, 200)), 200, axis=0), 0, 255).astype(np.uint8)
    picture = truth.copy()
    picture[90:110, 90:110] = 0
    clean, frame = filled(picture, Box(88, 88, 24, 24))
    assert clean.method in ("grain", "twin")
    assert np.abs(clean.tones - to_tones(truth[frame.slices])).max() < 8


def test_an_edge_is_completed_from_elsewhere_on_it():
    truth = np.zeros((200, 200), np.uint8)
    truth[:, 100:] = 255
    picture = truth.copy()
    picture[95:105, 92:108] = 128
    clean, frame = filled(picture, Box(90, 93, 20, 14))
    assert np.abs(clean.tones - to_tones(truth[frame.slices])).mean() < 2


def test_a_shaded_plain_is_filled_smoothly_and_the_error_is_small():
    ys, xs = np.indices((160, 160))
    truth = (60 + 0.4 * xs + 0.2 * ys).astype(np.uint8)
    picture = truth.copy()
    picture[70:90, 70:90] = 255
    clean, frame = filled(picture, Box(68, 68, 24, 24))
    assert np.abs(clean.tones - to_tones(truth[frame.slices])).max() < 4
    assert clean.error < 2


def test_a_box_over_everything_is_left_as_it_is():
    picture = np.full((40, 40), 90, np.uint8)
    clean, _ = filled(picture, Box(0, 0, 40, 40))
    assert clean.method == "none"
    assert (clean.tones == 90).all()


def test_the_membrane_touches_what_is_known():
    values = np.random.default_rng(0).uniform(0, 255, (33, 47, 3)).astype(np.float32)
    known = np.ones((33, 47), bool)
    known[10:25, 10:30] = False
    out = membrane(values, known)
    assert np.array_equal(out[known], values[known])
    assert out.min() >= values.min() - 1
    assert out.max() <= values.max() + 1


def test_squared_differences_count_known_pixels_only_and_are_exact():
    chance = np.random.default_rng(6)
    search = chance.integers(0, 65536, (40, 50)).astype(np.uint16)
    target = search[12:30, 20:43].copy()
    known = chance.random(target.shape) < 0.7
    target[~known] = 0
    costs = background_inpainting._squared_differences(search, target, known)
    windows = np.lib.stride_tricks.sliding_window_view(search.astype(np.int64), target.shape)
    assert np.array_equal(costs, (np.square(windows - target) * known).sum(axis=(2, 3)))
    assert costs[12, 20] == 0


def test_noise_has_no_grain():
    noise = np.random.default_rng(0).normal(120, 20, (60, 60, 1)).astype(np.float32)
    assert grain_direction(noise, np.ones((60, 60), bool)) is None


def test_a_picture_of_two_tones_is_filled_without_greys():
    """The bite is at a corner of the trace, so no other place of the picture has the same surroundings."""
    truth = np.full((120, 120), 250, np.uint8)
    truth[40:, :70] = 5
    truth = np.clip(truth + np.random.default_rng(0).normal(0, 2, truth.shape), 0, 255).astype(np.uint8)
    picture = truth.copy()
    picture[60:66, 64:70] = 250
    clean, _ = filled(picture, Box(62, 58, 12, 10))
    hole = clean.tones[20:30, 20:32]  # the frame reaches 20 pixels beyond the box
    assert ((hole < 35) | (hole > 220)).all()
    assert np.abs(hole - to_tones(truth[58:68, 62:74])).mean() < 8
