"""The effect of a refinement is stated with intervals, and is left open where the verdicts cannot tell."""

from __future__ import annotations

import pytest

from datagen.learning.effect import Judged, effect_in_words, wilson


def test_interval_is_wilson_s():
    """Its ends are the shares that lie 1.645 of their own deviations from the observed share."""
    for end in wilson(18, 20):
        assert abs(0.9 - end) == pytest.approx(1.645 * (end * (1 - end) / 20) ** 0.5, abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(20, 20)[1] == pytest.approx(1.0)


def effect(good, count, good_before, count_before):
    child = Judged(version=2, good=good, count=count)
    return effect_in_words(child, Judged(version=1, good=good_before, count=count_before))


@pytest.mark.parametrize(
    ("counts", "conclusion"),
    [
        ((19, 20, 8, 20), "Version 2 is good more often than version 1: 95 % of 20 verdicts (90 % interval 80 % to"),
        ((12, 20, 10, 20), "Whether version 2 is good more often than version 1 is not known yet: 60 % of 20 verdicts"),
        ((1, 1, 0, 1), "Whether version 2 is good more often than version 1 is not known yet"),
        ((3, 20, 15, 20), "Version 2 is good less often than version 1: 15 % of 20 verdicts"),
    ],
)
def test_conclusion_follows_the_interval_of_the_difference(counts, conclusion):
    assert effect(*counts).startswith(conclusion)


@pytest.mark.parametrize("counts", [(0, 0, 5, 20), (5, 20, 0, 0)])
def test_round_without_verdicts_has_no_effect_to_state(counts):
    assert effect(*counts) == ""
