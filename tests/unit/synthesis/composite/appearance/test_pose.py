"""Poses follow the concepts, and a pose transforms pixels as declared."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.synthesis.composite.appearance.pose import RIM_PX, Cutout, Pose, apply_pose, draw_pose, fade, learn_pose
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.exemplars import Exemplar


def bar(degrees, *, streaks=None, seed=0):
    """A bar of 30 × 6 pixels at an angle; ``streaks`` is the angle of the lines around it, or None for noise."""
    chance = np.random.default_rng(seed)
    mask = np.zeros((64, 64), np.uint8)
    turn = np.deg2rad(degrees)
    ends = [(round(32 + s * 15 * np.cos(turn)), round(32 + s * 15 * np.sin(turn))) for s in (-1, 1)]
    cv2.line(mask, *ends, 1, 5)
    clean = chance.normal(120, 8, (64, 64)).astype(np.float32)
    if streaks is not None:
        ys, xs = np.indices((64, 64))
        across = xs * np.sin(np.deg2rad(streaks)) - ys * np.cos(np.deg2rad(streaks))
        clean = (120 + 25 * np.sin(across * 1.3 + seed)).astype(np.float32)
    clean = clean[:, :, None]
    patch = np.where(mask[:, :, None] > 0, 20, clean).astype(np.float32)
    return Exemplar(
        key=f"k:{seed}",
        name="photo",
        label="x",
        box=Box(10, 10, 44, 44),
        frame=Frame(left=0, top=0, right=64, bottom=64),
        patch=patch,
        clean=clean,
        thing=patch,
        mask=mask > 0,
        opacity=np.ones((64, 64), np.float32),
        method="drawn",
        score=1.0,
    )


def test_things_that_share_a_direction_keep_it():
    prior = learn_pose([bar(20 + d, seed=n) for n, d in enumerate((-8, 0, 5, 9, -3))])
    assert prior.mode == "kept"
    assert prior.degrees < 20


def test_lines_around_the_thing_keep_its_direction():
    prior = learn_pose([bar(d, streaks=90, seed=n) for n, d in enumerate((0, 40, 80, 120, 160))])
    assert prior.mode == "kept"
    assert "surroundings" in prior.reason


def test_surroundings_at_right_angles_allow_quarter_turns():
    bars = [bar(d, streaks=d + 90, seed=n) for n, d in enumerate((0, 90, 0, 90, 0, 90))]
    assert learn_pose(bars).mode == "quarter turns"


def test_no_shared_direction_allows_any_turn():
    assert learn_pose([bar(d, seed=n) for n, d in enumerate((0, 35, 70, 105, 140, 175))]).mode == "any turn"


def test_spreads_of_0_leave_the_concept_as_photographed():
    prior = learn_pose([bar(20)])
    pose = draw_pose(
        prior, np.random.default_rng(0), size_at=0.9, size_factor=1.0, size_spread=0.0, direction_spread=0.0
    )
    assert pose == Pose(degrees=0.0, scale=1.0, mirrored=False)


def test_sizes_are_spread_evenly_about_their_own():
    prior = learn_pose([bar(20)])
    scales = [
        draw_pose(
            prior, np.random.default_rng(0), size_at=at, size_factor=2.0, size_spread=1.0, direction_spread=1.0
        ).scale
        for at in (0.1, 0.5, 0.9)
    ]
    assert scales[0] < scales[1] < scales[2]
    assert scales[1] == pytest.approx(2.0)


@pytest.mark.parametrize(("degrees", "mirrored"), [(0, False), (90, False), (180, True), (270, False), (0, True)])
def test_quarter_turns_and_mirrors_move_pixels_and_make_none(degrees, mirrored):
    exemplar = bar(20)
    posed = apply_pose(Cutout(exemplar), Pose(degrees=degrees, scale=1.0, mirrored=mirrored))
    assert posed.mask.sum() == exemplar.mask.sum()
    assert sorted(posed.patch[posed.mask].ravel()) == sorted(exemplar.patch[exemplar.mask].ravel())


def test_a_posed_mask_has_a_rim():
    posed = apply_pose(Cutout(bar(20)), Pose(degrees=33, scale=1.3, mirrored=False))
    inner = posed.mask[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX]
    assert posed.mask.sum() == inner.sum()
    assert inner[0].any()
    assert inner[-1].any()


def test_a_concept_shrunk_to_nothing_is_none():
    assert apply_pose(Cutout(bar(20)), Pose(degrees=0, scale=0.01, mirrored=False)) is None


def test_a_crisp_pose_makes_no_tones_between():
    exemplar = bar(20)
    exemplar = replace(exemplar, thing=np.where(exemplar.mask[:, :, None], 255, 0).astype(np.float32))
    posed = apply_pose(Cutout(exemplar), Pose(degrees=31, scale=1.2, mirrored=False), crisp=True)
    assert set(np.unique(posed.patch)) <= {0.0, 255.0}


def test_a_stretch_changes_proportions_and_keeps_the_area():
    disc = cv2.circle(np.zeros((64, 64), np.uint8), (32, 32), 14, 1, -1) > 0
    exemplar = replace(bar(0), mask=disc)
    still, wide = (
        apply_pose(Cutout(exemplar), Pose(degrees=0, scale=1.0, mirrored=False, stretch=s)).mask for s in (1.0, 1.3)
    )
    assert wide.sum() == pytest.approx(still.sum(), rel=0.03)
    assert wide.any(axis=0).sum() > 1.08 * still.any(axis=0).sum()
    assert wide.any(axis=1).sum() <= still.any(axis=1).sum()


def test_proportions_vary_by_as_much_as_those_seen():
    same = learn_pose([bar(20, seed=n) for n in range(6)])
    thick = [
        replace(e, mask=cv2.dilate(e.mask.astype(np.uint8), np.ones((1 + 4 * (n % 3),) * 2)) > 0)
        for n, e in enumerate(bar(20, seed=n) for n in range(6))
    ]
    assert same.stretch_log < learn_pose(thick).stretch_log <= 0.15


def test_the_fade_rises_from_the_edge_inwards():
    posed = apply_pose(Cutout(bar(0)), Pose(degrees=0, scale=1.0, mirrored=False))
    hard, soft = fade(posed, 0.0), fade(posed, 3.0)
    assert (hard[posed.mask] == 1).all()
    assert soft[posed.mask].min() < 0.5
    assert (soft[~posed.mask] == 0).all()
