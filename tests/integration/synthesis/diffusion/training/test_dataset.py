"""The training dataset: the concept is in every crop, and an index gives the same crop on every machine."""

from __future__ import annotations

import numpy as np
import pytest

from datagen.errors import EngineError
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.diffusion.parameters import DiffusionParameters
from datagen.synthesis.diffusion.training.dataset import examples_of, make_lessons

OWN = DiffusionParameters(resolution=64)


@pytest.mark.parametrize("kind", ["grey", "colour", "deep"])
def test_every_lesson_shows_the_concept_under_its_mask(study, kind):
    spec, shelf = study(kind=kind)
    lessons = list(make_lessons(examples_of(spec, shelf, CompositeParameters()), shelf, OWN, seed=1))
    assert len(lessons) == 48
    for lesson in lessons:
        assert lesson.image.shape == (64, 64, 3)
        inside = lesson.image[lesson.concept > 0]
        around = lesson.image[lesson.concept == 0]
        # a dark disc on a bright plate, in tones of 30 and 160
        assert 0.02 < lesson.concept.mean() < 0.6
        assert inside.mean() < around.mean() - 0.1
        assert 0 < lesson.boxes.mean() < 1


def test_the_same_seed_gives_the_same_lessons_and_another_others(study):
    spec, shelf = study()
    examples = examples_of(spec, shelf, CompositeParameters())
    first, again, other = (list(make_lessons(examples, shelf, OWN, seed=seed)) for seed in (1, 1, 2))
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a.image, b.image) for a, b in zip(first, other, strict=True))


def test_labels_take_turns(study):
    spec, shelf = study(labels=("pit", "dent"))
    lessons = list(make_lessons(examples_of(spec, shelf, CompositeParameters()), shelf, OWN, seed=1))
    assert [lesson.label for lesson in lessons[:4]] == ["pit", "dent", "pit", "dent"]


def test_without_a_usable_box_there_is_nothing_to_teach(study):
    spec, shelf = study(labels=("pit",))
    with pytest.raises(EngineError, match=r"draw at least one box"):
        examples_of(type(spec)(**{**vars_of(spec), "labels": ("other",)}), shelf, CompositeParameters())


def vars_of(spec):
    return {name: getattr(spec, name) for name in ("engine", "labels", "concepts", "canvases", "backgrounds")}
