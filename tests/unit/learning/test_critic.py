"""The critic predicts verdicts, says how well, and refuses to conclude from too few."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from datagen.domain.verdict import Opinion, Verdict
from datagen.errors import EngineError
from datagen.learning.critic import (
    LEAST_FOR_REJECTION,
    Critic,
    auroc,
    calibration_error,
    foretold,
    learn_critic,
    threshold_of,
)
from datagen.synthesis.composite.draws import LEARNABLE
from datagen.synthesis.engine import ReviewedSample
from judged_draws import drawn_samples, reviewed_by, small_enough


def left_half(draws):
    return draws["x"] < 0.5


def accepted(trace, standard):
    return all(standard(instance.draws) for instance in trace.instances)


@pytest.fixture(scope="module")
def learned():
    """The critic after 60 verdicts of a reviewer who accepts the left half."""
    return learn_critic(LEARNABLE, reviewed_by(left_half, drawn_samples(60)), 0.2)


def test_it_predicts_verdicts_on_samples_that_it_has_not_seen(learned):
    fresh = drawn_samples(400, seed=5)
    predicted = np.array([learned.critic.probability(trace, ()) for trace in fresh])
    truth = np.array([accepted(trace, left_half) for trace in fresh])
    assert auroc(predicted, truth) > 0.95
    assert calibration_error(predicted, truth) < 0.1


def test_its_figures_are_those_of_verdicts_that_it_has_not_seen():
    """Verdicts at random cannot be predicted, although sixty of them can be fitted."""
    chance = np.random.default_rng(1)
    critic = learn_critic(LEARNABLE, reviewed_by(lambda _: chance.random() < 0.5, drawn_samples(60)), 0.2).critic
    assert critic.auroc < 0.7
    assert not critic.can_reject
    assert critic.reject_below == 0


def test_second_verdict_on_a_sample_does_not_count_as_unseen():
    """Two people agree on each of thirty samples by chance: what one said must not predict the other."""
    chance = np.random.default_rng(3)
    once = [
        sample
        for trace in drawn_samples(30, seed=3)
        for sample in reviewed_by(lambda _: chance.random() < 0.5, [trace])
    ]
    critic = learn_critic(LEARNABLE, [*once, *once], 0.2).critic
    assert critic.auroc < 0.7
    assert critic.reject_below == 0


def test_few_verdicts_leave_the_probability_near_their_share():
    critic = learn_critic(LEARNABLE, reviewed_by(left_half, drawn_samples(20)), 0.2).critic
    many = learn_critic(LEARNABLE, reviewed_by(left_half, drawn_samples(200)), 0.2).critic
    fresh = drawn_samples(100, seed=5)

    def spread(of):
        return float(np.std([of.probability(trace, ()) for trace in fresh]))

    assert spread(critic) < spread(many)


def test_measurements_teach_what_no_draw_says():
    """Of an engine that declares nothing, the critic learns from the picture alone."""
    chance = np.random.default_rng(0)
    judged = []
    for trace in drawn_samples(60):
        seam = float(np.exp(chance.normal(0, 0.5)))
        opinion = Opinion.GOOD if seam < 1 else Opinion.BAD
        undrawn = replace(trace, instances=tuple(replace(each, draws=None) for each in trace.instances))
        judged.append(
            ReviewedSample(trace=undrawn, verdict=Verdict(opinion=opinion), measured=({"seen_seam": seam, "x": 0.5},))
        )
    critic = learn_critic((), judged, 0.2).critic
    trace = judged[0].trace
    assert (
        critic.probability(trace, ({"seen_seam": 0.6},)) > 0.7 > 0.3 > critic.probability(trace, ({"seen_seam": 1.6},))
    )
    assert critic.reasons_against(trace, ({"seen_seam": 1.6},))[0] == "seen_seam"


def test_every_instance_has_to_be_acceptable():
    critic = learn_critic(LEARNABLE, reviewed_by(left_half, drawn_samples(120, instances=2)), 0.2).critic
    trace = drawn_samples(1, instances=2)[0].instances
    one_right = [replace(each, draws={**each.draws, "x": x}) for each, x in zip(trace, (0.2, 0.9), strict=True)]
    both_left = [replace(each, draws={**each.draws, "x": 0.2}) for each in trace]
    whole = drawn_samples(1)[0]
    assert critic.probability(replace(whole, instances=tuple(one_right)), ()) < 0.3
    assert critic.probability(replace(whole, instances=tuple(both_left)), ()) > 0.6


@pytest.mark.parametrize(
    ("judged", "sentence"),
    [
        (
            reviewed_by(small_enough, drawn_samples(12)),
            "12 verdicts, 3 of them good, and verdicts on at least 20 samples are needed, 4 of each opinion",
        ),
        (reviewed_by(lambda _: True, drawn_samples(40)), "40 verdicts, 40 of them good"),
        (reviewed_by(lambda _: False, drawn_samples(40)), "40 verdicts, 0 of them good"),
        ((), "0 verdicts"),
        (reviewed_by(small_enough, drawn_samples(3)) * 9, "27 verdicts on 3 samples"),
    ],
)
def test_too_few_or_equal_verdicts_give_no_critic(judged, sentence):
    learned = learn_critic(LEARNABLE, judged, 0.2)
    assert learned.critic is None
    (note,) = learned.notes
    assert "The critic cannot tell yet" in note
    assert sentence in note


def test_contradictory_verdicts_on_the_same_samples_are_no_reason_to_reject():
    traces = drawn_samples(30)
    judged = [*reviewed_by(lambda _: True, traces), *reviewed_by(lambda _: False, traces)]
    critic = learn_critic(LEARNABLE, judged, 0.2).critic
    assert critic.reject_below == 0
    assert critic.probability(traces[0], ()) == pytest.approx(0.5, abs=0.1)


def test_it_rejects_once_it_knows_enough(learned):
    few = learn_critic(LEARNABLE, reviewed_by(left_half, drawn_samples(LEAST_FOR_REJECTION - 1)), 0.2)
    assert few.critic.reject_below == 0
    assert f"{LEAST_FOR_REJECTION} verdicts are needed" in few.notes[-1]
    assert learned.critic.reject_below == 0.2
    assert "reject what the critic calls good with less than 20 %" in learned.notes[-1]


def test_study_may_switch_rejection_off():
    learned = learn_critic(LEARNABLE, reviewed_by(left_half, drawn_samples(60)), reject_below=0)
    assert learned.critic.reject_below == 0
    assert "It rejects nothing, because" in learned.notes[-1]


def test_it_survives_as_json(learned):
    again = Critic.from_json(json.loads(json.dumps(learned.critic.to_json())))
    assert again == learned.critic
    trace = drawn_samples(1, seed=9)[0]
    assert again.probability(trace, ()) == learned.critic.probability(trace, ())


def test_damaged_critic_is_refused(learned):
    with pytest.raises(EngineError, match="damaged at slope"):
        Critic.from_json({**learned.critic.to_json(), "slope": "steep"})


def test_same_verdicts_give_the_same_critic(learned):
    assert learn_critic(LEARNABLE, reviewed_by(left_half, drawn_samples(60)), 0.2).critic == learned.critic


def test_prediction_of_a_round_is_compared_with_its_verdicts():
    pairs = [(0.9, True)] * 3 + [(0.6, False)] + [(0.1, False)]
    assert foretold([], 0.2) == ""
    sentences = foretold(pairs, 0.2)
    assert "expected 3.4 of 5 verdicts to be good, and 3 are; its AUROC on them is 1.00." in sentences
    assert "Rejecting below 20 %, as audits and runs of this version do, leaves 4 of them, 3 good." in sentences
    assert "Rejecting" not in foretold(pairs, 0)
    assert "AUROC" not in foretold([(0.9, True)], 0)


@pytest.mark.parametrize(
    ("predicted", "reject_below", "expected"),
    [
        ([0.99] * 14 + [0.55] * 6, 0.0, 0.6),
        ([0.99] * 14 + [0.55] * 6, 0.2, 0.6),
        ([0.99] * 14 + [0.55] * 6, 0.65, None),  # what the version rejects suffices
        ([0.99] * 20, 0.0, None),
        ([0.99] * 2 + [0.3] * 18, 0.0, None),  # too few would be left
        ([0.85] * 20, 0.0, None),  # none is expected to leave enough good ones
        ([], 0.0, None),
    ],
)
def test_threshold_is_the_lowest_that_is_expected_to_leave_good_samples(predicted, reject_below, expected):
    assert threshold_of(predicted, reject_below) == expected
