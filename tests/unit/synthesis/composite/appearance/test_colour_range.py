"""Colours after blending: those photographed, those of the background, and none beyond."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.synthesis.composite.appearance.colour_range import colour, in_range, learn_colour_range, recoloured
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.exemplars import Exemplar

BROWN, BRIGHT_LEAF, DARK_LEAF = (90, 60, 40), (150, 190, 60), (60, 80, 50)
MASK = np.zeros((20, 20), bool)
MASK[6:14, 6:14] = True


def window(tones):
    return np.full((20, 20, len(tones)), tones, np.float32)


def exemplar(tones, around=BRIGHT_LEAF):
    patch = window(around)
    patch[MASK] = tones
    return Exemplar(
        key="0:0",
        name="leaf",
        label="spot",
        box=Box(6, 6, 8, 8),
        frame=Frame(left=0, top=0, right=20, bottom=20),
        patch=patch,
        clean=window(around),
        thing=patch,
        mask=MASK,
        opacity=np.ones((20, 20), np.float32),
        method="drawn",
        score=1.0,
    )


@pytest.fixture
def browns():
    seen = learn_colour_range([exemplar(BROWN), exemplar((110, 80, 50)), exemplar((70, 45, 30))])
    assert seen is not None
    return seen


def test_brown_less_the_green_of_a_bright_leaf_on_a_dark_leaf_is_beyond(browns):
    """The difference (-60, -130, -20) makes (60, 80, 50) blue: (0, 0, 30)."""
    added = np.clip(window(DARK_LEAF) + window(BROWN) - window(BRIGHT_LEAF), 0, 255)
    assert not in_range(added, window(DARK_LEAF), MASK, browns)


@pytest.mark.parametrize("tones", [BROWN, (45, 30, 20), (75, 70, 45), DARK_LEAF])
def test_browns_the_background_and_mixtures_of_both_are_within(browns, tones):
    assert in_range(window(tones), window(DARK_LEAF), MASK, browns)


def test_the_colour_of_a_new_background_is_within(browns):
    steel = (90, 100, 130)
    assert in_range(window((50, 58, 80)), window(steel), MASK, browns)


def test_a_grey_photo_gives_no_range():
    assert learn_colour_range([exemplar((40, 40, 40), around=(120, 120, 120))]) is None
    assert learn_colour_range([exemplar((40,), around=(120,))]) is None


def test_recolouring_keeps_the_lightness_and_takes_the_colour_of_the_concept():
    blue = window((10, 12, 50))
    fade = np.ones((20, 20, 1), np.float32)
    result = recoloured(blue, window(BROWN), fade)
    assert result.mean() == pytest.approx(blue.mean(), rel=0.05)
    assert colour(result)[0, 0].argmax() == 0
    assert np.array_equal(recoloured(blue, window(BROWN), 0 * fade), blue)
