"""Judged samples with draws of their own, and reviewers with a hidden standard, for tests of what verdicts teach."""

from __future__ import annotations

import numpy as np

from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.synthesis.engine import ReviewedSample

CONCEPTS = tuple(f"{letter}000:0" for letter in "abcdef")


def drawn_samples(count, seed=0, instances=1):
    """Traces whose instances draw size, contrast, place, angle and concept independently of each other."""
    chance = np.random.default_rng(seed)
    return [Trace(instances=tuple(_instance(chance) for _ in range(instances))) for _ in range(count)]


def _instance(chance):
    concept = CONCEPTS[int(chance.integers(len(CONCEPTS)))]
    return InstanceTrace(
        concept=ConceptChoice(key=concept, name=f"{concept[0]}.png"),
        draws={
            "size": float(np.exp(chance.normal(0, 0.3))),
            "contrast": float(np.exp(chance.normal(0, 0.15))),
            "x": float(chance.random()),
            "y": float(chance.random()),
            "angle": float(chance.uniform(0, 180)),
            "concept": concept,
        },
    )


def reviewed_by(standard, traces, reason=None, flips=0.0, seed=0):
    """Each trace judged good if all of its instances' draws meet the standard; a share of the verdicts is flipped."""
    chance = np.random.default_rng(seed)
    judged = []
    for trace in traces:
        good = all(standard(instance.draws) for instance in trace.instances) != (chance.random() < flips)
        reasons = frozenset() if good or reason is None else frozenset({reason})
        verdict = Verdict(opinion=Opinion.GOOD if good else Opinion.BAD, reasons=reasons)
        judged.append(ReviewedSample(trace=trace, verdict=verdict))
    return judged


def small_enough(draws):
    """The standard of a reviewer who says “too large” of the rest."""
    return draws["size"] < 0.9


TOO_LARGE = Reason.TOO_LARGE
