"""Baselines put as many concepts into an image as photos show, and say where each is."""

from __future__ import annotations

import numpy as np
import pytest

from benches.baselines import METHODS, PASTING, several
from datagen.domain.geometry import Box
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.exemplars import Exemplar


def exemplar():
    patch = np.full((14, 14, 1), 30, np.float32)
    mask = np.zeros((14, 14), bool)
    mask[2:12, 2:12] = True
    clean = np.full_like(patch, 150)
    return Exemplar(
        key="photo:0",
        name="photo.png",
        label="hole",
        box=Box(2, 2, 10, 10),
        frame=Frame(left=0, top=0, right=14, bottom=14),
        patch=patch,
        clean=clean,
        thing=patch,
        mask=mask,
        opacity=mask.astype(np.float32),
        method="drawn",
        score=1.0,
    )


def backgrounds():
    return [np.random.default_rng(n).integers(140, 160, (200, 200)).astype(np.uint8) for n in range(3)]


@pytest.mark.parametrize("method", PASTING)
def test_numbers_of_concepts_are_those_of_the_photos(method):
    chance = np.random.default_rng(0)
    images = [several(method, [exemplar()], backgrounds(), (1, 4), chance) for _ in range(20)]
    assert {len(image.pasted) for image in images} == {1, 4}
    for image in images:
        assert {key for _, key in image.pasted} == {"photo:0"}
        for box, _ in image.pasted:
            inside = image.mask[int(box.y) : int(box.bottom), int(box.x) : int(box.right)]
            assert inside.any()
        assert image.mask.sum() <= sum(box.area for box, _ in image.pasted)


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(PASTING)))
def test_methods_without_a_concept_change_one_place(method):
    image = several(method, [], backgrounds(), (4,), np.random.default_rng(0))
    assert image.pasted == ()
    assert image.mask.any()
