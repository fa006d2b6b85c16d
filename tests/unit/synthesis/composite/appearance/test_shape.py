"""Shapes that were not photographed: variants of exemplars, used as far as left-out shapes support it."""

from __future__ import annotations

import math

import cv2
import numpy as np

from datagen.domain.geometry import Box
from datagen.synthesis.composite.appearance.shape import BENT, BETWEEN, PART, learn_shapes
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.exemplars import Exemplar

SIDE = 72


def exemplar(number, mask):
    tones = np.full((SIDE, SIDE, 1), 150, np.float32)
    thing = tones.copy()
    thing[mask] = 60
    return Exemplar(
        key=f"{number:012x}:0",
        name=f"photo {number}",
        label="spot",
        box=Box(20, 20, 30, 30),
        frame=Frame(left=0, top=0, right=SIDE, bottom=SIDE),
        patch=thing,
        clean=tones,
        thing=thing,
        mask=mask,
        opacity=np.ones((SIDE, SIDE), np.float32),
        method="drawn",
        score=1.0,
    )


def outline(radii):
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    points = np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1) + SIDE / 2
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.fillPoly(mask, [np.round(points * 16).astype(np.int32)], 1, shift=4)
    return mask > 0


def discs(count):
    return [exemplar(n, outline(np.full(60, 12.0))) for n in range(count)]


def blobs(count):
    """Outlines with waves of their own: no two are alike, and all are of one kind."""
    chance = np.random.default_rng(5)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    examples = []
    for number in range(count):
        waves = sum(chance.normal(0, 0.16) * np.cos(k * angles + chance.uniform(0, 6)) for k in (2, 3, 4))
        examples.append(exemplar(number, outline(12 * np.exp(waves))))
    return examples


def test_shapes_of_which_no_two_are_alike_get_variants():
    model = learn_shapes(blobs(10))
    assert 0 < sum(model.shares.values()) <= 0.6
    assert model.scores[1] < model.scores[0]
    assert set(model.variants) == {f"{n:012x}:0" for n in range(10)}


def test_shapes_that_are_all_alike_get_no_bends():
    """A bent disc is like none of the discs: held-out evidence is against it."""
    model = learn_shapes(discs(8))
    assert model.shares.get(BENT, 0) == 0


def test_fewer_than_four_examples_are_no_evidence_and_get_no_variants():
    model = learn_shapes(blobs(3))
    assert model.variants == {}
    assert math.isnan(model.scores[0])


def test_a_variant_is_another_shape_of_about_the_same_size_in_the_same_surroundings():
    examples = blobs(10)
    variants = learn_shapes(examples).variants
    pairs = [
        (source, variant.cut_out(crisp=False))
        for source in examples
        for of_kind in variants[source.key].values()
        for variant in of_kind
    ]
    assert len(pairs) >= 20
    for source, variant in pairs:
        assert not np.array_equal(variant.mask, source.mask)
        assert 0.6 < variant.mask.sum() / source.mask.sum() < 1.7
        rim = np.ones(source.mask.shape, bool)
        rim[4:-4, 4:-4] = False
        assert np.array_equal(variant.patch[rim], source.patch[rim])


def test_the_tones_move_with_the_mask():
    examples = blobs(10)
    for kinds in learn_shapes(examples).variants.values():
        for variant in (variant_source.cut_out(crisp=True) for of_kind in kinds.values() for variant_source in of_kind):
            assert set(np.unique(variant.patch)) <= {60, 150}
            agreement = ((variant.patch[:, :, 0] < 100) == variant.mask).mean()
            assert agreement > 0.99


def test_the_same_exemplars_give_the_same_variants():
    first, again = (learn_shapes(blobs(8)) for _ in range(2))
    assert first.shares == again.shares
    for key, kinds in first.variants.items():
        for kind, variants in kinds.items():
            for variant, other in zip(variants, again.variants[key][kind], strict=True):
                assert np.array_equal(variant.mask, other.mask)


def test_lines_have_no_shape_between_them():
    masks = []
    for n in range(6):
        mask = np.zeros((SIDE, SIDE), np.uint8)
        cv2.polylines(mask, [np.array([[14, 20 + n], [36, 44 - 3 * n], [58, 24 + 2 * n]], np.int32)], False, 1, 2)
        masks.append(mask > 0)
    model = learn_shapes([exemplar(n, mask) for n, mask in enumerate(masks)])
    assert all(BETWEEN not in kinds for kinds in model.variants.values())


def root(number):
    """A trunk of the same length as every other, with one to three branches on either side."""
    chance = np.random.default_rng(number)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(mask, (36, 64), (36, 8), 1, 3)
    for height in chance.choice(np.arange(14, 58, 8), int(chance.integers(1, 4)), replace=False).tolist():
        side = int(chance.choice([-1, 1]))
        cv2.line(mask, (36, height), (36 + side * int(chance.integers(16, 28)), height - 8), 1, 3)
    return exemplar(number, mask > 0)


def test_roots_with_fewer_branches_than_photographed_are_parts():
    model = learn_shapes([root(number) for number in range(14)])
    assert model.shares[PART] > 0
    assert model.scores[1] < model.scores[0]
    for key, kinds in model.variants.items():
        whole = root(int(key.partition(":")[0], 16))
        for variant in kinds.get(PART, ()):
            part = variant.cut_out(crisp=False)
            assert (part.mask <= whole.mask).all()
            assert part.mask.sum() < whole.mask.sum()
            assert np.array_equal(part.patch, whole.patch)


def test_few_branching_examples_of_many_get_no_parts():
    """A ragged matte has parts, too."""
    model = learn_shapes([*blobs(6), *(root(number) for number in range(6, 10))])
    assert model.shares[PART] == 0


def test_shapes_without_branches_get_no_parts():
    model = learn_shapes(blobs(10))
    assert model.shares[PART] == 0
    assert all(PART not in kinds for kinds in model.variants.values())
