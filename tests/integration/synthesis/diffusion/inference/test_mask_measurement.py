"""The mask is measured from the changed pixels, without the model's own error."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.synthesis.diffusion.inference.mask_measurement import best, measure
from datagen.synthesis.diffusion.models.crops import place_of


@pytest.fixture
def place():
    """A 20 × 20 outline in the middle of a window."""
    mask = np.zeros((100, 100), np.uint8)
    mask[40:60, 40:60] = 1
    return place_of(mask, 1, 2.5)


@pytest.fixture
def before(place):
    """A grained grey window."""
    return np.random.default_rng(0).normal(120, 2, (*place.frame.shape, 1)).astype(np.float32)


def iou(mask, other):
    return (mask & other).sum() / (mask | other).sum()


def test_the_mask_is_what_was_painted_not_what_was_asked_for(place, before):
    half = place.laid.copy()
    half[:, : half.shape[1] // 2] = False
    after = np.where(half[:, :, None], before - 60, before)
    painted = measure(before, after, place)
    assert iou(painted.mask, half) > 0.85
    assert painted.cover == pytest.approx(0.5, abs=0.07)


def test_a_place_left_plain_cannot_be_seen(place, before):
    after = before + np.random.default_rng(1).normal(0, 2, before.shape)
    painted = measure(before, after.astype(np.float32), place)
    assert not painted.is_seen(2.0)


def test_the_autoencoders_tint_is_no_paint(place, before):
    painted = measure(before, before + 15, place)
    assert not painted.mask.any()
    assert np.abs(painted.tones - before).max() < 1e-2


def test_paint_outside_the_room_is_never_in_the_mask(place, before):
    painted = measure(before, np.full_like(before, 20), place)
    assert not painted.mask[~place.room].any()


def test_a_hole_in_the_middle_is_part_of_the_thing(place, before):
    ring = place.laid.copy()
    middle = ring.shape[0] // 2
    ring[middle - 2 : middle + 3, middle - 2 : middle + 3] = False
    painted = measure(before, np.where(ring[:, :, None], before - 60, before), place)
    assert painted.mask[middle, middle]


def test_specks_are_not_the_thing(place, before):
    painted = place.laid.copy()
    painted[:, : painted.shape[1] // 2] = False
    after = np.where(painted[:, :, None], before - 60, before)
    ys, xs = np.nonzero(place.laid)
    after[ys[0], xs[0]] -= 60
    assert not measure(before, after, place).mask[ys[0], xs[0]]


def test_the_candidate_least_like_the_background_is_kept(place, before):
    measured = [measure(before, np.where(place.laid[:, :, None], before - by, before), place) for by in (30, 70, 50)]
    assert best(measured, 2.0) == 1


def test_where_nothing_can_be_seen_there_is_no_best(place, before):
    assert best([measure(before, before, place)], 2.0) is None
