"""The methods that ``scripts/bench learn`` compares: what each shows in a round, and what it learns from the verdicts.

“none” keeps the settings. “datagen” is the product's refinement. “former refine” moves settings by fixed steps from
counted reasons and reweighs concepts, blends and shapes, as this product did before it learned a posterior. “random
search”, “TPE” and “GP” choose six settings by Optuna's samplers: a round shows five choices with four samples each, the
first one is the defaults, and the choice with the most good verdicts so far is kept. The models of a pack are fitted
once, with the default strictness of places, so that the former refinement cannot change where places are allowed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

import optuna
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler

from datagen.domain.spec import Json
from datagen.domain.verdict import Opinion, Reason
from datagen.learning.refinement import refine_for
from datagen.synthesis.composite.engine import CompositeEngine
from datagen.synthesis.composite.parameters import RANGES, CompositeParameters
from datagen.synthesis.engine import ReviewedSample

optuna.logging.set_verbosity(optuna.logging.WARNING)
Settings = dict[str, Json]
#: Settings that a search tries in a round, and those that it tries before it learns from their verdicts.
_TRIED, _STARTUP = 5, 5
#: Settings that a search chooses: the smallest and largest value, and whether it is drawn by ratio.
_SEARCHED = {
    "size_factor": (0.4, 2.5, True),
    "contrast": (0.4, 2.5, True),
    "edge_softness": (0.3, 3.0, True),
    "min_contrast": (0.5, 10.0, True),
    "context_strictness": (0.0, 1.0, False),
    "direction_spread": (0.0, 1.0, False),
}
#: Of the former refinement: the largest factor and step of a round, verdicts needed for a change, those credited to a
#: weight in advance, and its lower bound.
_FACTOR, _STEP, _NEEDED, _CREDIT, _LEAST_WEIGHT = 1.5, 0.4, 2, 2.0, 0.05
#: Largest chance by which a weight falls (one-sided hypergeometric test).
_CHANCE = 0.1


class Method(Protocol):
    """A method within one simulated study."""

    def shown(self) -> list[Settings]:
        """Return the settings of the next round's samples, which they share evenly."""
        ...

    def learn(self, judged: list[list[ReviewedSample]]) -> Settings:
        """Return the settings to approve after the round; ``judged`` are its samples for each setting shown."""
        ...


class _None:
    def shown(self) -> list[Settings]:
        return [{}]

    def learn(self, judged: list[list[ReviewedSample]]) -> Settings:  # noqa: ARG002 (part of the protocol)
        return {}


class _Refinement:
    """The product's refinement."""

    def __init__(self) -> None:
        self._settings: Settings = {}
        self._rounds: list[list[ReviewedSample]] = []

    def shown(self) -> list[Settings]:
        return [self._settings]

    def learn(self, judged: list[list[ReviewedSample]]) -> Settings:
        self._rounds += judged
        self._settings = refine_for(CompositeEngine(), self._settings, self._rounds).parameters
        return self._settings


class _FormerRefinement:
    """Fixed steps from the counted reasons of the newest round, and weights of what occurs in bad samples."""

    def __init__(self) -> None:
        self._settings: Settings = {}

    def shown(self) -> list[Settings]:
        return [self._settings]

    def learn(self, judged: list[list[ReviewedSample]]) -> Settings:
        newest = judged[0]
        counts = Counter(r for s in newest if s.verdict.opinion is Opinion.BAD for r in s.verdict.reasons)
        before = CompositeParameters.from_json(self._settings)

        def pull(more: Reason, less: Reason | None = None) -> float:
            net = counts[more] - (counts[less] if less else 0)
            return math.copysign(math.sqrt(abs(net) / len(newest)), net) if abs(net) >= _NEEDED else 0.0

        larger, stronger = pull(Reason.TOO_SMALL, Reason.TOO_LARGE), pull(Reason.INVISIBLE, Reason.TOO_STRONG)
        wanted = {
            "size_factor": before.size_factor * _FACTOR**larger,
            "contrast": before.contrast * _FACTOR**stronger,
            "min_contrast": before.min_contrast + 2 * pull(Reason.INVISIBLE),
            "place_strictness": before.place_strictness + _STEP * pull(Reason.WRONG_PLACE),
            "context_strictness": before.context_strictness + _STEP * pull(Reason.WRONG_PLACE),
            "direction_spread": before.direction_spread * (1 - 0.7 * pull(Reason.WRONG_DIRECTION)),
            "edge_softness": before.edge_softness + 2 * pull(Reason.EDGES_SHOW),
        }
        self._settings = {name: min(max(value, RANGES[name][0]), RANGES[name][1]) for name, value in wanted.items()}
        for draw, weights, against in (
            ("concept", before.concept_weights, {Reason.WRONG_LOOK, Reason.MASK_OFF}),
            (
                "blend",
                before.blend_weights,
                {Reason.WRONG_LOOK, Reason.EDGES_SHOW, Reason.INVISIBLE, Reason.TOO_STRONG},
            ),
            ("shape", before.shape_weights, {Reason.WRONG_LOOK}),
        ):
            self._settings[f"{draw}_weights"] = dict(_reweighed(newest, draw, weights, against))
        return self._settings


