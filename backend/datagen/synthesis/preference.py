"""The learned model of what reviewers accept, as data in a version's parameters, and the probability that it gives.

It is a probit model: an instance with the features x is acceptable with the probability Φ(w·x), and the posterior of
the weights w is a normal distribution. ``learning.posterior`` fits it. The predictive probability is
Φ(m·x / √(1 + x·C·x)) with the mean m and the covariance C: what is not known has a probability near 1/2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from datagen.domain.trace import Draws
from datagen.synthesis.learnable import LearnableDraw, Scale

Array = npt.NDArray[np.float64]
#: Standardized numbers are limited to this: one far value must not decide about all others.
_LARGEST = 5.0
#: Divisor of the squared terms, and factor of the circular ones: for a standard normal number, and for an even angle,
#: each feature then has a variance of about 1.
_SQUARE, _TURN = 2**0.5, 2**0.5


class _Data(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Term(_Data):
    """The features of one draw: a number and its square, the cosine and sine of twice an angle, or an effect a choice.

    A number is standardized by ``centre`` and ``spread``, on the scale "log" its natural logarithm is. ``choices`` are
    the names that were judged; another name has no effect.
    """

    name: str
    scale: Scale
    centre: float = 0.0
    spread: float = Field(1.0, gt=0.0)
    choices: list[str] = []
    #: the number that this one is proportional to, and the logarithm of their usual ratio, in all and by concept
    follows: str = ""
    usual_ratio: float = 0.0
    ratios: dict[str, float] = {}

    @property
    def width(self) -> int:
        """The number of features."""
        return len(self.choices) if self.scale == "category" else 2

    def standardized(self, value: float) -> float:
        """Return a number as multiples of the spread from the centre."""
        on_scale = math.log(max(value, 1e-6)) if self.scale == "log" else value
        return min(max((on_scale - self.centre) / self.spread, -_LARGEST), _LARGEST)

    def value(self, standardized: float) -> float:
        """Return the number of a standardized one."""
        on_scale = self.centre + standardized * self.spread
        return math.exp(on_scale) if self.scale == "log" else on_scale

    def features(self, draws: Draws) -> list[float]:
        """Return the features [width] of an instance; zeros if it has no such draw and none can be expected."""
        value = draws.get(self.name)
        if self.scale == "category":
            return [float(choice == value) for choice in self.choices]
        if value is None and self.follows:
            value = self._expected(draws)
        if not isinstance(value, int | float):
            return [0.0, 0.0]
        if self.scale == "circular":
            angle = math.radians(2 * value)
            return [_TURN * math.cos(angle), _TURN * math.sin(angle)]
        z = self.standardized(value)
        return [z, (z * z - 1) / _SQUARE]

    def slope(self, value: float) -> list[float]:
        """Return the derivative of a number's features by its standardized value."""
        return [1.0, 2 * self.standardized(value) / _SQUARE]

    def _expected(self, draws: Draws) -> float | None:
        base = draws.get(self.follows)
        if not isinstance(base, int | float):
            return None
        return float(base) * math.exp(self.ratios.get(str(draws.get("concept")), self.usual_ratio))


class Preference(_Data):
    """The posterior of the weights, in the order: the constant, then the features of each term."""

    terms: list[Term]
    #: [d]
    mean: list[float]
    #: the lower triangle of the covariance [d, d], row by row
    covariance: list[float]
    #: number of verdicts that it was learned from
    verdicts: int = Field(ge=1)

    @model_validator(mode="after")
    def _sizes_agree(self) -> Self:
        size = 1 + sum(term.width for term in self.terms)
        if len(self.mean) != size or len(self.covariance) != size * (size + 1) // 2:
            raise ValueError(
                f"parameter “preference”: the sizes of “mean” ({len(self.mean)}) and “covariance” "
                f"({len(self.covariance)}) must be {size} and {size * (size + 1) // 2}; use it as a version's "
                "specification shows it, or leave it out"
            )
        return self

    def features(self, draws: Sequence[Draws]) -> Array:
        """Return the features [n, d] of instances."""
        return features_of(self.terms, draws)

    def scores(self, draws: Sequence[Draws]) -> Array:
        """Return the predictive score [n] of instances: each is acceptable with the probability Φ(score)."""
        x = self.features(draws)
        variance = np.maximum(np.einsum("nd,de,ne->n", x, self.matrix, x), 0.0)
        return np.asarray(x @ self.weights / np.sqrt(1 + variance))

    @cached_property
    def weights(self) -> Array:
        """The mean of the weights [d]."""
        return np.array(self.mean)

    @cached_property
    def matrix(self) -> Array:
        """The covariance of the weights [d, d]."""
        size = len(self.mean)
        matrix = np.zeros((size, size))
        matrix[np.tril_indices(size)] = self.covariance
        return np.asarray(matrix + np.tril(matrix, -1).T)


def features_of(terms: Sequence[Term], draws: Sequence[Draws]) -> Array:
    """Return the features [n, d] of instances: the constant 1, then those of each term."""
    return np.array([[1.0, *(x for term in terms for x in term.features(each))] for each in draws]).reshape(
        len(draws), 1 + sum(term.width for term in terms)
    )


def normal_cdf(x: Array) -> Array:
    """Return Φ(x) [n], the share of a standard normal distribution below each number."""
    return np.array([0.5 * math.erfc(-value / 2**0.5) for value in x.tolist()])


def terms_for(learnable: Sequence[LearnableDraw], draws: Sequence[Draws], max_choices: int) -> list[Term]:
    """Return the terms of the learnable draws that occur in ``draws``, standardized by them.

    Of a category, the ``max_choices`` names that occur most often have an effect.
    """
    terms = []
    for kind in learnable:
        values = [each[kind.name] for each in draws if kind.name in each]
        if kind.scale == "category":
            names = [value for value in values if isinstance(value, str)]
            counts: Mapping[str, int] = {name: names.count(name) for name in sorted(set(names))}
            common = sorted(counts, key=lambda name: (-counts[name], name))[:max_choices]
            if len(common) > 1:
                terms.append(Term(name=kind.name, scale=kind.scale, choices=sorted(common)))
            continue
        numbers = np.array([value for value in values if isinstance(value, int | float)], np.float64)
        if not len(numbers):
            continue
        if kind.scale == "circular":
            terms.append(Term(name=kind.name, scale=kind.scale))
            continue
        on_scale = np.log(np.maximum(numbers, 1e-6)) if kind.scale == "log" else numbers
        spread = float(np.clip(on_scale.std(), kind.spread / 2, kind.spread * 2))
        term = Term(name=kind.name, scale=kind.scale, centre=round(float(on_scale.mean()), 5), spread=round(spread, 5))
        terms.append(_with_usual_ratio(term, kind.follows, draws) if kind.follows else term)
    return terms


def _with_usual_ratio(term: Term, follows: str, draws: Sequence[Draws]) -> Term:
    """Return the term of a number with the logarithm of its usual ratio to the one that it follows."""
    logs: dict[str, list[float]] = {}
    for each in draws:
        value, base = each.get(term.name), each.get(follows)
        if isinstance(value, int | float) and isinstance(base, int | float) and value > 0 and base > 0:
            logs.setdefault(str(each.get("concept")), []).append(math.log(value / base))
    if not logs:
        return term
    usual = float(np.mean([value for values in logs.values() for value in values]))
    # one more value at the usual ratio: a concept that was seen once is not known well
    ratios = {key: round((sum(values) + usual) / (len(values) + 1), 4) for key, values in sorted(logs.items())}
    return term.model_copy(update={"follows": follows, "usual_ratio": round(usual, 4), "ratios": ratios})
