"""The measurements of an instance in its picture."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.synthesis.crop_features import CROP_FEATURES, crop_features

#: Round the disc of ``plate``, with a margin.
BOX = Box(60, 20, 40, 40)
NAMES = {kind.name for kind in CROP_FEATURES}


def plate(*, tone=90, soft=0.0, grain=4.0, depth=np.uint8):
    """A grainy grey picture with one disc of that tone, and its mask."""
    ys, xs = np.mgrid[:96, :128]
    distance = np.hypot(ys - 40, xs - 80)
    share = np.clip((12 - distance) / max(soft, 1e-6) + 0.5, 0, 1)
    picture = 130 + np.random.default_rng(0).normal(0, grain, (96, 128))
    picture = picture + share * (tone - 130)
    scale = 257 if depth == np.uint16 else 1
    return (np.clip(picture, 0, 255) * scale).astype(depth), (distance < 12 + soft / 2).astype(np.uint8)


def measured(**how):
    (figures,) = crop_features(*plate(**how), [BOX])
    return figures


def test_every_measurement_is_finite_and_declared():
    assert measured().keys() == NAMES
    assert all(np.isfinite(value) for value in measured().values())


def test_measurements_follow_what_is_seen():
    assert measured(tone=60)["seen_contrast"] > measured(tone=110)["seen_contrast"]
    assert measured(soft=8.0)["seen_seam"] < measured()["seen_seam"]
    assert measured(tone=60)["seen_difference"] < 0 < measured(tone=200)["seen_difference"]
    assert measured()["x"] == pytest.approx(80 / 128, abs=0.01)


def test_depth_of_the_picture_does_not_change_them():
    assert measured(depth=np.uint16) == pytest.approx(measured(), rel=0.05, abs=0.6)


def test_instance_that_fills_the_picture_has_no_ring():
    (figures,) = crop_features(np.full((20, 20), 90, np.uint8), np.ones((20, 20), np.uint8), [Box(0, 0, 20, 20)])
    assert figures.keys() == {"seen_size", "x", "y"}


def test_hidden_instance_is_kept_so_that_the_others_keep_their_places():
    picture, mask = plate()
    nothing, disc = crop_features(picture, mask * 2, [Box(0, 0, 5, 5), BOX])
    assert nothing == {}
    assert disc == measured()
