"""A balanced subset: no class has more objects than the rarest one, and what is left out is said."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from datagen.domain.geometry import Box, Polygon
from datagen.domain.sample import Instance, Sample
from datagen.errors import InputProblem
from datagen.export.balance import Dimension, balanced, dimensions, size_class

LABEL, SIZE, PLACE = Dimension


@pytest.fixture
def samples_of(sample: Sample) -> Callable[..., list[Sample]]:
    """A function that makes samples of 300 by 300 pixels; an instance is a label, a side and its left edge."""

    def instance(label: str, side: int, left: int) -> Instance:
        corners = ((left, 0), (left + side, 0), (left + side, side), (left, side))
        return Instance(label=label, box=Box(left, 0, side, side), outlines=(Polygon(corners),))

    def create(images: Sequence[Sequence[tuple[str, int, int]]]) -> list[Sample]:
        return [
            replace(
                sample,
                image=replace(sample.image, width=300, height=300),
                instances=tuple(instance(*values) for values in instances),
                provenance=replace(
                    sample.provenance,
                    index=index,
                    seed=int.from_bytes(hashlib.sha256(str(index).encode()).digest()[:8], "big"),
                ),
            )
            for index, instances in enumerate(images)
        ]

    return create


def labels_of(samples: Sequence[Sample]) -> Counter[str]:
    return Counter(instance.label for sample in samples for instance in sample.instances)


def test_no_label_has_more_objects_than_the_rarest(samples_of: Callable[..., list[Sample]]) -> None:
    samples = samples_of([[("scratch", 10, 0)]] * 30 + [[("dent", 10, 0)]] * 7 + [[]] * 2)
    balance = balanced(samples, (LABEL,))
    kept = [sample for sample in samples if balance.has(sample)]
    assert labels_of(kept) == {"scratch": 7, "dent": 7}
    assert sum(not sample.instances for sample in kept) == 2
    assert balance.note() == "balanced: 23 images of 39 are left out; objects: dent 7 of 7, scratch 7 of 30"


def test_classes_are_combinations_of_label_size_and_place(samples_of: Callable[..., list[Sample]]) -> None:
    kinds = [("scratch", 10, 0), ("scratch", 50, 0), ("dent", 10, 0), ("dent", 10, 280)]
    samples = samples_of([[kind] for number, kind in enumerate(kinds, start=3) for _ in range(2 * number)])
    balance = balanced(samples, (LABEL, SIZE, PLACE))
    assert balance.counts == {
        "scratch small top-left": (6, 6),
        "scratch medium top-left": (8, 6),
        "dent small top-left": (10, 6),
        "dent small top-right": (12, 6),
    }


def test_images_with_several_objects_stay_whole(samples_of: Callable[..., list[Sample]]) -> None:
    both = [("scratch", 10, 0), ("dent", 10, 100)]
    samples = samples_of([both] * 5 + [[("scratch", 10, 0)] * 3] * 10 + [[("dent", 10, 0)]] * 2)
    balance = balanced(samples, (LABEL,))
    kept = labels_of([sample for sample in samples if balance.has(sample)])
    assert max(kept.values()) <= 7
    assert kept["dent"] == 7


def test_order_of_the_samples_does_not_matter(samples_of: Callable[..., list[Sample]]) -> None:
    samples = samples_of([[("scratch", 10, 0)]] * 30 + [[("dent", 10, 0)]] * 7)
    assert balanced(samples, (LABEL,)).indices == balanced(samples[::-1], (LABEL,)).indices
    chosen = sorted(balanced(samples, (LABEL,)).indices["5bec" * 16])
    assert chosen[:7] != list(range(7)), "the first images of a run are like each other"


@pytest.mark.parametrize(("side", "expected"), [(31, "small"), (32, "medium"), (95, "medium"), (96, "large")])
def test_sizes_are_those_of_coco(side: int, expected: str) -> None:
    assert size_class(Box(0, 0, side, 1)) == expected


def test_dimensions_are_read_in_one_order() -> None:
    assert dimensions("size, label") == dimensions("label,size") == (LABEL, SIZE)


@pytest.mark.parametrize("words", ["", "colour", "label,label", "label;size"])
def test_unknown_dimension_is_refused(words: str) -> None:
    with pytest.raises(InputProblem, match="cannot be balanced; give one or more of label, size, place, each once"):
        dimensions(words)
