"""Verdicts become the next spec's parameters: what reviewers said of a round, turned into what the engine does.

A pure function of the parameters and the judged samples. Every change comes with a sentence that names what changes,
from what to what, and how many verdicts are behind it. Comments are for people: nothing is read out of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datagen.domain.spec import Json
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.parameters import RANGES, CompositeParameters

#: The largest step one round may cause, when every verdict asks for it: sizes by half, contrasts likewise.
_LARGEST_FACTOR = 1.5
#: … and for values between 0 and 1.
_LARGEST_STEP = 0.4
#: Verdicts a concept or blend is credited with before anyone judged it: two goods, so that one bad is no verdict.
_CREDIT = 2.0
#: No verdicts make a weight smaller than this: a later round must be able to bring it back.
_LEAST_WEIGHT = 0.05
#: A weight is said to have changed when it did by more than this share.
_WORTH_SAYING = 0.05

#: Reasons that speak against the concept that was used, and against the blend; a bad verdict without reasons does both.
_AGAINST_CONCEPT = frozenset({Reason.WRONG_LOOK, Reason.MASK_OFF})
_AGAINST_BLEND = frozenset({Reason.WRONG_LOOK, Reason.EDGES_SHOW, Reason.INVISIBLE, Reason.TOO_STRONG})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedSample:
    """A verdict beside what the engine decided for the sample (``Provenance.steps``)."""

    steps: Mapping[str, Json]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The next spec's parameters and, for people, what changes and why."""

    parameters: dict[str, Json]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Tally:
    """How often each reason was given in bad verdicts, and of how many verdicts."""

    reasons: Counter[Reason]
    verdicts: int

    def said(self, *reasons: Reason) -> str:
        """ "3 of 20 verdicts say “too small”"; "1 of 20 verdicts says “too small”"."""
        count = sum(self.reasons[r] for r in reasons)
        words = " or ".join(f"“{r.value}”" for r in reasons)
        return f"{count} of {counted(self.verdicts, 'verdict')} {by_number(count, 'says', 'say')} {words}"

    def pull(self, more: Reason, less: Reason | None = None) -> float:
        """From -1 to 1: how much the verdicts ask for more, or for less; few of many still count."""
        net = self.reasons[more] - (self.reasons[less] if less else 0)
        return math.copysign(math.sqrt(abs(net) / self.verdicts), net) if net else 0.0


_NOTHING_JUDGED = (
    "No preview was judged before this refinement: the parameters stay as they were, and the new round shows new "
    "samples."
)


