"""Audited acceptance: exact bounds, what repeated audits cost, and a bound that holds at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from datagen.learning.acceptance import (
    CONFIDENCE,
    AuditedAcceptance,
    ThresholdAcceptance,
    confidence_after,
    error_of_audit,
    evidence_below,
    further_good,
    lower_bound,
    offer,
    percent,
    sentence_of,
    upper_bound_at_any_look,
)


def audited(samples: int, bad: int = 0, *, audits: int = 1, missing: int = 0) -> AuditedAcceptance:
    judged = samples - missing
    return AuditedAcceptance(audits=audits, samples=samples, judged=judged, good=judged - bad)


@pytest.mark.parametrize(("bad", "samples"), [(0, 22), (1, 38), (2, 52), (3, 65)])
def test_smallest_audits_that_promise_nine_tenths(bad: int, samples: int) -> None:
    assert lower_bound(samples, bad) >= 0.9 > lower_bound(samples - 1, bad)
    assert further_good(bad, bad) == samples - bad


@given(st.integers(1, 200), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_bound_is_the_share_at_which_so_few_bad_ones_are_just_as_rare(samples: int, data, confidence: float) -> None:
    bad = data.draw(st.integers(0, samples - 1))
    bound = lower_bound(samples, bad, confidence)
    assert math.isclose(binom.cdf(bad, samples, 1 - bound), 1 - confidence, rel_tol=1e-6)


@given(st.integers(1, 100), st.floats(0.3, 0.999))
def test_promise_is_broken_at_most_as_often_as_the_confidence_allows(samples: int, share: float) -> None:
    broken = sum(binom.pmf(bad, samples, 1 - share) for bad in range(samples + 1) if lower_bound(samples, bad) > share)
    assert broken <= 1 - CONFIDENCE + 1e-9


def test_nothing_is_promised_where_all_are_bad_or_none_was_judged() -> None:
    assert lower_bound(5, 5) == lower_bound(0, 0) == 0.0


@pytest.mark.parametrize(("samples", "bad", "confidence"), [(3, 4, 0.9), (3, -1, 0.9), (3, 0, 0.0), (3, 0, 1.0)])
def test_impossible_counts_are_refused(samples: int, bad: int, confidence: float) -> None:
    with pytest.raises(ValueError, match=r"cannot be bad|not between"):
        lower_bound(samples, bad, confidence)


def test_share_that_no_practical_number_of_verdicts_proves_has_no_number() -> None:
    assert further_good(200, 200, target=0.99) is None
    assert further_good(22, 0) == 0, "it is promised already"


def test_each_further_audit_has_half_the_error_and_all_together_never_twice_that_of_the_first() -> None:
    assert [error_of_audit(number) for number in (1, 2, 3)] == pytest.approx([0.1, 0.05, 0.025])
    assert [confidence_after(audits) for audits in (1, 2, 3)] == pytest.approx([0.9, 0.85, 0.825])
    assert confidence_after(50) >= 0.8 - 1e-9


def test_promise_names_share_confidence_and_verdicts() -> None:
    assert audited(22).sentence == "At least 90 % acceptable, at 90 % confidence: 22 audit verdicts, 0 bad."
    assert audited(22, 1).sentence == "At least 83 % acceptable, at 90 % confidence: 22 audit verdicts, 1 bad."
    twice = audited(46, 1, audits=2)
    assert twice.sentence == "At least 90 % acceptable, at 85 % confidence: 46 audit verdicts of 2 audits, 1 bad."


def test_sample_without_a_verdict_counts_as_bad() -> None:
    half = audited(22, 0, missing=11)
    assert half.sentence == (
        "At least 34 % acceptable, at 90 % confidence: 11 of 22 audit verdicts, 0 bad, 11 missing and counted as bad."
    )
    assert half.lower == lower_bound(22, 11)
    assert half.next_step == "11 audit samples wait for a verdict; judge them first."


def test_next_step_names_the_further_good_samples_and_that_they_are_not_needed() -> None:
    step = audited(22, 1).next_step
    assert step.startswith("24 more samples with none bad would make it 90 %, at 85 % confidence")
    assert step.endswith("Approving without such a promise needs neither.")
    assert lower_bound(46, 1, 0.95) >= 0.9 > lower_bound(45, 1, 0.95)
    assert audited(22).next_step == ""
    assert "refine instead" in audited(200, 199).next_step


def test_stored_promise_keeps_its_sentence_and_its_counts() -> None:
    stored = audited(22, 1).to_json()
    assert (stored["samples"], stored["judged"], stored["good"], stored["audits"]) == (22, 22, 21, 1)
    assert stored["lower"] == pytest.approx(0.8344, abs=1e-4)
    assert sentence_of(stored) == audited(22, 1).sentence
    assert sentence_of(None) == ""


def test_audit_is_offered_after_a_good_round_alone() -> None:
    assert offer(16, 20).startswith("16 of 20 verdicts on this round are good.")
    assert "22 further samples with none bad promise at least 90 %" in offer(20, 20)
    assert offer(15, 20) == offer(0, 0) == ""


def test_shares_are_rounded_down() -> None:
    assert [percent(share) for share in (0.8999, 0.9, 0.29, 1.0)] == ["89 %", "90 %", "29 %", "100 %"]


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_run_that_is_as_good_as_promised_raises_few_alarms_though_it_is_looked_at_after_each_verdict(
    share: float,
) -> None:
    chance = np.random.default_rng(3)
    studies, looks, limit = 400, 150, 20.0
    alarms = 0
    for _ in range(studies):
        bad = np.cumsum(chance.random(looks) >= share)
        alarms += any(evidence_below(share, n, int(bad[n - 1])) >= limit for n in range(1, looks + 1))
    assert alarms <= studies / limit


def test_run_that_is_much_worse_raises_an_alarm_soon() -> None:
    chance = np.random.default_rng(4)
    bad = np.cumsum(chance.random(40) >= 0.5)
    assert max(evidence_below(0.9, n, int(bad[n - 1])) for n in range(1, 41)) >= 20


@given(st.integers(0, 60), st.data())
def test_upper_bound_is_where_the_evidence_reaches_its_limit(samples: int, data) -> None:
    bad = data.draw(st.integers(0, samples))
    bound = upper_bound_at_any_look(samples, bad)
    assert 1 - bad / max(samples, 1) <= bound <= 1
    if bound < 1:
        assert evidence_below(bound, samples, bad) == pytest.approx(20, rel=1e-3)


def test_evidence_at_the_ends_of_the_scale() -> None:
    assert evidence_below(0.0, 9, 9) == 1.0
    assert evidence_below(1.0, 9, 1) == math.inf
    assert evidence_below(0.9, 0, 0) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="not within 0 to 1"):
        evidence_below(1.5, 9, 1)


@given(st.floats(0.3, 0.999), st.floats(0.05, 1.0))
def test_promise_of_what_a_threshold_leaves_is_broken_at_most_as_often_as_the_confidence_allows(
    share: float, left: float
) -> None:
    """The number of samples that are left is drawn, too; each is left with the probability ``left``."""
    samples, broken = 22, 0.0
    for kept in range(samples + 1):
        for good in range(kept + 1):
            promise = ThresholdAcceptance(threshold=0.5, audits=1, samples=samples, kept=kept, good=good).lower
            if promise > share:
                broken += binom.pmf(kept, samples, left) * binom.pmf(good, kept, share)
    assert broken <= 1 - CONFIDENCE + 1e-9


def test_sentence_of_a_threshold_names_what_is_left() -> None:
    stated = ThresholdAcceptance(threshold=0.6, audits=1, samples=30, kept=22, good=22)
    assert stated.sentence == (
        "With the critic's threshold at 60 %, at least 90 % of what is left would be acceptable, at 90 % confidence: "
        "22 of 30 audit samples are left, 0 of them bad or without a verdict that counts."
    )
    twice = ThresholdAcceptance(threshold=0.6, audits=2, samples=30, kept=22, good=22)
    assert (twice.lower < stated.lower, twice.confidence) == (True, confidence_after(2))
    nothing = ThresholdAcceptance(threshold=0.6, audits=1, samples=1, kept=0, good=0)
    assert nothing.sentence == "With the critic's threshold at 60 %, none of 1 audit sample would be left."
    assert nothing.lower == 0
