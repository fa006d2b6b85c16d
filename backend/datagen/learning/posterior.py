"""The posterior of what reviewers accept: a probit model of verdicts over the draws of the judged samples.

* A sample is good if each of its instances is acceptable; which instance made a sample bad is inferred (expectation
  maximization), because a verdict is about the whole picture.
* A reason is one-sided: “too large” says that the instance would be more acceptable if it were smaller. It is an
  observation of the sign of the derivative by size, at the size that was drawn.
* A share of the verdicts is wrong (``WRONG``), so that single ones that contradict the others change little.
* The prior deviation of each draw's weights is learned from the verdicts (automatic relevance determination, MacKay
  1992), so that draws that explain nothing get no weight. The posterior is approximated by Laplace's method, with the
  expected information as curvature.

All is computed from the verdicts that exist, never from an earlier result: a verdict that is changed later changes the
next result. The work is bounded by ``MAX_VERDICTS``, ``_MAX_INSTANCES`` and ``_MAX_CHOICES``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from datagen.domain.trace import Draws
from datagen.domain.verdict import Opinion
from datagen.synthesis.engine import ReviewedSample
from datagen.synthesis.learnable import LearnableDraw
from datagen.synthesis.preference import Preference, Term, features_of, terms_for

Array = npt.NDArray[np.float64]
#: Verdicts that are evaluated, the newest; and instances of one sample.
MAX_VERDICTS = 1000
_MAX_INSTANCES = 12
#: Names of one category that have an effect.
_MAX_CHOICES = 24
#: Share of verdicts that are expected to be wrong.
WRONG = 0.08
#: Prior deviation of the constant, and of a weight before the verdicts are known.
_CONSTANT, _WEIGHT = 2.0, 1.0
#: The prior variance of a draw's weights is estimated together with one more weight of this deviation.
_USUAL_WEIGHT = 0.4
#: Weight of a reason compared with a verdict, and factor of the derivative.
_REASON_WEIGHT, _REASON_SLOPE = 1.0, 0.7
#: Estimates of the prior variances, Newton steps for each, and the largest change of a weight in a step.
_ESTIMATES, _STEPS, _LARGEST_STEP = 6, 12, 1.5
#: Avoids divisions by zero.
_TINY = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """The posterior of the weights: the mean [d] and the covariance [d, d], for the constant and each term."""

    terms: tuple[Term, ...]
    mean: Array
    covariance: Array
    #: number of verdicts
    verdicts: int

    def preference(self) -> Preference:
        """Return the posterior as data for a version's parameters."""
        lower = self.covariance[np.tril_indices(len(self.mean))]
        return Preference(
            terms=list(self.terms),
            mean=[float(f"{value:.5g}") for value in self.mean],
            covariance=[float(f"{value:.5g}") for value in lower],
            verdicts=self.verdicts,
        )

    def columns(self, name: str) -> slice:
        """Return the indices of a term's features."""
        start = 1
        for term in self.terms:
            if term.name == name:
                return slice(start, start + term.width)
            start += term.width
        raise KeyError(name)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Observations Φ(sign · x·w) of the weights: features [n, d], signs [n], weights [n], and the sample of each."""

    x: Array
    sign: Array
    weight: Array
    #: -1: of no bad sample
    sample: npt.NDArray[np.int64]


def learn(learnable: Sequence[LearnableDraw], reviewed: Sequence[ReviewedSample]) -> Posterior | None:
    """Return the posterior after all verdicts; None if no judged sample records a learnable draw.

    Args:
        learnable: the draws that the engine declares.
        reviewed: the judged samples of all versions, the oldest first.
    """
    usable = [sample for sample in reviewed if drawn(learnable, sample)][-MAX_VERDICTS:]
    terms = tuple(terms_for(learnable, [each for sample in usable for each in drawn(learnable, sample)], _MAX_CHOICES))
    if not terms:
        return None
    rows = _rows(learnable, terms, usable)
    mean, covariance = _fit(rows, terms)
    return Posterior(terms=terms, mean=mean, covariance=covariance, verdicts=len(usable))


def drawn(learnable: Sequence[LearnableDraw], sample: ReviewedSample) -> list[Draws]:
    """Return the learnable draws of a sample's instances, without instances that record none."""
    names = {kind.name for kind in learnable}
    instances = sample.trace.instances[:_MAX_INSTANCES]
    return [each.draws for each in instances if each.draws is not None and names & each.draws.keys()]