def refine(
    parameters: Mapping[str, Json], judged: Sequence[ReviewedSample], ignored: Collection[str] = frozenset()
) -> Refinement:
    """The parameters of the child spec.

    Args:
        parameters: those of the judged spec.
        judged: its round's verdicts; may be empty.
        ignored: names of parameters that the engine does not go by: they stay, and that is said.

    Raises:
        EngineError: ``parameters`` are not the composite engine's.
    """
    before = CompositeParameters.from_json(parameters)
    after = replace(before, variety=(before.variety + 1) % int(RANGES["variety"][1]))
    bad = [j for j in judged if j.verdict.opinion is Opinion.BAD]
    if not judged:
        return Refinement(
            parameters=after.to_json(),
            notes=(_NOTHING_JUDGED,),
        )
    if not bad:
        after, notes = _reweigh(after, judged)
        every = f"All {counted(len(judged), 'verdict')} are good" if len(judged) > 1 else "The one verdict is good"
        return Refinement(
            parameters=after.to_json(),
            notes=(f"{every}: the look stays as it was, and the new round shows new samples.", *notes),
        )
    tally = _Tally(Counter(reason for j in bad for reason in j.verdict.reasons), len(judged))
    notes = []
    for turn in _TURNS:
        after, said = _turned(after, turn, tally, ignored)
        notes += said
    after, said = _other_mattes(after, judged)
    notes += said
    after, said = _reweigh(after, judged)
    notes += said
    if not notes:
        notes.append(
            f"{len(bad)} of {counted(len(judged), 'verdict')} {by_number(len(bad), 'is', 'are')} bad, but without a "
            "reason that changes a setting: the next round shows new samples with the same settings. Choose what is "
            "wrong with each bad one, and the next refinement acts on it."
        )
    return Refinement(parameters=after.to_json(), notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class _Turn:
    """A parameter, what verdicts make of it, and the reasons that speak for that.

    ``more`` and ``less`` say for people what the next round does where the parameter grows or shrinks.
    """

    name: str
    more: str
    less: str
    wanted: Callable[[CompositeParameters, _Tally], float]
    reasons: tuple[Reason, ...]


_TURNS = (
    _Turn(
        "size_factor",
        "The thing is made larger",
        "The thing is made smaller",
        lambda p, tally: p.size_factor * _LARGEST_FACTOR ** tally.pull(Reason.TOO_SMALL, Reason.TOO_LARGE),
        (Reason.TOO_SMALL, Reason.TOO_LARGE),
    ),
    _Turn(
        "contrast",
        "The thing is made to stand out more",
        "The thing is made to stand out less",
        lambda p, tally: p.contrast * _LARGEST_FACTOR ** tally.pull(Reason.INVISIBLE, Reason.TOO_STRONG),
        (Reason.INVISIBLE, Reason.TOO_STRONG),
    ),
    _Turn(
        "min_contrast",
        "The thing has to stand out more from what it lies on",
        "The thing may stand out less from what it lies on",
        lambda p, tally: p.min_contrast + 2 * max(0.0, tally.pull(Reason.INVISIBLE)),
        (Reason.INVISIBLE,),
    ),
    _Turn(
        "place_strictness",
        "Places have to lie more clearly inside the areas that the canvases show",
        "Places may lie further outside the areas that the canvases show",
        lambda p, tally: p.place_strictness + _LARGEST_STEP * tally.pull(Reason.WRONG_PLACE),
        (Reason.WRONG_PLACE,),
    ),
    _Turn(
        "context_strictness",
        "Places have to look more like the surroundings of the examples",
        "Places may look less like the surroundings of the examples",
        lambda p, tally: p.context_strictness + _LARGEST_STEP * tally.pull(Reason.WRONG_PLACE),
        (Reason.WRONG_PLACE,),
    ),
    _Turn(
        "direction_spread",
        "The thing is turned further from the direction of the examples",
        "The thing is turned less far from the direction of the examples",
        lambda p, tally: p.direction_spread * (1 - 0.7 * tally.pull(Reason.WRONG_DIRECTION)),
        (Reason.WRONG_DIRECTION,),
    ),
    _Turn(
        "edge_softness",
        "The edges of the thing are made softer",
        "The edges of the thing are made harder",
        lambda p, tally: p.edge_softness + 2 * tally.pull(Reason.EDGES_SHOW),
        (Reason.EDGES_SHOW,),
    ),
)


def _turned(
    p: CompositeParameters, turn: _Turn, tally: _Tally, ignored: Collection[str]
) -> tuple[CompositeParameters, list[str]]:
    """The parameters with one number moved within its range, and the sentence; nothing where nobody asked."""
    name, because = turn.name, tally.said(*turn.reasons)
    old, wanted = float(getattr(p, name)), turn.wanted(p, tally)
    if math.isclose(old, wanted, abs_tol=1e-9):
        return p, []
    words, asked = name.replace("_", " "), turn.more if wanted > old else turn.less
    if name in ignored:
        return p, [
            f"Nothing changes although {because}: this engine does not use the parameter {words}. Change the engine's "
            "own parameters (DATAGEN_ENGINE_PARAMETERS), and build a preview."
        ]
    low, high = RANGES[name]
    new = round(min(high, max(low, wanted)), 3)
    if new == old:
        return p, [
            f"Nothing more can be done although {because}: {words} stays at {old:.2f}, its limit. Other concept photos "
            "or canvases may help."
        ]
    changes: dict[str, Any] = {name: new}
    return replace(p, **changes), [f"{asked} ({words} {old:.2f} → {new:.2f}), because {because}."]


def _other_mattes(p: CompositeParameters, judged: Sequence[ReviewedSample]) -> tuple[CompositeParameters, list[str]]:
    """The next matte for every concept whose label was off more often than its samples were good."""
    off, good, names = Counter[str](), Counter[str](), dict[str, str]()
    for one in judged:
        for key, name in _used(one, "concept").items():
            names[key] = name
            if one.verdict.opinion is Opinion.GOOD:
                good[key] += 1
            elif Reason.MASK_OFF in one.verdict.reasons:
                off[key] += 1
    moved = [key for key in sorted(off) if off[key] > good[key]]
    if not moved:
        return p, []
    choices = {**p.matte_choices, **{key: p.matte_choices.get(key, 0) + 1 for key in moved}}
    notes = [
        f"Concept {names[key]} is cut out in another way, because {counted(off[key], 'verdict')} "
        f"{by_number(off[key], 'says', 'say')} “{Reason.MASK_OFF.value}” and {good[key]} "
        f"{by_number(good[key], 'is', 'are')} good. If its label is still off in the next round, draw its outline in "
        "the project Concepts and build a preview."
        for key in moved
    ]
    return replace(p, matte_choices=choices), notes


def _reweigh(p: CompositeParameters, judged: Sequence[ReviewedSample]) -> tuple[CompositeParameters, list[str]]:
    """Concepts and blends that were judged badly are used less often, by the share of their verdicts that are good."""
    notes: list[str] = []
    tables = (
        ("concept", "Concept", _AGAINST_CONCEPT, dict(p.concept_weights)),
        ("blend", "Blending", _AGAINST_BLEND, dict(p.blend_weights)),
    )
    for step, word, against, weights in tables:
        good, bad, names = Counter[str](), Counter[str](), dict[str, str]()
        for one in judged:
            used = _used(one, step)
            names |= used
            if one.verdict.opinion is Opinion.GOOD:
                good.update(used.keys())
            elif not one.verdict.reasons or one.verdict.reasons & against:
                bad.update(used.keys())
        for key in sorted(names):
            old = weights.get(key, 1.0)
            # goods win back what earlier rounds took, up to the full weight
            kept = (_CREDIT + good[key]) / (_CREDIT + good[key] + bad[key])
            new = old * kept if bad[key] else min(max(old, 1.0), old * (1 + good[key] / (good[key] + _CREDIT)))
            new = round(max(new, min(old, _LEAST_WEIGHT)), 3)
            if abs(new - old) <= _WORTH_SAYING * old:
                continue
            weights[key] = new
            notes.append(
                f"{word} {names[key]} is used {'less' if new < old else 'more'} often (weight {old:.2f} → {new:.2f}), "
                f"because {counted(bad[key], 'verdict')} {by_number(bad[key], 'speaks', 'speak')} against it, "
                f"{good[key]} for it."
            )
        p = replace(p, concept_weights=weights) if step == "concept" else replace(p, blend_weights=weights)
    return p, notes


def _used(one: ReviewedSample, step: str) -> dict[str, str]:
    """What a sample's instances used at a step: key → what people know it by."""
    instances = one.steps.get("instances")
    found: dict[str, str] = {}
    for instance in instances if isinstance(instances, list) else []:
        if isinstance(instance, Mapping) and isinstance(key := instance.get(step), str):
            name = instance.get(f"{step}_name", key)
            region = key.rpartition(":")[2]
            box = f", box {int(region) + 1}" if region.isdecimal() else ""
            found[key] = f"{name}{box}" if step == "concept" else f"“{name}”"
    return found
