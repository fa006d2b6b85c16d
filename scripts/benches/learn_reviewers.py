"""Simulated reviewers with hidden standards: each judges a sample by the draws in its trace.

A sample is good if every instance meets the standard. Thresholds are set by a pool of default samples, so that about a
stated share of them is good: a standard that all or no samples meet would measure nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from datagen.domain.trace import Draws, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict

#: What one demand on an instance's draws finds wrong; None for nothing.
Demand = Callable[[Draws], Reason | None]
#: Reasons that a reviewer ticks by mistake.
_REASONS = tuple(Reason)
#: Half the width in degrees of the directions that an axis accepts.
_AXIS_DEGREES = 36.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """A reviewer with a hidden standard; ``flips`` is the share of verdicts that are the opposite of it."""

    demands: tuple[Demand, ...]
    flips: float = 0.0
    gives_reasons: bool = True

    def accepts(self, trace: Trace) -> bool:
        """Return whether a sample meets the standard."""
        return not self._faults(trace)

    def judge(self, trace: Trace, chance: np.random.Generator) -> Verdict:
        """Return the reviewer's verdict on a sample; a mistaken “bad” has a random reason."""
        faults = self._faults(trace)
        bad = bool(faults)
        if chance.random() < self.flips:
            bad = not bad
            faults = {_REASONS[int(chance.integers(len(_REASONS)))]} if bad else set()
        return Verdict(
            opinion=Opinion.BAD if bad else Opinion.GOOD,
            reasons=frozenset(faults if bad and self.gives_reasons else ()),
        )

    def _faults(self, trace: Trace) -> set[Reason]:
        draws = [instance.draws for instance in trace.instances if instance.draws is not None]
        return {fault for each in draws for demand in self.demands if (fault := demand(each)) is not None}


def standards(pool: Sequence[Trace]) -> dict[str, tuple[Demand, ...]]:
    """Return the demands of each standard, with thresholds for the pool."""

    def at_least(name: str, reason: Reason, share: float) -> Demand:
        low = _threshold(pool, name, share, 1)
        return lambda draws: reason if _number(draws, name, low) < low else None

    def at_most(name: str, reason: Reason, share: float) -> Demand:
        high = _threshold(pool, name, share, -1)
        return lambda draws: reason if _number(draws, name, high) > high else None

    ugly = _common_concepts(pool)
    axis = _axis(pool)
    return {
        "larger": (at_least("size", Reason.TOO_SMALL, 0.4),),
        "smaller": (at_most("size", Reason.TOO_LARGE, 0.4),),
        "much larger": (at_least("scale", Reason.TOO_SMALL, 0.1),),
        "size band": (at_least("scale", Reason.TOO_SMALL, 0.7), at_most("scale", Reason.TOO_LARGE, 0.7)),
        "visible": (at_least("measured_contrast", Reason.INVISIBLE, 0.15),),
        "faint": (at_most("measured_contrast", Reason.TOO_STRONG, 0.35),),
        "left half": (lambda draws: Reason.WRONG_PLACE if _number(draws, "x", 0.0) > 0.5 else None,),
        "axis": (lambda draws: Reason.WRONG_DIRECTION if _off_axis(draws, axis) > _AXIS_DEGREES else None,),
        "seam": (at_least("softness", Reason.EDGES_SHOW, 0.3),),
        "crisp": (at_most("softness", Reason.WRONG_LOOK, 0.35),),
        "two ugly concepts": (lambda draws: Reason.WRONG_LOOK if draws.get("concept") in ugly else None,),
        "near the rim": (at_most("rim_distance", Reason.WRONG_PLACE, 0.45),),
        "away from the rim": (at_least("rim_distance", Reason.WRONG_PLACE, 0.45),),
        "four mild": (
            at_least("size", Reason.TOO_SMALL, 0.8),
            at_least("measured_contrast", Reason.INVISIBLE, 0.8),
            at_least("softness", Reason.EDGES_SHOW, 0.8),
            lambda draws: Reason.WRONG_PLACE if _number(draws, "x", 0.0) > 0.8 else None,
        ),
    }


def _number(draws: Draws, name: str, otherwise: float) -> float:
    value = draws.get(name)
    return float(value) if isinstance(value, int | float) else otherwise


def _off_axis(draws: Draws, axis: float) -> float:
    return abs((_number(draws, "angle", axis) - axis + 90) % 180 - 90)


def _threshold(pool: Sequence[Trace], name: str, share: float, side: int) -> float:
    """Return the threshold by which about ``share`` of the pool's samples are good; ``side`` 1: the smallest number."""
    worst = [
        min(side * _number(instance.draws, name, 0.0) for instance in trace.instances if instance.draws is not None)
        for trace in pool
    ]
    return side * float(np.quantile(worst, 1 - share))


def _common_concepts(pool: Sequence[Trace]) -> set[str]:
    """Return two concepts: the third and the fifth of those that the pool uses, by their keys."""
    keys = sorted({str(i.draws["concept"]) for trace in pool for i in trace.instances if i.draws is not None})
    return {keys[2 % len(keys)], keys[4 % len(keys)]}


def _axis(pool: Sequence[Trace]) -> float:
    """Return the axis of which the share of good samples is nearest to 0.4."""

    def share(axis: float) -> float:
        good = [
            all(_off_axis(i.draws, axis) <= _AXIS_DEGREES for i in trace.instances if i.draws is not None)
            for trace in pool
        ]
        return float(np.mean(good))

    return min((15.0 + 30 * step for step in range(6)), key=lambda axis: abs(share(axis) - 0.4))