def _reweighed(
    judged: Sequence[ReviewedSample], draw: str, weights: dict[str, float], against: set[Reason]
) -> dict[str, float]:
    """Return the weights: less for what occurs in more bad samples than chance explains, more for what is good."""
    good, bad, total = Counter[str](), Counter[str](), Counter[bool]()
    for sample in judged:
        names = {str(i.draws[draw]) for i in sample.trace.instances if i.draws is not None and draw in i.draws}
        is_bad = sample.verdict.opinion is Opinion.BAD
        if is_bad and sample.verdict.reasons and not sample.verdict.reasons & against:
            continue
        (bad if is_bad else good).update(names)
        total[is_bad] += 1
    new = dict(weights)
    for name in sorted(good.keys() | bad.keys()):
        old, drawn = weights.get(name, 1.0), good[name] + bad[name]
        ways = sum(
            math.comb(total[True], k) * math.comb(total[False], drawn - k)
            for k in range(bad[name], min(drawn, total[True]) + 1)
        )
        if bad[name] >= _NEEDED and ways / math.comb(total.total(), drawn) <= _CHANCE:
            new[name] = max(old * (_CREDIT + good[name]) / (_CREDIT + drawn), min(old, _LEAST_WEIGHT))
        elif not bad[name] and good[name] >= _NEEDED:
            new[name] = min(max(old, 1.0), old * (1 + good[name] / (good[name] + _CREDIT)))
    return new


class _Search:
    """A search over settings: the share of good verdicts is maximized, and no verdict teaches more than its setting."""

    def __init__(self, sampler: BaseSampler) -> None:
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        self._study.enqueue_trial({name: getattr(CompositeParameters(), name) for name in _SEARCHED})
        self._tried: list[optuna.Trial] = []

    def shown(self) -> list[Settings]:
        self._tried = [self._study.ask() for _ in range(_TRIED)]
        return [
            {name: trial.suggest_float(name, low, high, log=log) for name, (low, high, log) in _SEARCHED.items()}
            for trial in self._tried
        ]

    def learn(self, judged: list[list[ReviewedSample]]) -> Settings:
        for trial, samples in zip(self._tried, judged, strict=True):
            good = sum(sample.verdict.opinion is Opinion.GOOD for sample in samples)
            self._study.tell(trial, good / max(len(samples), 1))
        # of the best settings, the newest: later ones were chosen by more verdicts
        best = max(self._study.get_trials(deepcopy=False), key=lambda trial: (trial.value, trial.number))
        return dict(best.params)


def _random_search(seed: int) -> Method:
    return _Search(RandomSampler(seed=seed))


def _tpe(seed: int) -> Method:
    return _Search(TPESampler(seed=seed, n_startup_trials=_STARTUP, multivariate=True))


def _gp(seed: int) -> Method:
    return _Search(GPSampler(seed=seed, n_startup_trials=_STARTUP))


#: Name of a method → what returns it for a seed.
METHODS: dict[str, Callable[[int], Method]] = {
    "none": lambda _seed: _None(),
    "random search": _random_search,
    "TPE": _tpe,
    "GP": _gp,
    "former refine": lambda _seed: _FormerRefinement(),
    "datagen": lambda _seed: _Refinement(),
}
