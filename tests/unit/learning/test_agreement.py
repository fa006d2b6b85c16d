"""Agreement of reviewers is exact, and undefined if the verdicts determine no value."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from datagen.learning.agreement import MAX_REVIEWERS, MIN_COMMON, OneSided, one_sided, pair_agreements


def opinions(**by_reviewer: str) -> dict[str, dict[int, str]]:
    """Opinions by the letters g and b, one for each sample; a dash for a sample that the reviewer did not judge."""
    return {
        reviewer: {number: letter for number, letter in enumerate(letters) if letter != "-"}
        for reviewer, letters in by_reviewer.items()
    }


def test_kappa_of_cohens_kind_of_table_is_exact() -> None:
    """20 both good, 5 and 10 of one alone, 15 both bad: .70 agree, .50 by chance."""
    [pair] = pair_agreements(opinions(ann="g" * 25 + "b" * 25, bob="g" * 20 + "b" * 5 + "g" * 10 + "b" * 15))
    assert (pair.common, pair.agreed, pair.share) == (50, 35, Fraction(7, 10))
    assert pair.kappa == Fraction(2, 5)


@pytest.mark.parametrize(
    ("ann", "bob", "share", "kappa"),
    [
        ("ggbb", "ggbb", 1, 1),
        ("ggbb", "bbgg", 0, -1),
        ("gggg", "gggb", Fraction(3, 4), 0),
        ("gbgb", "ggbb", Fraction(1, 2), 0),
        ("gggg", "bbbb", 0, 0),
        ("gggg", "gggg", 1, None),
    ],
)
def test_edge_cases_of_kappa(ann: str, bob: str, share: Fraction, kappa: Fraction | None) -> None:
    """It is undefined only if both give one and the same opinion throughout."""
    [pair] = pair_agreements(opinions(ann=ann, bob=bob))
    assert (pair.share, pair.kappa) == (share, kappa)


def test_people_without_a_common_sample_are_no_pair() -> None:
    assert pair_agreements(opinions(ann="gg--", bob="--bb")) == ()
    assert pair_agreements(opinions(ann="gg")) == ()
    assert pair_agreements({}) == ()


def test_three_people_make_three_pairs_with_the_most_common_samples_first() -> None:
    pairs = pair_agreements(opinions(cleo="gbg", ann="gggg", bob="---b"))
    assert [(pair.first, pair.second, pair.common) for pair in pairs] == [("ann", "cleo", 3), ("ann", "bob", 1)]
    pairs = pair_agreements(opinions(cleo="gg", ann="gg", bob="gb"))
    assert [(pair.first, pair.second) for pair in pairs] == [("ann", "bob"), ("ann", "cleo"), ("bob", "cleo")]


def test_few_common_samples_are_not_enough() -> None:
    few, enough = (
        pair_agreements(opinions(ann="g" * count, bob="b" * count))[0] for count in (MIN_COMMON - 1, MIN_COMMON)
    )
    assert (few.is_enough, enough.is_enough) == (False, True)


def test_number_of_pairs_is_bounded() -> None:
    crowd = {f"person {number:03}": {0: "g"} for number in range(200)}
    assert len(pair_agreements(crowd)) == MAX_REVIEWERS * (MAX_REVIEWERS - 1) // 2


@given(st.lists(st.tuples(st.sampled_from("gb"), st.sampled_from("gb")), min_size=1, max_size=40))
def test_kappa_is_that_of_scikit_learn(both: list[tuple[str, str]]) -> None:
    first, second = ("".join(letters) for letters in zip(*both, strict=True))
    [pair] = pair_agreements(opinions(ann=first, bob=second))
    if pair.kappa is None:
        assert len({*first, *second}) == 1
    else:
        assert float(pair.kappa) == pytest.approx(cohen_kappa_score(list(first), list(second)), abs=1e-12)


def test_only_people_with_one_opinion_whom_others_contradict_are_one_sided() -> None:
    ann = dict.fromkeys(range(MIN_COMMON), "good")
    bob = {**ann, 0: "bad"}
    [reviewer] = one_sided({"ann": ann, "bob": bob})
    assert reviewer == OneSided(reviewer="ann", opinion="good", samples=MIN_COMMON, contradicted=1)
    assert one_sided({"ann": ann, "bob": dict(ann)}) == ()
    assert one_sided({"ann": ann}) == ()
    few = dict.fromkeys(range(MIN_COMMON - 1), "good")
    assert one_sided({"ann": few, "bob": bob}) == ()
