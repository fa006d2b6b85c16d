"""Samples near structures that resemble the concept, on backgrounds that the test has drawn."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.synthesis.composite.extraction.exemplars import candidates, choose
from datagen.synthesis.composite.placement.hard_negatives import BESIDE_SHARE, learn_look, near_lookalikes, places

PAPER, STAIN, OTHER = (200, 190, 210), (90, 60, 160), (190, 80, 70)


def picture(*discs, seed=0):
    """Noisy paper [240, 320, 3] with discs (x, y, radius, colour)."""
    shown = np.full((240, 320, 3), PAPER, np.float32) + np.random.default_rng(seed).normal(0, 3, (240, 320, 3))
    for x, y, radius, colour in discs:
        mask = cv2.circle(np.zeros((240, 320), np.uint8), (x, y), radius, 1, -1) > 0
        shown[mask] += np.subtract(colour, PAPER)
    return np.clip(shown, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def look():
    extracted = []
    for number in range(4):
        photo = picture((100, 100, 12, STAIN), seed=number)
        ref = ImageRef(digest=str(number) * 64, width=320, height=240, name=f"photo {number}")
        region = ConceptRegion(label="x", box=Box(86, 86, 29, 29), outline=())
        extracted += candidates(ConceptImage(image=ref, regions=(region,)), photo)[0]
    return learn_look(choose(extracted, {})[0])


def test_what_has_the_concepts_tones_is_found_and_other_things_are_not(look):
    near = near_lookalikes(look, picture((240, 60, 40, STAIN), (80, 180, 40, OTHER), seed=9))
    reduced = near.shape[1] / 320
    assert near[int(60 * reduced), int(240 * reduced)]
    assert near[int(60 * reduced), int(180 * reduced)], "beside it, a length of the concept away"
    assert not near[int(180 * reduced), int(80 * reduced)]
    assert not near[int(120 * reduced), int(40 * reduced)]


def test_on_plain_ground_nothing_looks_like_it(look):
    assert not near_lookalikes(look, picture(seed=5)).any()


def test_where_half_the_picture_looks_like_it_tones_tell_nothing(look):
    assert not near_lookalikes(look, picture((160, 120, 110, STAIN), seed=5)).any()


def test_a_third_of_the_places_is_beside_lookalikes_and_none_leaves_the_area():
    area, near = np.zeros((60, 80), bool), np.zeros((60, 80), bool)
    area[:, :60], near[20:30, 40:70] = True, True
    drawn = places(area, near)
    assert area.ravel()[drawn].all()
    usual = (area & near).sum() / area.sum()
    assert near.ravel()[drawn].mean() == pytest.approx(BESIDE_SHARE + (1 - BESIDE_SHARE) * usual, abs=0.01)


def test_without_lookalikes_every_place_comes_once():
    area = np.zeros((60, 80), bool)
    area[10:20] = True
    assert sorted(places(area, np.zeros_like(area))) == sorted(places(area, None)) == list(range(800, 1600))


def test_two_tones_cannot_tell_the_concept_from_what_it_lies_on():
    board = np.zeros((120, 120), np.uint8)
    board[:, 60:] = 255
    board[50:60, 60:70] = 0
    ref = ImageRef(digest="d" * 64, width=120, height=120, name="board")
    region = ConceptRegion(label="x", box=Box(55, 45, 20, 20), outline=())
    exemplars, _ = choose(candidates(ConceptImage(image=ref, regions=(region,)), board)[0], {})
    assert learn_look(exemplars) is None


@pytest.mark.parametrize("shape", [(40, 48), (40, 48, 3)])
def test_a_concept_of_one_pixel_has_a_look(shape):
    photo = np.random.default_rng(0).normal(120, 12, shape).astype(np.uint8)
    ref = ImageRef(digest="d" * 64, width=48, height=40, name="photo")
    region = ConceptRegion(label="x", box=Box(20, 20, 1, 1), outline=())
    look_of_pixel = learn_look(choose(candidates(ConceptImage(image=ref, regions=(region,)), photo)[0], {})[0])
    assert np.isfinite(look_of_pixel.own_precision).all()


def test_lookalikes_are_found_where_they_are(look):
    """Opening with an even kernel moved them a pixel of the reduced picture right and down."""
    near = near_lookalikes(look, picture((160, 120, 30, STAIN), seed=3))
    ys, xs = np.nonzero(near)
    assert (xs.min() + xs.max()) / 2 == pytest.approx(near.shape[1] / 2, abs=0.6)
    assert (ys.min() + ys.max()) / 2 == pytest.approx(near.shape[0] / 2, abs=0.6)
