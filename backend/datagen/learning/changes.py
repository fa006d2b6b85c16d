"""The changes of a posterior, in words: each preferred draw with its interval and the verdicts behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from datagen.domain.verdict import Opinion, Reason
from datagen.domain.wording import by_number, counted
from datagen.learning.posterior import Posterior, drawn
from datagen.synthesis.engine import ReviewedSample
from datagen.synthesis.learnable import LearnableDraw
from datagen.synthesis.preference import Term

Array = npt.NDArray[np.float64]
#: Posterior draws from which intervals are computed, and the share of them in an interval.
_SAMPLES, _SHARE = 400, 0.9
#: Standardized values at which the preference for a number is evaluated.
_GRID = np.linspace(-2.5, 2.5, 51)
#: A change is reported if so many of the posterior's draws agree on its direction.
_AGREEMENT = 0.9
#: Smallest strength of an axis of directions that is reported, as a weight.
_LEAST_AXIS = 0.5


def changes_in_words(
    posterior: Posterior, learnable: Sequence[LearnableDraw], judged: Sequence[ReviewedSample]
) -> list[str]:
    """Return a sentence for each draw whose preferred values differ from the drawn ones."""
    chance = np.random.default_rng(0)
    weights = chance.multivariate_normal(posterior.mean, posterior.covariance, _SAMPLES, method="eigh")
    kinds = {kind.name: kind for kind in learnable}
    notes: list[str] = []
    for term in posterior.terms:
        own, kind = weights[:, posterior.columns(term.name)], kinds[term.name]
        if term.scale == "category":
            notes += _choices(term, kind, own, learnable, judged)
        elif term.scale == "circular":
            notes += _axis(kind, own)
        else:
            notes += _number(term, kind, weights[:, 0], own, judged)
    return notes


def _number(
    term: Term, kind: LearnableDraw, constant: Array, own: Array, judged: Sequence[ReviewedSample]
) -> list[str]:
    margins = constant[:, None] + own @ np.stack([_GRID, (_GRID**2 - 1) / 2**0.5])
    shares = ndtr(margins) * np.exp(-0.5 * _GRID**2)
    shares /= shares.sum(axis=1, keepdims=True)
    preferred = shares @ _GRID
    rises = float(np.mean(preferred > 0))
    band = float(np.mean(own[:, 1] < 0))
    if max(rises, 1 - rises) < _AGREEMENT:
        if band < _AGREEMENT:
            return []
        spreads = np.sqrt(shares @ _GRID**2 - preferred**2)
        if float(np.median(spreads)) > 0.85:
            return []
        middle, deviation = float(np.median(preferred)), float(np.median(spreads))
        low, high = term.value(middle - 1.64 * deviation), term.value(middle + 1.64 * deviation)
        return [
            f"{_capital(kind.words)}: between {_figure(low)} and {_figure(high)} {kind.unit} is preferred to smaller "
            f"and larger values{_because(kind, judged)}."
        ]
    before = term.value(0.0)
    low, middle, high = (term.value(float(np.quantile(preferred, q))) for q in (0.05, 0.5, 0.95))
    change = f"{_figure(before)} → {_figure(middle)} {kind.unit}"
    if term.scale == "log":
        change = f"{round(100 * (middle / before - 1)):+d} % ({change})"
    return [
        f"{_capital(kind.words)} {change}, 90 % interval {_figure(low)} to {_figure(high)}{_because(kind, judged)}."
    ]


def _axis(kind: LearnableDraw, own: Array) -> list[str]:
    mean = own.mean(axis=0)
    strength = float(np.hypot(*mean))
    if strength < _LEAST_AXIS or float(np.mean(own @ mean > 0)) < _AGREEMENT:
        return []
    axis = np.rad2deg(np.arctan2(mean[1], mean[0])) / 2
    off = (np.rad2deg(np.arctan2(own[:, 1], own[:, 0])) / 2 - axis + 90) % 180 - 90
    low, high = np.quantile(off, [0.05, 0.95]) + axis
    return [
        f"{_capital(kind.words)}: turns of about {axis % 180:.0f}{kind.unit} are preferred, 90 % interval "
        f"{low:.0f}{kind.unit} to {high:.0f}{kind.unit}."
    ]


def _choices(
    term: Term,
    kind: LearnableDraw,
    own: Array,
    learnable: Sequence[LearnableDraw],
    judged: Sequence[ReviewedSample],
) -> list[str]:
    notes = []
    relative = own - own.mean(axis=1, keepdims=True)
    for number, choice in enumerate(term.choices):
        if float(np.mean(relative[:, number] < 0)) < _AGREEMENT:
            continue
        used = [sample for sample in judged if any(each.get(term.name) == choice for each in drawn(learnable, sample))]
        bad = sum(sample.verdict.opinion is Opinion.BAD for sample in used)
        if not bad:
            continue
        notes.append(
            f"{_capital(kind.words)} {_shown(choice, term.name, judged)} is chosen less often: {bad} of "
            f"{counted(len(used), 'sample')} with it {by_number(bad, 'is', 'are')} bad."
        )
    return notes


def _because(kind: LearnableDraw, judged: Sequence[ReviewedSample]) -> str:
    """Return the counts of the reasons about a draw, such as ": 5 of 20 verdicts say “too small”"."""
    counts = {reason: _count(reason, judged) for reason in kind.reasons}
    given = sorted((reason for reason in counts if counts[reason]), key=lambda reason: (-counts[reason], reason.value))
    if not given:
        return ""
    first, *others = given
    more = [f"{counts[reason]} {by_number(counts[reason], 'says', 'say')} “{reason.value}”" for reason in others]
    return ": " + " and ".join(
        [
            f"{counts[first]} of {counted(len(judged), 'verdict')} {by_number(counts[first], 'says', 'say')} "
            f"“{first.value}”",
            *more,
        ]
    )


def _count(reason: Reason, judged: Sequence[ReviewedSample]) -> int:
    return sum(s.verdict.opinion is Opinion.BAD and reason in s.verdict.reasons for s in judged)


def _shown(choice: str, name: str, judged: Sequence[ReviewedSample]) -> str:
    """Return the text for a choice: the photo and the box of a concept, any other choice in quotation marks."""
    if name == "concept":
        for sample in judged:
            for instance in sample.trace.instances:
                if instance.concept is not None and instance.concept.key == choice:
                    region = choice.rpartition(":")[2]
                    box = f", box {int(region) + 1}" if region.isdecimal() else ""
                    return f"{instance.concept.name}{box}"
    return f"“{choice}”"


def _capital(words: str) -> str:
    return words[0].upper() + words[1:]


def _figure(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.0f}"
