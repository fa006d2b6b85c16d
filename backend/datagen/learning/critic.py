"""The critic: the probability that a person calls a sample good.

* Scores: the probit model of ``learning.posterior``, fitted to the draws in a sample's trace and to the measurements of
  its instances in the picture (``synthesis.crop_features``).
* Calibration: a logistic regression of the verdicts on the scores' log-odds (Platt 1999). Each verdict is scored by a
  model that was fitted without it. Its slope is regularized, so that few verdicts leave a probability near the share of
  good ones.
* Figures: AUROC, calibration error and Brier skill are cross-fitted twice: neither the model nor the calibration that
  predicted a verdict has seen it.

A critic is data (``Critic.to_json``), which a version's spec contains: what it rejects depends on spec and index alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy.special import expit, logit, ndtr

from datagen.domain.spec import Json
from datagen.domain.trace import Draws, Trace
from datagen.domain.verdict import Opinion
from datagen.domain.wording import by_number, counted
from datagen.errors import EngineError
from datagen.learning.posterior import learn
from datagen.synthesis.crop_features import CROP_FEATURES
from datagen.synthesis.engine import ReviewedSample
from datagen.synthesis.learnable import LearnableDraw
from datagen.synthesis.preference import Preference

Array = npt.NDArray[np.float64]
#: Samples with verdicts without which there is no critic, and verdicts of each opinion.
LEAST_SAMPLES, LEAST_OF_EACH = 20, 4
#: The critic rejects only if it was learned from so many verdicts, and its Brier score is so much below that of always
#: predicting the share of good verdicts.
LEAST_FOR_REJECTION, LEAST_SKILL = 40, 0.2
#: Thresholds of which an audit may state what one of them would give.
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
#: The threshold is the lowest that is expected to leave this share of good samples, if it leaves that share of all.
EXPECTED_GOOD, LEAST_LEFT = 0.95, 0.25
#: Most verdicts that are used, the newest, and number of parts for cross-fitting.
MAX_VERDICTS, _FOLDS = 400, 5
#: Bins of the calibration error.
_BINS = 10
#: Probabilities are limited to this distance from 0 and 1.
_LEAST_PROBABILITY = 1e-4
#: Decimal digits of a probability that is stored.
_DIGITS = 4


class Critic(BaseModel):
    """A fitted critic as data."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    scores: Preference
    #: the calibration: the log-odds are ``intercept`` + ``slope`` × those of the score
    slope: float
    intercept: float
    #: number of verdicts, and of good ones
    verdicts: int = Field(ge=1)
    good: int = Field(ge=0)
    #: cross-fitted figures
    auroc: float
    calibration_error: float
    skill: float
    #: candidates with a lower probability are rejected; 0: none is
    reject_below: float = Field(0.0, ge=0.0, lt=1.0)

    def to_json(self) -> dict[str, Json]:
        """Return the critic as JSON values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @classmethod
    def from_json(cls, body: Mapping[str, Json]) -> Self:
        """Return the critic that ``to_json`` wrote.

        Raises:
            EngineError: it is no critic.
        """
        try:
            return cls.model_validate(dict(body))
        except ValidationError as wrong:
            place = ".".join(str(part) for part in wrong.errors()[0]["loc"])
            raise EngineError(
                f"the critic of the version is damaged at {place}; use it as a version's specification shows it, or "
                "leave it out"
            ) from None

    def probability(self, trace: Trace, measured: Sequence[Mapping[str, float]]) -> float:
        """Return the probability that a person calls a sample good, from 0 to 1."""
        return round(float(self._calibrated(log_odds(self.scores, [values_of(trace, measured)]))[0]), _DIGITS)

    def reasons_against(self, trace: Trace, measured: Sequence[Mapping[str, float]], most: int = 2) -> list[str]:
        """Return the names of the draws and measurements that lower the score of a sample most, the first most."""
        values = values_of(trace, measured)
        if not values:
            return []
        x = self.scores.features(values)
        worst = x[int(np.argmin(x @ self.scores.weights))] * self.scores.weights
        effects: dict[str, float] = {}
        start = 1
        for term in self.scores.terms:
            effects[term.name] = float(worst[start : start + term.width].sum())
            start += term.width
        return [name for name in sorted(effects, key=lambda name: effects[name]) if effects[name] < 0][:most]

    def _calibrated(self, odds: Array) -> Array:
        return np.asarray(expit(self.intercept + self.slope * odds))

    @property
    def can_reject(self) -> bool:
        """Whether it was learned from enough verdicts, and predicts them well enough, to reject samples."""
        return self.verdicts >= LEAST_FOR_REJECTION and self.skill >= LEAST_SKILL

    @property
    def sentence(self) -> str:
        """A sentence with the critic's figures."""
        return (
            f"The critic was learned from {counted(self.verdicts, 'verdict')} ({self.good} good). On verdicts that it "
            f"had not seen, its AUROC is {self.auroc:.2f} (0.5: chance, 1: perfect) and its calibration error "
            f"{self.calibration_error:.2f}."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The critic that verdicts give, None if they are too few or too much alike, and sentences about it."""

    critic: Critic | None
    notes: tuple[str, ...]


def learn_critic(
    learnable: Sequence[LearnableDraw], reviewed: Sequence[ReviewedSample], reject_below: float
) -> Learned:
    """Return the critic after all verdicts.

    Args:
        learnable: the draws that the engine declares; may be empty.
        reviewed: the judged samples of all versions, the oldest first; verdicts on one sample share its trace.
        reject_below: the probability below which candidates of a run are to be rejected, 0 for none. If the critic
            cannot tell well enough, none is rejected, and a note says so.
    """
    declared = critic_draws(learnable)
    names = {kind.name for kind in declared}
    judged = [
        sample
        for sample in reviewed
        if any(names & values.keys() for values in values_of(sample.trace, sample.measured))
    ][-MAX_VERDICTS:]
    usable = [with_measurements(sample) for sample in judged]
    truth = np.array([sample.verdict.opinion is Opinion.GOOD for sample in usable], bool)
    good, bad = int(truth.sum()), int((~truth).sum())
    samples = [id(sample.trace) for sample in judged]
    if len(set(samples)) < LEAST_SAMPLES or min(good, bad) < LEAST_OF_EACH:
        return Learned(critic=None, notes=(_too_few(len(usable), good, len(set(samples))),))
    posterior = learn(declared, usable)
    assert posterior is not None  # each usable sample has a declared draw
    scores = posterior.preference()
    fold = _folds(truth, samples)
    odds = np.zeros(len(usable))
    for number in range(int(fold.max()) + 1):
        rest = [usable[i] for i in np.flatnonzero(fold != number)]
        held_out = [usable[i] for i in np.flatnonzero(fold == number)]
        part = learn(declared, rest)
        assert part is not None
        odds[fold == number] = log_odds(part.preference(), [_draws_of(sample.trace) for sample in held_out])
    predicted = np.zeros(len(usable))
    for number in range(int(fold.max()) + 1):
        slope, intercept = _platt(odds[fold != number], truth[fold != number])
        predicted[fold == number] = expit(intercept + slope * odds[fold == number])
    slope, intercept = _platt(odds, truth)
    critic = Critic(
        scores=scores,
        slope=_short(slope),
        intercept=_short(intercept),
        verdicts=len(usable),
        good=good,
        auroc=_short(auroc(predicted, truth)),
        calibration_error=_short(calibration_error(predicted, truth)),
        skill=_short(_skill(predicted, truth)),
    )
    critic = critic.model_copy(update={"reject_below": reject_below if critic.can_reject else 0.0})
    return Learned(critic=critic, notes=(critic.sentence, *_about_rejection(critic, reject_below, predicted, truth)))


def foretold(pairs: Sequence[tuple[float, bool]], reject_below: float) -> str:
    """Return sentences that compare what a version's critic predicted of its round with the verdicts; "" without any.

    The critic was learned before the version had samples, so that this is a test of it on new ones.

    Args:
        pairs: for each verdict the predicted probability of a good one, and whether it is good.
        reject_below: the probability below which audits and runs of the version reject; 0 for never.
    """
    if not pairs:
        return ""
    predicted = np.array([probability for probability, _ in pairs])
    truth = np.array([good for _, good in pairs], bool)
    sentence = (
        f"The critic of this version expected {predicted.sum():.1f} of {counted(len(pairs), 'verdict')} to be good, "
        f"and {int(truth.sum())} {by_number(int(truth.sum()), 'is', 'are')}"
    )
    if truth.any() and not truth.all():
        sentence += f"; its AUROC on them is {auroc(predicted, truth):.2f}"
    if not reject_below:
        return f"{sentence}."
    kept = predicted >= reject_below
    return (
        f"{sentence}. Rejecting below {100 * reject_below:.0f} %, as audits and runs of this version do, leaves "
        f"{int(kept.sum())} of them, {int((kept & truth).sum())} good."
    )


def threshold_of(predicted: Sequence[float], reject_below: float) -> float | None:
    """Return the lowest threshold above ``reject_below`` that should keep enough good samples; None if none does.

    It depends on predictions alone, so that no verdict on the version has a part in the choice.

    Args:
        predicted: the predicted probabilities of the samples of the version's rounds, which leave nothing out.
        reject_below: the probability below which the version's audits and runs reject; 0 for never.
    """
    values = np.array(predicted, float)
    for threshold in (reject_below, *(t for t in THRESHOLDS if t > reject_below)):
        left = values[values >= threshold]
        if len(left) < max(LEAST_LEFT * len(values), 1):
            return None
        if left.mean() >= EXPECTED_GOOD:
            return threshold if threshold > reject_below else None
    return None


def critic_draws(learnable: Sequence[LearnableDraw]) -> tuple[LearnableDraw, ...]:
    """Return the draws of an engine and the measurements of the picture; a draw replaces a measurement of its name."""
    names = {kind.name for kind in learnable}
    return (*learnable, *(kind for kind in CROP_FEATURES if kind.name not in names))


def auroc(predicted: Array, truth: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a good sample has a higher prediction than a bad one; 0.5 without one of them."""
    if truth.all() or not truth.any():
        return 0.5
    from sklearn.metrics import roc_auc_score  # a heavy package, which the web process does not need

    return float(roc_auc_score(truth, predicted))


def calibration_error(predicted: Array, truth: npt.NDArray[np.bool_]) -> float:
    """Return the expected calibration error [0, 1] with bins of equal width; 0 without a sample."""
    bins = np.minimum((predicted * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float((predicted - truth)[bins == number].sum())) for number in range(_BINS)]
    return sum(gaps) / max(len(truth), 1)


def _platt(odds: Array, truth: npt.NDArray[np.bool_]) -> tuple[float, float]:
    """Return the slope, at least 0, and the intercept of the calibration."""
    from sklearn.linear_model import LogisticRegression  # a heavy package, which the web process does not need

    if truth.all() or not truth.any():
        return 0.0, float(logit((truth.sum() + 1) / (len(truth) + 2)))
    fitted = LogisticRegression(C=1.0).fit(odds[:, None], truth)
    slope = float(fitted.coef_[0, 0])
    if slope <= 0:  # the scores predict nothing
        return 0.0, float(logit((truth.sum() + 1) / (len(truth) + 2)))
    return slope, float(fitted.intercept_[0])


def _folds(truth: npt.NDArray[np.bool_], samples: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the part of each verdict; each part has its share of good ones, and of early and late ones.

    All verdicts on one of the ``samples`` are in the same part: a model that has seen one of them knows the others.
    """
    fold: dict[int, int] = {}
    counts = {True: 0, False: 0}
    for opinion, sample in zip(truth.tolist(), samples, strict=True):
        if sample not in fold:
            fold[sample] = counts[opinion] % _FOLDS
            counts[opinion] += 1
    return np.array([fold[sample] for sample in samples], np.int64)


def _skill(predicted: Array, truth: npt.NDArray[np.bool_]) -> float:
    """Return the Brier skill score: 1 for perfect, 0 for no better than the share of good verdicts."""
    usual = float(np.mean((truth - truth.mean()) ** 2))
    return 1 - float(np.mean((predicted - truth) ** 2)) / usual


def log_odds(scores: Preference, samples: Sequence[Sequence[Draws]]) -> Array:
    """Return the log-odds [n] that every instance of a sample is acceptable; 0 for a sample without instances."""
    draws = [each for sample in samples for each in sample]
    owner = np.repeat(np.arange(len(samples)), [len(sample) for sample in samples])
    logs = np.zeros(len(samples))
    if draws:
        np.add.at(logs, owner, np.log(np.maximum(ndtr(scores.scores(draws)), _LEAST_PROBABILITY)))
    likely = np.where([bool(sample) for sample in samples], np.exp(logs), 0.5)
    return np.asarray(logit(np.clip(likely, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)))


def with_measurements(sample: ReviewedSample) -> ReviewedSample:
    """Return a judged sample whose trace has the measurements among the draws of its instances."""
    instances = tuple(
        replace(instance, draws=values)
        for instance, values in zip(sample.trace.instances, values_of(sample.trace, sample.measured), strict=True)
    )
    return replace(sample, trace=replace(sample.trace, instances=instances))


def values_of(trace: Trace, measured: Sequence[Mapping[str, float]]) -> list[Draws]:
    """Return the draws and measurements of each instance."""
    missing: list[Mapping[str, float]] = [{}] * (len(trace.instances) - len(measured))
    pairs = zip(trace.instances, [*measured, *missing], strict=False)
    return [{**seen, **(instance.draws or {})} for instance, seen in pairs]


def _draws_of(trace: Trace) -> list[Draws]:
    return [instance.draws or {} for instance in trace.instances]


def _too_few(verdicts: int, good: int, samples: int) -> str:
    on = f" on {counted(samples, 'sample')}" if samples < verdicts else ""
    which = f"{counted(verdicts, 'verdict')}{on}, {good} of them good"
    if samples < LEAST_SAMPLES:
        needed = f"verdicts on at least {LEAST_SAMPLES} samples are needed, {LEAST_OF_EACH} of each opinion"
    else:
        needed = f"at least {LEAST_OF_EACH} good and {LEAST_OF_EACH} bad ones are needed"
    return f"The critic cannot tell yet: {which}, and {needed}. The next version has none."


def _about_rejection(critic: Critic, wanted: float, predicted: Array, truth: npt.NDArray[np.bool_]) -> list[str]:
    """Return a sentence about what a run of the version rejects, and what that would have given."""
    if not wanted:
        return ["It rejects nothing, because the study's option “reject below” is 0."]
    if not critic.can_reject:
        needed = (
            f"{LEAST_FOR_REJECTION} verdicts are needed"
            if critic.verdicts < LEAST_FOR_REJECTION
            else "it predicts verdicts hardly better than their share of good ones does"
        )
        return [f"It rejects nothing yet: {needed}."]
    rejected = predicted < wanted
    kept = int((~rejected).sum())
    return [
        f"Audits and runs of this version reject what the critic calls good with less than {100 * wanted:.0f} %. Of "
        f"the {counted(len(truth), 'verdict')} it would have rejected {int(rejected.sum())}, "
        f"{int((rejected & ~truth).sum())} of them bad; of the {kept} left, {int((truth & ~rejected).sum())} are good. "
        "Only an audit says what share of a run will be acceptable."
    ]


def _short(value: float) -> float:
    return float(f"{value:.5g}")