def _rows(learnable: Sequence[LearnableDraw], terms: Sequence[Term], reviewed: Sequence[ReviewedSample]) -> _Rows:
    size = 1 + sum(term.width for term in terms)
    starts = dict(zip((t.name for t in terms), np.cumsum([1, *(t.width for t in terms)]).tolist(), strict=False))
    x: list[Array] = []
    sign: list[float] = []
    weight: list[float] = []
    owner: list[int] = []
    for number, sample in enumerate(reviewed):
        draws = drawn(learnable, sample)
        bad = sample.verdict.opinion is Opinion.BAD
        x += list(features_of(terms, draws))
        sign += [-1.0 if bad else 1.0] * len(draws)
        weight += [1.0] * len(draws)
        owner += [number if bad else -1] * len(draws)
        if not bad:
            continue
        for reason in sample.verdict.reasons:
            about = [
                (term, kind.reasons[reason])
                for kind in learnable
                for term in terms
                if kind.name == term.name and reason in kind.reasons
            ]
            for each in draws:
                for term, direction in about:
                    value = each.get(term.name)
                    if isinstance(value, int | float):
                        slope = np.zeros(size)
                        slope[starts[term.name] : starts[term.name] + 2] = term.slope(value)
                        x.append(direction * _REASON_SLOPE * slope)
                        sign.append(1.0)
                        weight.append(_REASON_WEIGHT / len(about) / len(draws))
                        owner.append(-1)
    return _Rows(np.array(x), np.array(sign), np.array(weight), np.array(owner, np.int64))


def _fit(rows: _Rows, terms: Sequence[Term]) -> tuple[Array, Array]:
    size = rows.x.shape[1]
    mean: Array = np.zeros(size)
    precision = np.full(size, _WEIGHT**-2)
    precision[0] = _CONSTANT**-2
    covariance = np.diag(1 / precision)
    for estimate in range(_ESTIMATES):
        for _ in range(_STEPS):
            gradient, information = _newton(rows, mean)
            curvature = information + np.diag(precision)
            step = np.linalg.solve(curvature, gradient - precision * mean)
            largest = float(np.abs(step).max())
            mean = mean + step * min(1.0, _LARGEST_STEP / max(largest, _TINY))
            if largest < 1e-4:
                break
        covariance = np.linalg.inv(curvature)
        if estimate == _ESTIMATES - 1:
            break
        start = 1
        for term in terms:
            own = slice(start, start + term.width)
            squares = float(np.square(mean[own]).sum() + np.diag(covariance)[own].sum())
            precision[own] = (term.width + 1) / (squares + _USUAL_WEIGHT**2)
            start += term.width
    return mean, covariance


def _newton(rows: _Rows, mean: Array) -> tuple[Array, Array]:
    """Return the gradient [d] and the expected information [d, d] of the log-likelihood."""
    margin = rows.x @ mean
    likely = ndtr(margin)
    density = np.exp(-0.5 * margin * margin) / (2 * np.pi) ** 0.5 * (1 - 2 * WRONG)
    yes = WRONG + (1 - 2 * WRONG) * likely
    no = 1 - yes
    blamed = _blame(rows, yes)
    # the expected observation: 1 for acceptable; for the instances of a bad sample, 1 less what each is blamed for
    observed = np.where(rows.sign > 0, 1.0, 1.0 - blamed)
    gradient = rows.x.T @ (rows.weight * density * (observed / yes - (1 - observed) / no))
    information = (rows.x * (rows.weight * density**2 / (yes * no))[:, None]).T @ rows.x
    return gradient, information


def _blame(rows: _Rows, yes: Array) -> Array:
    """Return the probability [n] that each instance is not acceptable, given the verdict on its sample.

    For a bad sample with several instances it is (1 - p) / (1 - Π p), where p are their probabilities.
    """
    of_bad = rows.sample >= 0
    if not of_bad.any():
        return np.zeros(len(yes))
    all_acceptable = np.zeros(int(rows.sample.max()) + 1)
    np.add.at(all_acceptable, rows.sample[of_bad], np.log(yes[of_bad]))
    blamed = np.zeros(len(yes))
    blamed[of_bad] = (1 - yes[of_bad]) / np.maximum(-np.expm1(all_acceptable[rows.sample[of_bad]]), _TINY)
    return np.minimum(blamed, 1.0)
