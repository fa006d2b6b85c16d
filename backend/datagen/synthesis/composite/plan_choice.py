"""The choice of plans that reviewers are expected to accept, by the preference learned from their verdicts.

Plans are drawn as without a preference, and each is accepted with a probability that rises steeply with its predicted
acceptability. The first accepted plan is taken, so that accepted ones keep their proportions: what is not shown to be
bad is not dropped. If none of the first ``_NEAR`` plans is accepted, further ones are drawn from farther and farther
away: draws shift no further than needed, and what the learned values hardly ever reach is reached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datagen.domain.trace import Draws
from datagen.synthesis.composite.instance_plan import InstancePlan, PlacementCanvas, PlacementTask, PlanSource
from datagen.synthesis.composite.instance_plan import QuasiRandomDraws as Even
from datagen.synthesis.preference import Preference, normal_cdf

#: Plans drawn about the learned values, those drawn from farther away, and the widening of the last one.
_NEAR, _FAR, _WIDEST = 24, 72, 4.0
#: Numbers of plans that are scored together, so that few are drawn where most are accepted.
_CHUNKS = (1, 7, 16, 24, 48)
#: Steepness of the acceptance by the predicted acceptability, in probits.
_STEEPNESS = 4.0
#: Wanted mean probability of accepted plans, relative to that of the best ones: what is hardly known to be better is
#: not worth variety.
_WANTED = 0.97
#: Share of the plans that are the best ones.
_BEST = 0.03
#: Smallest share of the plans about the learned values, and of all, that stays accepted: a floor on variety.
_LEAST_NEAR, _LEAST = 0.12, 0.03
#: Largest threshold: the score of a probability of 0.97.
_LARGEST_THRESHOLD = 1.88
assert sum(_CHUNKS) == _NEAR + _FAR


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenPlan:
    """A plan; ``at`` is the acceptance that it needs, in 0..1: 0 if it is taken in any case.

    ``is_accepted`` is false if no plan was accepted and this is the most acceptable one.
    """

    plan: InstancePlan
    at: float
    is_accepted: bool = True


class PlanChoice:
    """Chooses plans for instances of one label."""

    def __init__(self, source: PlanSource, preference: Preference | None, pool: Sequence[PlacementTask]) -> None:
        """Create the choice.

        Args:
            source: draws the plans.
            preference: what was learned; None takes every plan.
            pool: instances on some backgrounds, from whose plans the threshold is computed.
        """
        self._source, self._preference = source, preference
        self._threshold = 0.0
        if preference is not None and pool:
            near = [source.draw(task, _random(task), scheduled=True, faithful=True) for task in pool]
            far = [
                source.draw(task, _random(task), scheduled=True, faithful=True, widening=widening)
                for task, widening in zip(pool, np.resize(_widenings(), len(pool)).tolist(), strict=True)
            ]
            grounds = [task.near for task in pool]
            self._threshold = acceptance_threshold(
                preference.scores([plan.draws(ground) for plan, ground in zip(near, grounds, strict=True)]),
                preference.scores([plan.draws(ground) for plan, ground in zip(far, grounds, strict=True)]),
            )

    def choose(self, task: PlacementTask, ground: PlacementCanvas, *, scheduled: bool, faithful: bool) -> ChosenPlan:
        """Return the plan of an attempt.

        Args:
            task: the instance to place.
            ground: the target of the attempt.
            scheduled: whether the first plan has the place and blend of the task's draws.
            faithful: whether it has their concept.
        """
        first = self._source.draw(task, task.draws, scheduled=scheduled, faithful=faithful)
        if self._preference is None:
            return ChosenPlan(plan=first, at=0.0)
        widenings, plans = _widenings(), [first]
        scores: list[float] = []
        for count in _CHUNKS:
            start = len(scores)
            plans += [
                self._source.draw(task, _random(task), scheduled=True, faithful=True, widening=float(widening))
                for widening in widenings[len(plans) : start + count]
            ]
            accepted = self._acceptance([plan.draws(ground) for plan in plans[start:]])
            at = task.chance.random(count)
            scores += accepted.tolist()
            if len(taken := np.flatnonzero(at < accepted)):
                return ChosenPlan(plan=plans[start + taken[0]], at=float(at[taken[0]]))
        return ChosenPlan(plan=plans[int(np.argmax(scores))], at=0.0, is_accepted=False)

    def acceptance(self, draws: Draws | None) -> float:
        """Return the probability with which a placed instance is accepted."""
        if self._preference is None or draws is None:
            return 1.0
        return float(self._acceptance([draws])[0])

    def _acceptance(self, draws: Sequence[Draws]) -> npt.NDArray[np.float64]:
        assert self._preference is not None
        return acceptance(self._preference.scores(draws), self._threshold)


def acceptance(scores: npt.NDArray[np.float64], threshold: float) -> npt.NDArray[np.float64]:
    """Return the probability [n] with which what has these predicted scores is accepted."""
    return normal_cdf(_STEEPNESS * (scores - threshold))


def _widenings() -> npt.NDArray[np.float64]:
    return np.concatenate([np.ones(_NEAR), np.linspace(1.0, _WIDEST, _FAR)])


def _random(task: PlacementTask) -> Even:
    concept, size, blend, place, photo = task.chance.random(5).tolist()
    return Even(concept=concept, size=size, blend=blend, place=place, photo=photo)


def acceptance_threshold(near: npt.NDArray[np.float64], far: npt.NDArray[np.float64]) -> float:
    """Return the score from which plans are accepted.

    It is the lowest one from which the plans about the learned values have the wanted mean probability; if fewer than
    the least share of them have it, that from which all plans have it, or the least share of them.
    """
    near, far = np.sort(near)[::-1], np.sort(far)[::-1]
    wanted = _WANTED * max(
        float(normal_cdf(scores[: max(1, round(_BEST * len(scores)))]).mean()) for scores in (near, far)
    )
    lowest, share = _accepted(near, wanted)
    if share < _LEAST_NEAR:
        lowest, _ = _accepted(far, wanted, _LEAST)
    return min(lowest, _LARGEST_THRESHOLD)


def _accepted(falling: npt.NDArray[np.float64], wanted: float, least: float = 0.0) -> tuple[float, float]:
    """Return the lowest score from which the mean probability is as wanted, and the share of the plans that have it.

    Args:
        falling: the plans' scores, the highest first.
        wanted: the mean probability.
        least: the share that is kept in any case.
    """
    means = np.cumsum(normal_cdf(falling)) / np.arange(1, len(falling) + 1)
    count = max(int(np.count_nonzero(means >= wanted)), int(least * len(falling)))
    return float(falling[min(count, len(falling) - 1)]), count / len(falling)
