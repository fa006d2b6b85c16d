"""Views and crops of the judges: large concepts fit, narrow photos are mirrored with their masks."""

from __future__ import annotations

import numpy as np
import pytest

from benches.crops import Crops, Labelled, Source, View, fitting_view, resized

SMALL = {"crop_px": (80, 128), "usual_px": 0.0, "max_scale": 1.0}
ENLARGING = {"crop_px": (160, 160), "usual_px": 32.0, "max_scale": 2.0}


@pytest.mark.parametrize(
    ("sizes", "how", "expected"),
    [
        ([12, 15, 20], SMALL, View(1.0, 80)),
        ([40, 60, 79], SMALL, View(1.0, 112)),
        ([30, 60, 250], SMALL, View(128 / 312.5, 128)),
        ([12, 14, 20], ENLARGING, View(2.0, 160)),
        ([20, 24, 30], ENLARGING, View(32 / 24, 160)),
        ([40, 40, 60], ENLARGING, View(1.0, 160)),
        ([12, 14, 110], ENLARGING, View(160 / 137.5, 160)),
        ([57, 134, 250], ENLARGING, View(160 / 312.5, 160)),
    ],
)
def test_a_crop_contains_the_largest_concept(sizes, how, expected):
    view = fitting_view(sizes, **how)
    assert view == expected
    assert max(sizes) * view.scale < view.crop_px


def test_masks_fit_the_resized_photo():
    mask = np.zeros((100, 160), bool)
    mask[40:60, 80:120] = True
    image = np.where(mask, 200, 50).astype(np.uint8)
    crops = Crops([Source([Labelled(image, mask)], 1.0)], View(0.5, 32), np.random.default_rng(0))
    tones, masks = crops.draw(16)
    assert tones.shape == (16, 32, 32, 3)
    assert masks.shape == (16, 32, 32)
    bright = tones.mean(axis=3) > 125
    assert (bright == (masks > 0.5)).mean() > 0.97
    assert all(mask.any() for mask in masks[::2])


def test_a_narrow_photo_is_mirrored_with_its_mask():
    """A photo of 20 pixels fills crops of 64, and what the mirror shows is labelled as the concept too."""
    mask = np.zeros((20, 200), bool)
    mask[:12, 90:110] = True
    image = np.where(mask, 220, 40).astype(np.uint8)
    crops = Crops([Source([Labelled(image, mask)], 1.0)], View(1.0, 64), np.random.default_rng(1))
    tones, masks = crops.draw(20)
    bright = tones.mean(axis=3) > 130
    assert (bright == (masks > 0.5)).mean() > 0.98


def test_a_thin_concept_survives_a_smaller_scale():
    mask = np.zeros((200, 200), bool)
    mask[100, 20:180] = True
    source = Source([Labelled(np.zeros((200, 200), np.uint8), mask)], 1.0)
    crops = Crops([source], View(0.25, 32), np.random.default_rng(0))
    _, masks = crops.draw(8)
    assert all(mask.any() for mask in masks[::2])


def test_shares_of_the_sources_are_kept():
    plain = Labelled(np.full((64, 64), 20, np.uint8), np.zeros((64, 64), bool))
    full = Labelled(np.full((64, 64), 230, np.uint8), np.ones((64, 64), bool))
    crops = Crops([Source([plain], 0.25), Source([full], 0.75)], View(1.0, 16), np.random.default_rng(0))
    _, masks = crops.draw(800)
    assert masks[:, 8, 8].mean() == pytest.approx(0.75, abs=0.05)


def test_the_same_seed_draws_the_same_crops():
    mask = np.eye(64, dtype=bool)
    source = [Source([Labelled(np.where(mask, 255, 0).astype(np.uint8), mask)], 1.0)]
    first, second = (Crops(source, View(1.0, 32), np.random.default_rng(7)).draw(4) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_resizing_by_one_changes_nothing():
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    assert resized(image, 1.0) is image
    assert resized(np.zeros((30, 40, 3), np.uint8), 0.5).shape == (15, 20, 3)
