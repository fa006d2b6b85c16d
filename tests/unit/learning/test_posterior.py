"""The posterior learns hidden standards from verdicts on samples with draws of their own."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest

from datagen.domain.trace import InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.learning.posterior import learn
from datagen.synthesis.composite.draws import LEARNABLE
from datagen.synthesis.engine import ReviewedSample
from datagen.synthesis.preference import normal_cdf
from judged_draws import CONCEPTS, drawn_samples, reviewed_by, small_enough

STANDARDS = {
    "smaller": small_enough,
    "size band": lambda draws: 0.8 < draws["size"] < 1.25,
    "left half": lambda draws: draws["x"] < 0.5,
    "an axis": lambda draws: abs((draws["angle"] - 30 + 90) % 180 - 90) < 40,
    "two ugly concepts": lambda draws: draws["concept"] not in CONCEPTS[:2],
}


def accuracy(posterior, standard, seed=99):
    """The share of fresh instances that the posterior classifies as the standard does."""
    draws = [trace.instances[0].draws for trace in drawn_samples(400, seed=seed)]
    likely = posterior.preference().scores(draws) > 0
    return float(np.mean(likely == [standard(each) for each in draws]))


@pytest.mark.parametrize("name", STANDARDS)
def test_standard_without_reasons_is_learned_from_eighty_verdicts(name):
    standard = STANDARDS[name]
    posterior = learn(LEARNABLE, reviewed_by(standard, drawn_samples(80)))
    assert accuracy(posterior, standard) > 0.85


@pytest.mark.parametrize("name", STANDARDS)
def test_tenth_of_wrong_verdicts_does_not_hide_the_standard(name):
    standard = STANDARDS[name]
    posterior = learn(LEARNABLE, reviewed_by(standard, drawn_samples(120), flips=0.1))
    assert accuracy(posterior, standard) > 0.8


def test_reason_points_where_no_good_sample_lies():
    """Every sample is too large: only the reason says which way to go."""
    posterior = learn(LEARNABLE, reviewed_by(lambda draws: False, drawn_samples(20), Reason.TOO_LARGE))
    small, large = posterior.preference().scores([{"size": 0.5}, {"size": 1.5}])
    assert small > large


def test_opposite_reasons_ask_for_a_band():
    traces = drawn_samples(60)
    judged = [
        replace(
            sample,
            verdict=replace(
                sample.verdict,
                reasons=frozenset(
                    {Reason.TOO_SMALL if sample.trace.instances[0].draws["size"] < 1 else Reason.TOO_LARGE}
                    if sample.verdict.opinion is Opinion.BAD
                    else ()
                ),
            ),
        )
        for sample in reviewed_by(STANDARDS["size band"], traces)
    ]
    low, middle, high = learn(LEARNABLE, judged).preference().scores([{"size": 0.5}, {"size": 1.0}, {"size": 2.0}])
    assert low < middle > high


def test_instance_that_makes_a_sample_bad_is_inferred():
    standard = STANDARDS["left half"]
    posterior = learn(LEARNABLE, reviewed_by(standard, drawn_samples(100, instances=3)))
    assert accuracy(posterior, standard) > 0.8


def test_changed_verdict_changes_the_posterior_and_nothing_else_is_remembered():
    judged = reviewed_by(small_enough, drawn_samples(20))
    before = learn(LEARNABLE, judged)
    opposite = Opinion.BAD if judged[3].verdict.opinion is Opinion.GOOD else Opinion.GOOD
    changed = [*judged[:3], replace(judged[3], verdict=Verdict(opinion=opposite)), *judged[4:]]
    assert not np.allclose(before.mean, learn(LEARNABLE, changed).mean)
    assert np.array_equal(before.mean, learn(LEARNABLE, judged).mean)


def test_contradictory_verdicts_conclude_nothing():
    traces = drawn_samples(20)
    judged = [ReviewedSample(trace=trace, verdict=Verdict(opinion=opinion)) for trace in traces for opinion in Opinion]
    scores = learn(LEARNABLE, judged).preference().scores([t.instances[0].draws for t in traces])
    assert normal_cdf(scores) == pytest.approx(np.full(20, 0.5), abs=0.05)


def test_samples_without_draws_teach_nothing():
    old = ReviewedSample(trace=Trace(instances=(InstanceTrace(scale=1.2),)), verdict=Verdict(opinion=Opinion.BAD))
    assert learn(LEARNABLE, [old] * 5) is None
    judged = reviewed_by(small_enough, drawn_samples(20))
    assert np.array_equal(learn(LEARNABLE, judged).mean, learn(LEARNABLE, [old, *judged]).mean)


def test_ten_noisy_rounds_drive_no_draw_to_a_limit():
    """Fixed steps drove the size to a fifth in ten rounds of verdicts of which a tenth were wrong."""
    standard = STANDARDS["left half"]
    for rounds in (4, 10):
        judged = reviewed_by(standard, drawn_samples(20 * rounds), Reason.TOO_LARGE, flips=0.1)
        scores = learn(LEARNABLE, judged).preference().scores([{"x": 0.2, "size": s} for s in (0.7, 1.0, 1.4)])
        assert normal_cdf(scores)[1] > 0.6


def test_thousand_verdicts_on_many_instances_take_less_than_two_seconds():
    judged = reviewed_by(small_enough, drawn_samples(1000, instances=4), Reason.TOO_LARGE)
    began = time.process_time()
    learn(LEARNABLE, judged)
    assert time.process_time() - began < 4  # on two cores; BLAS counts the time of all threads
