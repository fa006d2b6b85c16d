"""A concept is laid where the background looks as its own surroundings did."""

from __future__ import annotations

import numpy as np

from datagen.synthesis.context import fitting_place
from datagen.synthesis.pose import Posed


def posed_on_edge(side=16):
    """A cut-out whose surroundings are dark at the left and bright at the right."""
    clean = np.zeros((side, side, 1), np.float32)
    clean[:, side // 2 :] = 255
    mask = np.zeros((side, side), bool)
    mask[5:-5, 5:-5] = True
    return Posed(patch=clean.copy(), clean=clean, mask=mask, opacity=None)


def test_it_snaps_to_the_edge():
    picture = np.zeros((120, 160), np.uint8)
    picture[:, 97:] = 255
    for side in (16, 40):
        for pick in (0.0, 0.5, 0.99):
            place = fitting_place(picture, posed_on_edge(side), (40, 60), 0.5, np.ones((12, 16), bool), pick)
            assert place.inside
            assert place.mismatch < 35
            assert abs(place.left + side // 2 - 97) <= 1


def test_on_plain_texture_any_place_will_do():
    chance = np.random.default_rng(0)
    picture = chance.normal(120, 5, (200, 200)).astype(np.uint8)
    clean = chance.normal(120, 5, (16, 16, 1)).astype(np.float32)
    mask = np.zeros((16, 16), bool)
    mask[5:-5, 5:-5] = True
    posed = Posed(patch=clean, clean=clean, mask=mask, opacity=None)
    places = [
        fitting_place(picture, posed, (90, 90), 0.5, np.ones((20, 20), bool), pick) for pick in np.linspace(0, 0.99, 12)
    ]
    assert len({(p.top, p.left) for p in places}) >= 10


def test_a_place_outside_the_area_is_not_taken():
    picture = np.zeros((120, 160), np.uint8)
    picture[:, 97:] = 255
    area = np.ones((12, 16), bool)
    area[:, 8:] = False
    assert not fitting_place(picture, posed_on_edge(), (40, 60), 0.5, area, 0.5).inside
