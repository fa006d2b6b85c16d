"""Tones that occur in the box and hardly outside it are the concept's."""

from __future__ import annotations

import cv2
import numpy as np

from datagen.domain.geometry import Box
from datagen.domain.inputs import ConceptImage, ConceptRegion, ImageRef
from datagen.evaluation.metrics import mask_iou
from datagen.synthesis.composite.extraction.colour_segmentation import concept_probability
from datagen.synthesis.composite.extraction.exemplars import cut_out

SIDE = 140


def soil(seed):
    """Grey soil with bright and dark stones, tones [SIDE, SIDE, 3]."""
    chance = np.random.default_rng(seed)
    tones = (
        100 + chance.normal(0, 8, (SIDE, SIDE, 1)) + np.array([4.0, 0.0, -6.0]) + chance.normal(0, 2, (SIDE, SIDE, 3))
    )
    for _ in range(60):
        centre = tuple(int(v) for v in chance.integers(0, SIDE, 2))
        grey = float(chance.uniform(60, 190))
        cv2.circle(tones, centre, int(chance.integers(2, 6)), (grey, grey - 2, grey - 6), -1)
    return tones


def plant(centre):
    """The mask of four leaves on stalks."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for x, y in ((-22, -14), (20, -18), (24, 16), (-18, 20)):
        leaf = (centre[0] + x, centre[1] + y)
        cv2.line(mask, centre, leaf, 1, 3)
        cv2.circle(mask, leaf, 7, 1, -1)
    return mask > 0


def photo(seed, *masks):
    tones = soil(seed)
    for mask in masks:
        tones[mask] = np.array([60.0, 140.0, 50.0]) + np.random.default_rng(seed).normal(0, 6, (int(mask.sum()), 3))
    return np.clip(tones, 0, 255).astype(np.uint8)


def box_round(mask, margin=3):
    ys, xs = np.nonzero(mask)
    return Box(xs.min() - margin, ys.min() - margin, np.ptp(xs) + 1 + 2 * margin, np.ptp(ys) + 1 + 2 * margin)


def cut(picture, *boxes):
    ref = ImageRef(digest="d" * 64, width=SIDE, height=SIDE, name="photo")
    regions = tuple(ConceptRegion(label="x", box=box) for box in boxes)
    return cut_out(ConceptImage(image=ref, regions=regions), picture, {})[0]


def test_stones_that_occur_outside_as_well_have_a_low_probability():
    mask = plant((70, 70))
    tones = photo(0, mask).astype(np.float32)
    inside = np.zeros((SIDE, SIDE), bool)
    inside[44:100, 40:104] = True
    probability = concept_probability(tones, np.full_like(tones, 100), inside, ~inside)
    assert probability[mask].mean() > 0.85
    assert probability[inside & ~cv2.dilate(mask.astype(np.uint8), np.ones((7, 7))).astype(bool)].mean() < 0.25


def test_a_box_of_few_pixels_has_no_probabilities():
    tones = np.zeros((30, 30, 1), np.float32)
    inside = np.zeros((30, 30), bool)
    inside[10:15, 10:15] = True
    assert concept_probability(tones, tones, inside, ~inside) is None


def test_a_plant_keeps_the_gaps_between_its_leaves():
    agreements = []
    for seed in range(4):
        mask = plant((70, 70))
        (exemplar,) = cut(photo(seed, mask), box_round(mask))
        agreements.append(mask_iou(exemplar.mask, mask[exemplar.frame.slices]))
    assert min(agreements) > 0.75


def test_leaves_that_reach_into_a_box_from_another_plant_are_not_cut_out_with_it():
    first, other = plant((50, 46)), plant((84, 90))
    assert not (first & other).any()
    for seed in range(3):
        for exemplar, mask in zip(
            cut(photo(seed, first, other), box_round(first), box_round(other)), (first, other), strict=True
        ):
            assert mask_iou(exemplar.mask, mask[exemplar.frame.slices]) > 0.7
