"""The appearance model is recovered from concepts made by a known model, and rejected where the data cannot decide."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.synthesis.composite.appearance.appearance_model import fit_appearance_model
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.exemplars import Exemplar


def exemplars(tone_of, surroundings, noise=2.0):
    """Discs whose tone is ``tone_of(surroundings)``."""
    created = []
    for number, around in enumerate(surroundings):
        chance = np.random.default_rng(number)
        clean = around + chance.normal(0, noise, (48, 48, 1))
        mask = np.zeros((48, 48), np.uint8)
        cv2.circle(mask, (24, 24), 9, 1, -1)
        patch = clean.copy()
        patch[mask > 0] += tone_of(around) - around
        created.append(
            Exemplar(
                key=f"k:{number}",
                name=f"photo {number}",
                label="x",
                box=Box(13, 13, 22, 22),
                frame=Frame(left=0, top=0, right=48, bottom=48),
                patch=np.clip(patch, 0, 255).astype(np.float32),
                clean=clean.astype(np.float32),
                thing=np.clip(patch, 0, 255).astype(np.float32),
                mask=mask > 0,
                opacity=np.ones((48, 48), np.float32),
                method="drawn",
                score=1.0,
            )
        )
    return created


VARIED = (60, 90, 120, 150, 180, 210)


def test_an_absolute_tone_has_slope_0_and_is_not_blended_by_adding():
    law = fit_appearance_model(exemplars(lambda _s: 30, VARIED))
    assert law.kind == "absolute"
    assert law.slope == pytest.approx(0, abs=0.1)
    assert law.weights.get("residual", 0) + law.weights.get("gradient", 0) < 0.1


def test_an_added_tone_has_slope_1_and_is_not_pasted():
    law = fit_appearance_model(exemplars(lambda s: s - 40, VARIED))
    assert law.kind == "additive"
    assert law.slope == pytest.approx(1, abs=0.1)
    assert law.weights.get("hard", 0) + law.weights.get("soft", 0) < 0.1


def test_a_shade_is_best_laid_as_a_factor():
    law = fit_appearance_model(exemplars(lambda s: 0.5 * s, VARIED))
    assert law.scores["ratio"] < min(law.scores["soft"], law.scores["residual"])


def test_surroundings_that_are_all_alike_leave_the_law_in_doubt():
    alike = fit_appearance_model(exemplars(lambda _s: 30, (120, 120, 120, 120, 120)))
    varied = fit_appearance_model(exemplars(lambda _s: 30, VARIED))
    assert alike.doubt > 5 * varied.doubt


@pytest.mark.parametrize("count", [1, 2])
def test_one_or_two_examples_are_enough_to_go_on(count):
    law = fit_appearance_model(exemplars(lambda _s: 30, VARIED[:count]))
    assert law.doubt >= 0.3 or count > 1
    assert sum(law.weights.values()) == pytest.approx(1)


def test_a_two_level_picture_gets_no_greys():
    varied = exemplars(lambda _s: 0, VARIED)
    for exemplar in varied:
        exemplar.clean[:] = 0
        exemplar.clean[:, 24:] = 255
        exemplar.patch[:] = exemplar.clean
        exemplar.patch[exemplar.mask] = 255
    law = fit_appearance_model(varied)
    assert law.kind == "two-level"
    assert set(law.weights) <= {"hard", "two-level"}


def test_grey_and_colour_photos_of_one_label_are_compared_in_grey():
    """Their features had different lengths, and the fit crashed."""
    mixed = exemplars(lambda _s: 30, VARIED)
    colour = [
        replace(e, **{name: np.repeat(getattr(e, name), 3, axis=2) for name in ("patch", "clean", "thing")})
        for e in mixed[::2]
    ]
    assert fit_appearance_model([*colour, *mixed[1::2]]).kind == "absolute"
