"""A concept is placed where the background resembles its own surroundings."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.synthesis.composite.appearance.pose import Posed
from datagen.synthesis.composite.placement import context_match
from datagen.synthesis.composite.placement.context_match import fitting_place


def posed_on_edge(side=16):
    """A cut-out whose surroundings are dark at the left and bright at the right."""
    clean = np.zeros((side, side, 1), np.float32)
    clean[:, side // 2 :] = 255
    mask = np.zeros((side, side), bool)
    mask[5:-5, 5:-5] = True
    return Posed(patch=clean.copy(), clean=clean, mask=mask, opacity=1.0)


def test_it_snaps_to_the_edge():
    picture = np.zeros((120, 160), np.uint8)
    picture[:, 97:] = 255
    for side in (16, 40):
        for pick in (0.0, 0.5, 0.99):
            place = fitting_place(picture, posed_on_edge(side), (40, 60), 0.5, np.ones((12, 16), bool), pick)
            assert place.inside
            assert place.mismatch < 35
            assert abs(place.left + side // 2 - 97) <= 1


@pytest.mark.parametrize("margin", [3, 8, 20], ids=["few places", "large template", "small template"])
def test_products_are_those_of_every_window(margin):
    chance = np.random.default_rng(2)
    wanted = chance.normal(size=(14, 20)).astype(np.float32)
    ground = chance.normal(size=(14 + 2 * margin, 20 + 2 * margin)).astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(ground, wanted.shape)
    expected = (windows * wanted).sum(axis=(2, 3))
    assert np.allclose(context_match._products(ground, wanted), expected, atol=1e-4)


def test_on_plain_texture_any_place_will_do():
    chance = np.random.default_rng(0)
    picture = chance.normal(120, 5, (200, 200)).astype(np.uint8)
    clean = chance.normal(120, 5, (16, 16, 1)).astype(np.float32)
    mask = np.zeros((16, 16), bool)
    mask[5:-5, 5:-5] = True
    posed = Posed(patch=clean, clean=clean, mask=mask, opacity=1.0)
    places = [
        fitting_place(picture, posed, (90, 90), 0.5, np.ones((20, 20), bool), pick) for pick in np.linspace(0, 0.99, 12)
    ]
    assert len({(p.top, p.left) for p in places}) >= 10


def test_on_texture_the_plainest_places_are_not_preferred():
    """The less a place varies, the less it differs from noise: samples lay where textures were plainest."""
    chance = np.random.default_rng(0)
    loud = np.zeros((200, 200), bool)
    loud[:, 100:] = True
    picture = np.clip(120 + chance.normal(0, 1, (200, 200)) * np.where(loud, 24, 14), 0, 255).astype(np.uint8)
    clean = chance.normal(120, 18, (16, 16, 1)).astype(np.float32)
    mask = np.zeros((16, 16), bool)
    mask[5:-5, 5:-5] = True
    posed = Posed(patch=clean, clean=clean, mask=mask, opacity=1.0)
    area = np.ones((20, 20), bool)
    picks = np.linspace(0, 0.99, 40)
    lefts = [fitting_place(picture, posed, (92, 92), 0.5, area, pick).left for pick in picks]
    assert np.mean([left > 92 for left in lefts]) > 0.4


def test_a_faint_edge_is_snapped_to_as_a_strong_one_is():
    """The allowed difference to the best place depends on the contrast of the surroundings."""
    picture = np.full((120, 160), 120, np.uint8)
    picture[:, 97:] = 134
    edge = posed_on_edge()
    faint = Posed(patch=edge.patch, clean=120 + edge.clean * (14 / 255), mask=edge.mask, opacity=1.0)
    for pick in (0.0, 0.5, 0.99):
        place = fitting_place(picture, faint, (40, 60), 0.5, np.ones((12, 16), bool), pick)
        assert abs(place.left + 8 - 97) <= 3


def test_a_place_outside_the_area_is_not_taken():
    picture = np.zeros((120, 160), np.uint8)
    picture[:, 97:] = 255
    area = np.ones((12, 16), bool)
    area[:, 8:] = False
    assert not fitting_place(picture, posed_on_edge(), (40, 60), 0.5, area, 0.5).inside


def test_surroundings_that_fit_nowhere_are_told_as_such():
    dark = np.zeros((120, 160), np.uint8)
    area = np.ones((12, 16), bool)
    assert fitting_place(dark, posed_on_edge(), (40, 60), 0.5, area, 0.5, worst=20) is None
    assert fitting_place(dark, posed_on_edge(), (40, 60), 0.5, area, 0.5).inside


def test_a_place_known_to_be_wrong_by_its_tone_is_turned_down_as_a_full_comparison_would():
    """A place is rejected by its mean tone without the full comparison, with the same result."""
    chance = np.random.default_rng(0)
    picture = chance.normal(200, 5, (200, 200)).astype(np.uint8)
    clean = chance.normal(60, 5, (16, 16, 1)).astype(np.float32)
    mask = np.zeros((16, 16), bool)
    mask[5:-5, 5:-5] = True
    posed = Posed(patch=clean, clean=clean, mask=mask, opacity=1.0)
    best = fitting_place(picture, posed, (90, 90), 0.5, np.ones((20, 20), bool), 0.5).mismatch
    for worst in (best - 5, best - 0.01, best + 0.01, best + 5):
        place = fitting_place(picture, posed, (90, 90), 0.5, np.ones((20, 20), bool), 0.5, worst=worst)
        assert (place is None) == (worst < best)


@pytest.mark.parametrize("side", [34, 47, 60, 81])
def test_a_large_concept_finds_its_own_place_to_the_pixel(side):
    """The search runs on a reduced picture; its positions must be exact at any distance from its corner."""
    chance = np.random.default_rng(side)
    picture = cv2.GaussianBlur(chance.normal(120, 120, (400, 400)).astype(np.float32), (0, 0), 6)
    picture = np.clip(120 + 4 * (picture - 120), 0, 255).astype(np.uint8)
    mask = np.zeros((side, side), bool)
    mask[5:-5, 5:-5] = True
    for top, left in ((80, 90), (233, 241)):
        clean = picture[top : top + side, left : left + side].astype(np.float32)[:, :, None]
        posed = Posed(patch=clean, clean=clean, mask=mask, opacity=1.0)
        place = fitting_place(picture, posed, (top - 40, left + 37), 1.0, np.ones((50, 50), bool), 0.5)
        assert max(abs(place.top - top), abs(place.left - left)) <= 1
