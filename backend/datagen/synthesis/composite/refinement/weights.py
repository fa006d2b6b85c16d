"""The weights of concepts, blends and kinds of shapes, by the verdicts on the samples that used them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from datagen.domain.verdict import Opinion, Reason
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.refinement.evidence import MIN_VERDICTS, used_names
from datagen.synthesis.engine import ReviewedSample

#: A concept, blend or shape loses weight only if the verdicts against it would be this rare by chance, were they spread
#: evenly over all samples of the round (one-sided hypergeometric test).
_LARGEST_CHANCE = 0.1
#: Good verdicts credited to each of them in advance, so that a single bad verdict does not decide.
_CREDIT = 2.0
#: Lower bound of a weight reduced by verdicts: a later round must be able to raise it again.
_MIN_WEIGHT = 0.05
#: Smallest relative change of a weight that is applied and reported.
_SMALLEST_CHANGE = 0.05

#: Reasons against the concept used, the blend, and the kind of shape; a bad verdict without reasons counts against all.
_AGAINST_CONCEPT = frozenset({Reason.WRONG_LOOK, Reason.MASK_OFF})
_AGAINST_BLEND = frozenset({Reason.WRONG_LOOK, Reason.EDGES_SHOW, Reason.INVISIBLE, Reason.TOO_STRONG})
_AGAINST_SHAPE = frozenset({Reason.WRONG_LOOK})


@dataclass(slots=True)
class _Uses:
    """The verdicts for and against each concept, blend or kind of shape, and those of the whole round."""

    names: dict[str, str] = field(default_factory=dict)
    good: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    all_good: int = 0
    all_bad: int = 0

    def stands_out(self, key: str) -> bool:
        """Return whether enough verdicts are against it, and more than chance would put on it."""
        return self.bad[key] >= MIN_VERDICTS and self._chance(key) <= _LARGEST_CHANCE

    def evidence(self, key: str) -> str:
        """Return a sentence part such as "3 of 4 verdicts on it speak against it, and 1 of the other 16"."""
        count = self.bad[key] + self.good[key]
        others = self.all_bad + self.all_good - count
        compared = f", and {self.all_bad - self.bad[key]} of the other {others}" if others else ""
        verb = by_number(self.bad[key], "speaks", "speak")
        return f"{self.bad[key]} of {counted(count, 'verdict')} on it {verb} against it{compared}"

    def _chance(self, key: str) -> float:
        """Return the probability of as many verdicts against it or more, if they fell on the samples at random."""
        drawn = self.bad[key] + self.good[key]
        ways = sum(
            math.comb(self.all_bad, bad) * math.comb(self.all_good, drawn - bad)
            for bad in range(self.bad[key], min(drawn, self.all_bad) + 1)
        )
        return ways / math.comb(self.all_bad + self.all_good, drawn)


def reweigh(p: CompositeParameters, judged: Sequence[ReviewedSample]) -> tuple[CompositeParameters, list[str]]:
    """Change the weights of concepts, blends and kinds of shapes by the share of their verdicts that are good.

    A weight falls where the verdicts against it stand out from the others of the round, and rises again, up to the full
    weight, with good verdicts alone.
    """
    notes: list[str] = []
    tables = (
        ("concept", "Concept", _AGAINST_CONCEPT, dict(p.concept_weights)),
        ("blend", "Blending", _AGAINST_BLEND, dict(p.blend_weights)),
        ("shape", "Shape", _AGAINST_SHAPE, dict(p.shape_weights)),
    )
    for step, word, reasons_against, weights in tables:
        uses = _uses(judged, step, reasons_against)
        for key in sorted(uses.names):
            old, good, bad = weights.get(key, 1.0), uses.good[key], uses.bad[key]
            if uses.stands_out(key):
                new = old * (_CREDIT + good) / (_CREDIT + good + bad)
            elif not bad and good >= MIN_VERDICTS:
                new = min(max(old, 1.0), old * (1 + good / (good + _CREDIT)))
            else:
                continue
            new = round(max(new, min(old, _MIN_WEIGHT)), 3)
            if abs(new - old) <= _SMALLEST_CHANGE * old:
                continue
            weights[key] = new
            notes.append(
                f"{word} {uses.names[key]} is used {'less' if new < old else 'more'} often (weight {old:.2f} → "
                f"{new:.2f}), because {uses.evidence(key)}."
            )
        p = p.model_copy(update={f"{step}_weights": weights})
    return p, notes or _against_none(judged)


def _uses(judged: Sequence[ReviewedSample], step: str, reasons_against: Collection[Reason]) -> _Uses:
    """Count the verdicts by what their samples used at a step; a bad verdict without reasons is against all of it."""
    uses = _Uses()
    for sample in judged:
        names = used_names(sample, step)
        uses.names |= names
        if sample.verdict.opinion is Opinion.GOOD:
            uses.good.update(names.keys())
            uses.all_good += 1
        elif not sample.verdict.reasons or sample.verdict.reasons.intersection(reasons_against):
            uses.bad.update(names.keys())
            uses.all_bad += 1
    return uses


def _against_none(judged: Sequence[ReviewedSample]) -> list[str]:
    """Return a sentence about “does not look like it”, which changes weights alone, where no weight changed."""
    count = sum(
        1 for sample in judged if sample.verdict.opinion is Opinion.BAD and Reason.WRONG_LOOK in sample.verdict.reasons
    )
    if not count:
        return []
    return [
        f"No concept, blending or shape is used less often although {counted(count, 'verdict')} "
        f"{by_number(count, 'says', 'say')} “{Reason.WRONG_LOOK.value}”: at least {MIN_VERDICTS} have to be "
        "against the same one, and clearly more than against the others. If all look wrong, add other concept photos "
        "and build a preview."
    ]
