"""Every figure on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.domain.geometry import Box
from datagen.evaluation import metrics


def score(likelihood, truth):
    pixels = metrics.PixelScore()
    pixels.add(np.array([likelihood]), np.array([truth], bool))
    return pixels.average_precision()


@pytest.mark.parametrize(
    ("likelihood", "truth", "expected"),
    [
        ([0.9, 0.8, 0.2, 0.1], [1, 1, 0, 0], 1.0),
        ([0.1, 0.2, 0.8, 0.9], [1, 0, 0, 0], 0.25),
        ([0.9, 0.8, 0.7, 0.1], [1, 0, 1, 0], (1 + 2 / 3) / 2),
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 1, 0], 0.5),
        ([0.5, 0.4], [0, 0], 0.0),
    ],
)
def test_pixel_average_precision(likelihood, truth, expected):
    assert score(likelihood, truth) == pytest.approx(expected)


def test_a_true_box_is_hit_once_and_the_second_call_is_false():
    boxes = metrics.BoxScore()
    truth = Box(0, 0, 10, 10)
    boxes.add([(truth, 0.9), (Box(1, 0, 10, 10), 0.8)], [truth, Box(50, 50, 5, 5)])
    assert boxes.average_precision() == pytest.approx(0.5)


def test_a_box_half_off_is_no_hit():
    boxes = metrics.BoxScore()
    boxes.add([(Box(5, 0, 10, 10), 0.9)], [Box(0, 0, 10, 10)])
    assert boxes.average_precision() == 0


def test_found_boxes_are_the_parts_above_the_threshold():
    likelihood = np.zeros((20, 30))
    likelihood[2:6, 3:9] = 0.7
    likelihood[12:15, 20:25] = 0.9
    likelihood[18, 1] = 0.9  # a speck
    boxes = metrics.found_boxes(likelihood)
    assert sorted((box.x, box.y, box.width, box.height, score) for box, score in boxes) == [
        (3, 2, 6, 4, 0.7),
        (20, 12, 5, 3, 0.9),
    ]


def test_classifier_separates_samples_of_two_kinds_and_not_of_one():
    chance = np.random.default_rng(0)
    a, b, c = (chance.normal(size=(120, 10)).astype(np.float32) for _ in range(3))
    groups = [str(n) for n in range(120)]
    assert metrics.c2st_auroc(a, b, groups, groups) == pytest.approx(0.5, abs=0.12)
    assert metrics.c2st_auroc(a, c + 1.5, groups, groups) > 0.95


def test_features_of_a_group_do_not_help_the_classifier():
    """Ten photos with ten crops each: knowing the photo must not count as knowing real from made."""
    chance = np.random.default_rng(1)
    photos = chance.normal(size=(20, 30)) * 3
    rows = np.repeat(photos, 10, axis=0).astype(np.float32) + chance.normal(size=(200, 30)).astype(np.float32) * 0.1
    names = [str(n // 10) for n in range(200)]
    assert metrics.c2st_auroc(rows[:100], rows[100:], names[:100], names[100:]) < 0.75


def test_one_part_photographed_again_is_one_thing_and_two_round_holes_are_two():
    """A brighter, noisier and shifted photo of a part has the same grain as the first photo."""
    chance = np.random.default_rng(3)

    def part():
        tones = chance.normal(150, 12, (80, 80, 1))
        ys, xs = np.indices((80, 80))
        tones[np.hypot(ys - 40, xs - 40) < 9] -= 80
        return tones.astype(np.float32)

    def shown(tones, y=16, x=16, gain=1.0):
        return (gain * tones + chance.normal(0, 2, tones.shape))[y : y + 48, x : x + 48].astype(np.float32)

    photographed, other = part(), part()
    crops = [shown(photographed), shown(other), shown(photographed, 18, 13, 0.6), shown(other, gain=1.4)]
    first, second, again, last = metrics.object_groups(crops)
    assert first == again
    assert second == last
    assert first != second
    assert metrics.object_groups([]) == []


def test_photos_of_few_parts_do_not_give_a_false_separation():
    """Samples drawn from the very same parts' distribution: grouped by part they cannot be told from real ones."""
    chance = np.random.default_rng(2)
    parts = chance.normal(size=(24, 40)) * 3
    rows = np.repeat(parts, 8, axis=0).astype(np.float32) + chance.normal(size=(192, 40)).astype(np.float32) * 0.1
    names = [str(n // 8) for n in range(192)]
    synthetic = chance.permutation(24)[:8]
    is_made = np.isin(np.arange(192) // 8, synthetic)
    groups = np.array(names)
    by_part = metrics.c2st_auroc(rows[~is_made], rows[is_made], list(groups[~is_made]), list(groups[is_made]))
    by_photo = metrics.c2st_auroc(
        rows[~is_made], rows[is_made], [str(n) for n in range(128)], [f"made {g}" for g in groups[is_made]]
    )
    assert by_part < 0.65
    assert by_photo > by_part + 0.1


def test_coverage_falls_when_half_of_the_real_kinds_are_missing():
    chance = np.random.default_rng(0)
    first, other = chance.normal(0, 1, (100, 5)), chance.normal(20, 1, (100, 5))
    real = np.concatenate([first, other]).astype(np.float32)
    both = np.concatenate([chance.normal(0, 1, (100, 5)), chance.normal(20, 1, (100, 5))]).astype(np.float32)
    assert metrics.coverage(real, both) > 0.9
    assert metrics.coverage(real, chance.normal(0, 1, (200, 5)).astype(np.float32)) == pytest.approx(0.5, abs=0.1)


def test_a_copy_has_no_distance():
    real = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    assert metrics.nearest_distance(real, real) == pytest.approx(0, abs=1e-3)
    assert metrics.nearest_distance(real, real + 5) > 0.5


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3)])
@pytest.mark.parametrize("box", [Box(0, 0, 6, 6), Box(44, 34, 6, 6), Box(20, 20, 6, 6)])
def test_a_crop_at_the_border_is_mirrored_to_its_size(shape, box):
    picture = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    crop = metrics.crop_round(picture, box, 30)
    assert crop.shape[:2] == (48, 48)
    assert np.isfinite(metrics.features(crop)).all()


def test_deep_pictures_give_the_same_features_as_shallow_ones():
    picture = np.random.default_rng(0).integers(0, 255, (60, 60), np.uint8)
    box = Box(20, 20, 10, 10)
    shallow = metrics.features(metrics.crop_round(picture, box, 30))
    other = metrics.features(metrics.crop_round(picture.astype(np.uint16) * 257, box, 30))
    assert shallow == pytest.approx(other, rel=1e-3)
