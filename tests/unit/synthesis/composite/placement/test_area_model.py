"""The area is learned from what the canvases have in common, and checked on the one left out."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.domain.geometry import Polygon
from datagen.synthesis.composite.placement.area_model import ANYWHERE, drawn_area, fit_area


def square(left, top, right, bottom):
    return Polygon(((left, top), (right, top), (right, bottom), (left, bottom)))


def test_an_area_that_follows_the_tone_is_learned_by_appearance(plates):
    canvases = []
    for number, split in enumerate((0.3, 0.4, 0.5, 0.6, 0.7)):
        mask = drawn_area([square(128 * split, 0, 128, 96)], 96, 128)
        canvases.append((plates(number, split=split), mask))
    model = fit_area(canvases)
    assert model.mode in ("appearance", "both")
    assert model.iou > 0.9
    unseen = model.allowed(model.likelihood(plates(99, split=0.2)), 0.5)
    assert unseen[:, 40:].mean() > 0.9
    assert unseen[:, :20].mean() < 0.1


def test_an_area_at_a_fixed_place_is_learned_by_position():
    chance = np.random.default_rng(0)
    noise = [chance.integers(0, 255, (90, 120), np.uint8) for _ in range(5)]
    mask = drawn_area([square(0, 0, 120, 40)], 90, 120)
    model = fit_area([(picture, mask) for picture in noise])
    assert model.mode == "position"
    assert model.iou > 0.9


def test_strictness_shrinks_the_area(plates):
    mask = drawn_area([square(64, 0, 128, 96)], 96, 128)
    model = fit_area([(plates(n), mask) for n in range(4)])
    likelihood = model.likelihood(plates(9))
    shares = [model.allowed(likelihood, s).mean() for s in (0.0, 0.5, 1.0)]
    assert shares[0] >= shares[1] >= shares[2]


def test_one_canvas_is_learned_from_and_not_claimed_to_be_checked(plates):
    model = fit_area([(plates(1), drawn_area([square(64, 0, 128, 96)], 96, 128))])
    assert model.iou is None


@pytest.mark.parametrize("shape", [(50, 3000), (7, 5), (96, 128, 3)])
def test_any_shape_of_background_gets_an_area(shape, plates):
    model = fit_area([(plates(n), drawn_area([square(64, 0, 128, 96)], 96, 128)) for n in range(3)])
    picture = np.full(shape, 160, np.uint8)
    assert model.allowed(model.likelihood(picture), 0.5).ndim == 2
    assert ANYWHERE.allowed(ANYWHERE.likelihood(picture), 0.5).all()


def test_colour_canvases_predict_an_area_on_a_grey_background(plates):
    mask = drawn_area([square(64, 0, 128, 96)], 96, 128)
    model = fit_area([(plates(n, kind="colour"), mask) for n in range(3)])
    grey = model.allowed(model.likelihood(plates(9)), 0.5)
    assert grey[:, 70:].mean() > 0.9
    assert grey[:, :58].mean() < 0.1
