"""A line is detected by its length, on texture whose single pixels are as strong as its own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from datagen.evaluation.metrics import mask_iou
from datagen.synthesis.composite.extraction import line_segmentation
from datagen.synthesis.composite.extraction.line_segmentation import line_matte

SIDE = 80


def window(draw, *, streaks=10.0, noise=4.0, seed=0):
    """Tones with and without what ``draw`` puts on a mask, the mask, and the hole [SIDE, SIDE]; streaks are upright."""
    chance = np.random.default_rng(seed)
    clean = 130 + np.repeat(chance.normal(0, streaks, (1, SIDE)), SIDE, axis=0) + chance.normal(0, noise, (SIDE, SIDE))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    draw(mask)
    tones = np.where(mask > 0, clean - 30, clean)
    hole = np.zeros((SIDE, SIDE), bool)
    hole[15:65, 15:65] = True
    # a fill has the mean of each streak in the hole, and not its noise
    guess = np.where(hole, clean.mean(axis=0, keepdims=True), clean)
    return tones[:, :, None].astype(np.float32), guess[:, :, None].astype(np.float32), mask > 0, hole


def line(thickness):
    return lambda mask: cv2.line(mask, (20, 55), (60, 25), 1, thickness)


# a line of one pixel is found two pixels wide
@pytest.mark.parametrize(("thickness", "agreement"), [(1, 0.4), (2, 0.6), (3, 0.6)])
def test_a_line_across_the_grain_is_found_whole(thickness, agreement):
    tones, clean, mask, hole = window(line(thickness))
    matte = line_matte(tones, clean, hole)
    assert matte is not None
    assert mask_iou(matte, mask) > agreement


def test_the_strength_is_the_largest_response_of_all_bars():
    picture = np.random.default_rng(4).normal(120, 20, (45, 61)).astype(np.float32)
    responses = [
        cv2.filter2D(picture, cv2.CV_32F, bar, borderType=cv2.BORDER_REFLECT_101)
        for _, bar in line_segmentation._bars()
    ]
    assert np.allclose(line_segmentation._strength(picture, None), np.max(responses, axis=0), atol=1e-3)


def test_a_bright_line_is_found_as_well():
    tones, clean, mask, hole = window(line(2))
    matte = line_matte(255 - tones, 255 - clean, hole)
    assert matte is not None
    assert mask_iou(matte, mask) > 0.6


def test_a_streak_that_the_fill_missed_is_no_line():
    """It runs with the grain, as its neighbours outside the box do."""
    tones, clean, _, hole = window(lambda mask: None)
    tones = np.where(hole[:, :, None], clean, tones)
    tones[:, 40] -= 40
    assert line_matte(tones, np.where(hole[:, :, None], clean, tones), hole) is None


def test_a_disc_is_no_line():
    tones, clean, _, hole = window(lambda mask: cv2.circle(mask, (40, 40), 12, 1, -1))
    assert line_matte(tones, clean, hole) is None


def test_nothing_is_no_line():
    tones, _, _, hole = window(lambda mask: None)
    assert line_matte(tones, tones, hole) is None


def test_edges_of_the_part_outside_the_box_do_not_hide_a_faint_line():
    tones, clean, mask, hole = window(line(2))
    tones[:, :6], clean[:, :6] = 10, 10
    matte = line_matte(tones, clean, hole)
    assert matte is not None
    assert mask_iou(matte, mask) > 0.6
