"""Splits share no background and no concept, or a sentence says that it is impossible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from datagen.domain.sample import RealPhoto, Sample
from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.errors import InputProblem
from datagen.export.splitting import Apart, shares_of, split


@pytest.fixture
def samples_of(shelf: Any) -> Callable[..., list[Sample]]:
    """A function that makes samples of (background, concepts)."""
    mask = np.pad(np.ones((4, 4), np.uint8), 8)
    sample = shelf.sample(mask, ("dent",))

    def create(pairs: Sequence[tuple[str, Sequence[str]]]) -> list[Sample]:
        samples = []
        for index, (background, concepts) in enumerate(pairs):
            trace = Trace(instances=tuple(InstanceTrace(concept=ConceptChoice(key=c, name=c)) for c in concepts))
            origin = sample.provenance
            origin = replace(origin, index=index, background=replace(origin.background, digest=background), trace=trace)
            samples.append(replace(sample, provenance=origin))
        return samples

    return create


def used(samples: Sequence[Sample], of: Callable[[Sample], str]) -> dict[str, tuple[set[str], set[str]]]:
    used_in: dict[str, tuple[set[str], set[str]]] = {}
    for sample in samples:
        backgrounds, concepts = used_in.setdefault(of(sample), (set(), set()))
        backgrounds.add(sample.provenance.background.digest)
        concepts |= {i.concept.key for i in sample.provenance.trace.instances if i.concept is not None}
    return used_in


@pytest.mark.parametrize("seed", range(5))
def test_no_background_and_no_concept_is_in_two_splits(samples_of: Callable[..., list[Sample]], seed: int) -> None:
    chance = np.random.default_rng(seed)
    pairs = []
    for _ in range(300):
        family = int(chance.integers(12))
        concepts = [f"c{family}-{chance.integers(3)}" for _ in range(chance.integers(0, 3))]
        pairs.append((f"b{family}-{chance.integers(5)}", concepts))
    samples = samples_of(pairs)
    assignment = split(samples, shares_of("70,15,15"))
    for (_, first), (_, second) in combinations(used(samples, assignment.of).items(), 2):
        assert not first[0] & second[0]
        assert not first[1] & second[1]
    assert sum(assignment.counts.values()) == 300
    assert assignment.counts["train"] == pytest.approx(210, abs=40)
    assert {name: sum(assignment.of(s) == name for s in samples) for name in assignment.counts} == dict(
        assignment.counts
    )
    again = split(samples[::-1], shares_of("70,15,15"))
    assert [again.of(sample) for sample in samples] == [assignment.of(sample) for sample in samples]


def test_set_of_one_group_is_refused_with_the_way_out(samples_of: Callable[..., list[Sample]]) -> None:
    samples = samples_of([(f"b{i % 5}", ["c"]) for i in range(20)])
    with pytest.raises(InputProblem, match=r"common backgrounds and concepts: its images form 1 group .*--apart"):
        split(samples, shares_of("80,20"))
    assignment = split(samples, shares_of("80,20"), Apart.BACKGROUND)
    assert dict(assignment.counts) == {"train": 16, "val": 4}
    with pytest.raises(InputProblem, match=r"without common concepts: .* do not split"):
        split(samples, shares_of("80,20"), Apart.CONCEPT)


def test_every_split_gets_a_group(samples_of: Callable[..., list[Sample]]) -> None:
    samples = samples_of([("b0", [])] * 1 + [("b1", [])] * 1 + [(f"b{2}", [])] * 98)
    assert min(split(samples, shares_of("98,1,1")).counts.values()) == 1


@pytest.mark.parametrize("wrong", ["", "80", "80,30", "50,50,0", "100,-0", "a,b", "25,25,25,25", "nan,50"])
def test_other_shares_are_refused(wrong: str) -> None:
    with pytest.raises(InputProblem, match="is no split: give the percentages of train and val"):
        shares_of(wrong)


def test_sample_that_was_added_later_is_in_no_split(samples_of: Callable[..., list[Sample]]) -> None:
    samples = samples_of([("a", []), ("b", []), ("c", [])])
    assignment = split(samples[:2], shares_of("50,50"))
    assert [assignment.has(sample) for sample in samples] == [True, True, False]


def real_photo(shelf: Any, digest: str) -> RealPhoto:
    sample = shelf.sample(np.ones((4, 4), np.uint8), ("dent",))
    return RealPhoto(
        image=sample.image,
        mask=sample.mask,
        instances=sample.instances,
        photo=replace(sample.image, digest=digest, name="p.jpg"),
    )


@pytest.mark.parametrize("apart", list(Apart))
def test_real_photo_is_in_the_split_of_the_samples_that_it_is_part_of(
    samples_of: Callable[..., list[Sample]], shelf: Any, apart: Apart
) -> None:
    digests = [f"{number:x}" * 64 for number in range(10)]
    photos = [real_photo(shelf, digest) for digest in digests]
    pairs = [(digests[n], [f"{digests[n][:12]}:{k % 3}"]) for n in range(10) for k in range(6)]
    samples = samples_of(pairs)
    assignment = split(samples, shares_of("60,40"), apart, photos)
    assert sum(assignment.counts.values()) == 70
    for photo in photos:
        of_photo = {assignment.of(s) for s in samples if s.provenance.background.digest == photo.photo.digest}
        assert of_photo == {assignment.of(photo)}


def test_sample_of_an_unknown_concept_is_in_the_split_of_every_photo(
    samples_of: Callable[..., list[Sample]], shelf: Any
) -> None:
    photos = [real_photo(shelf, digest * 64) for digest in "abc"]
    samples = samples_of([("b0", ["of another engine"]), ("b1", ["a" * 12 + ":0"]), ("b2", ["d" * 12 + ":0"])])
    assignment = split(samples, shares_of("60,40"), Apart.CONCEPT, photos)
    assert len({assignment.of(each) for each in (*photos, *samples[:2])}) == 1
    assert assignment.of(samples[2]) != assignment.of(samples[0])
