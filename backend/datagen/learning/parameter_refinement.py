"""Derives the next spec's parameters from the verdicts on a preview round.

The result is a pure function of the parameters and the judged samples. Every change comes with a sentence that names
the parameter, its old and new value, and the number of verdicts for it. Comments are for people and are not evaluated.
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
from datagen.synthesis.composite.parameters import NAMES, RANGES, CompositeParameters
from datagen.synthesis.engine import Engine

#: Largest factor by which one round changes sizes and contrasts, reached when every verdict asks for it.
_LARGEST_FACTOR = 1.5
#: Largest step by which one round changes values between 0 and 1.
_LARGEST_STEP = 0.4
#: Good verdicts credited to every concept or blend in advance, so that a single bad verdict does not decide.
_CREDIT = 2.0
#: Lower bound of a weight reduced by verdicts: a later round must be able to raise it again.
_LEAST_WEIGHT = 0.05
#: Smallest relative change of a weight that is applied and reported.
_SMALLEST_CHANGE = 0.05

#: Reasons against the concept used, and against the blend; a bad verdict without reasons counts against both.
_AGAINST_CONCEPT = frozenset({Reason.WRONG_LOOK, Reason.MASK_OFF})
_AGAINST_BLEND = frozenset({Reason.WRONG_LOOK, Reason.EDGES_SHOW, Reason.INVISIBLE, Reason.TOO_STRONG})


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewedSample:
    """A verdict and the engine's decisions for the sample (``Provenance.steps``)."""

    steps: Mapping[str, Json]
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Refinement:
    """The next spec's parameters and, for people, the changes and their reasons."""

    parameters: dict[str, Json]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Tally:
    """The count of each reason in bad verdicts, and the number of all verdicts."""

    reasons: Counter[Reason]
    verdicts: int

    def said(self, *reasons: Reason) -> str:
        """Return a sentence part such as "3 of 20 verdicts say “too small”"."""
        count = sum(self.reasons[r] for r in reasons)
        words = " or ".join(f"“{r.value}”" for r in reasons)
        return f"{count} of {counted(self.verdicts, 'verdict')} {by_number(count, 'says', 'say')} {words}"

    def pull(self, more: Reason, less: Reason | None = None) -> float:
        """Return the demand for more (to 1) or less (to -1): the signed root of the net share of verdicts."""
        net = self.reasons[more] - (self.reasons[less] if less else 0)
        return math.copysign(math.sqrt(abs(net) / self.verdicts), net) if net else 0.0


_NOTHING_JUDGED = (
    "No preview was judged before this refinement: the parameters stay as they were, and the new round shows new "
    "samples."
)


def refine_for(engine: Engine, parameters: Mapping[str, Json], judged: Sequence[ReviewedSample]) -> Refinement:
    """Return the parameters of the child spec of any engine.

    Verdicts change the parameters that the engine shares with the composite engine; its own stay as they are.

    Args:
        engine: the engine of the judged spec.
        parameters: parameters of the judged spec.
        judged: reviewed samples of its round; may be empty.
    """
    shared = {name for name, key in (engine.parameter_keys or {}).items() if not key and name in NAMES}
    if not shared:
        note = (
            f"The engine “{engine.name}” has no setting that verdicts change: the next round shows new samples with "
            "the same settings."
        )
        return Refinement(parameters=dict(parameters), notes=(note,))
    own = {name: value for name, value in parameters.items() if name not in shared}
    given = {name: value for name, value in parameters.items() if name in shared}
    refined = refine(given, judged, engine.ignores(parameters))
    taken = {name: value for name, value in refined.parameters.items() if name in shared}
    return Refinement(parameters={**taken, **own}, notes=refined.notes)


def refine(
    parameters: Mapping[str, Json], judged: Sequence[ReviewedSample], ignored: Collection[str] = frozenset()
) -> Refinement:
    """Return the parameters of the child spec.

    Args:
        parameters: parameters of the judged spec.
        judged: reviewed samples of its round; may be empty.
        ignored: names of parameters that the engine ignores; they stay unchanged, and a note says so.

    Raises:
        EngineError: ``parameters`` are not the composite engine's.
    """
    before = CompositeParameters.from_json(parameters)
    after = replace(before, variety=(before.variety + 1) % int(RANGES["variety"][1]))
    bad = [sample for sample in judged if sample.verdict.opinion is Opinion.BAD]
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
    tally = _Tally(Counter(reason for sample in bad for reason in sample.verdict.reasons), len(judged))
    notes = []
    for adjustment in _ADJUSTMENTS:
        after, new_notes = _adjusted(after, adjustment, tally, ignored)
        notes += new_notes
    after, new_notes = _next_mattes(after, judged)
    notes += new_notes
    after, new_notes = _reweigh(after, judged)
    notes += new_notes
    if not notes:
        notes.append(
            f"{len(bad)} of {counted(len(judged), 'verdict')} {by_number(len(bad), 'is', 'are')} bad, but without a "
            "reason that changes a setting: the next round shows new samples with the same settings. Choose what is "
            "wrong with each bad one, and the next refinement acts on it."
        )
    return Refinement(parameters=after.to_json(), notes=tuple(notes))


@dataclass(frozen=True, slots=True)
class _Adjustment:
    """A parameter, the function that computes its new value, and the reasons that this function evaluates.

    ``more`` and ``less`` are the sentences shown to users when the parameter grows or shrinks.
    """

    name: str
    more: str
    less: str
    wanted: Callable[[CompositeParameters, _Tally], float]
    reasons: tuple[Reason, ...]


_ADJUSTMENTS = (
    _Adjustment(
        "size_factor",
        "The thing is made larger",
        "The thing is made smaller",
        lambda p, tally: p.size_factor * _LARGEST_FACTOR ** tally.pull(Reason.TOO_SMALL, Reason.TOO_LARGE),
        (Reason.TOO_SMALL, Reason.TOO_LARGE),
    ),
    _Adjustment(
        "contrast",
        "The thing is made to stand out more",
        "The thing is made to stand out less",
        lambda p, tally: p.contrast * _LARGEST_FACTOR ** tally.pull(Reason.INVISIBLE, Reason.TOO_STRONG),
        (Reason.INVISIBLE, Reason.TOO_STRONG),
    ),
    _Adjustment(
        "min_contrast",
        "The thing has to stand out more from what it lies on",
        "The thing may stand out less from what it lies on",
        lambda p, tally: p.min_contrast + 2 * max(0.0, tally.pull(Reason.INVISIBLE)),
        (Reason.INVISIBLE,),
    ),
    _Adjustment(
        "place_strictness",
        "Places have to lie more clearly inside the areas that the canvases show",
        "Places may lie further outside the areas that the canvases show",
        lambda p, tally: p.place_strictness + _LARGEST_STEP * tally.pull(Reason.WRONG_PLACE),
        (Reason.WRONG_PLACE,),
    ),
    _Adjustment(
        "context_strictness",
        "Places have to look more like the surroundings of the examples",
        "Places may look less like the surroundings of the examples",
        lambda p, tally: p.context_strictness + _LARGEST_STEP * tally.pull(Reason.WRONG_PLACE),
        (Reason.WRONG_PLACE,),
    ),
    _Adjustment(
        "direction_spread",
        "The thing is turned further from the direction of the examples",
        "The thing is turned less far from the direction of the examples",
        lambda p, tally: p.direction_spread * (1 - 0.7 * tally.pull(Reason.WRONG_DIRECTION)),
        (Reason.WRONG_DIRECTION,),
    ),
    _Adjustment(
        "edge_softness",
        "The edges of the thing are made softer",
        "The edges of the thing are made harder",
        lambda p, tally: p.edge_softness + 2 * tally.pull(Reason.EDGES_SHOW),
        (Reason.EDGES_SHOW,),
    ),
)


def _adjusted(
    p: CompositeParameters, adjustment: _Adjustment, tally: _Tally, ignored: Collection[str]
) -> tuple[CompositeParameters, list[str]]:
    """Return the parameters with one value changed within its range, and a note; no note if no verdict asks for it."""
    name, because = adjustment.name, tally.said(*adjustment.reasons)
    old, wanted = float(getattr(p, name)), adjustment.wanted(p, tally)
    if math.isclose(old, wanted, abs_tol=1e-9):
        return p, []
    label, change = name.replace("_", " "), adjustment.more if wanted > old else adjustment.less
    if name in ignored:
        return p, [
            f"Nothing changes although {because}: this engine does not use the parameter {label}. Change the engine's "
            "own parameters (DATAGEN_ENGINE_PARAMETERS), and build a preview."
        ]
    low, high = RANGES[name]
    new = round(min(high, max(low, wanted)), 3)
    if new == old:
        return p, [
            f"Nothing more can be done although {because}: {label} stays at {old:.2f}, its limit. Other concept photos "
            "or canvases may help."
        ]
    changes: dict[str, Any] = {name: new}
    return replace(p, **changes), [f"{change} ({label} {old:.2f} → {new:.2f}), because {because}."]


def _next_mattes(p: CompositeParameters, judged: Sequence[ReviewedSample]) -> tuple[CompositeParameters, list[str]]:
    """Choose the next matte for every concept whose label was off more often than its samples were good."""
    mask_off, good, names = Counter[str](), Counter[str](), dict[str, str]()
    for sample in judged:
        for key, name in _used_names(sample, "concept").items():
            names[key] = name
            if sample.verdict.opinion is Opinion.GOOD:
                good[key] += 1
            elif Reason.MASK_OFF in sample.verdict.reasons:
                mask_off[key] += 1
    moved = [key for key in sorted(mask_off) if mask_off[key] > good[key]]
    if not moved:
        return p, []
    choices = {**p.matte_choices, **{key: p.matte_choices.get(key, 0) + 1 for key in moved}}
    notes = [
        f"Concept {names[key]} is cut out in another way, because {counted(mask_off[key], 'verdict')} "
        f"{by_number(mask_off[key], 'says', 'say')} “{Reason.MASK_OFF.value}” and {good[key]} "
        f"{by_number(good[key], 'is', 'are')} good. If its label is still off in the next round, draw its outline in "
        "the project Concepts and build a preview."
        for key in moved
    ]
    return replace(p, matte_choices=choices), notes


def _reweigh(p: CompositeParameters, judged: Sequence[ReviewedSample]) -> tuple[CompositeParameters, list[str]]:
    """Reduce the weights of concepts and blends with bad verdicts, by the share of their verdicts that are good."""
    notes: list[str] = []
    tables = (
        ("concept", "Concept", _AGAINST_CONCEPT, dict(p.concept_weights)),
        ("blend", "Blending", _AGAINST_BLEND, dict(p.blend_weights)),
    )
    for step, word, reasons_against, weights in tables:
        good, bad, names = Counter[str](), Counter[str](), dict[str, str]()
        for sample in judged:
            used = _used_names(sample, step)
            names |= used
            if sample.verdict.opinion is Opinion.GOOD:
                good.update(used.keys())
            elif not sample.verdict.reasons or sample.verdict.reasons & reasons_against:
                bad.update(used.keys())
        for key in sorted(names):
            old = weights.get(key, 1.0)
            # good verdicts restore the weight that earlier rounds took away, up to the full weight
            good_share = (_CREDIT + good[key]) / (_CREDIT + good[key] + bad[key])
            new = old * good_share if bad[key] else min(max(old, 1.0), old * (1 + good[key] / (good[key] + _CREDIT)))
            new = round(max(new, min(old, _LEAST_WEIGHT)), 3)
            if abs(new - old) <= _SMALLEST_CHANGE * old:
                continue
            weights[key] = new
            notes.append(
                f"{word} {names[key]} is used {'less' if new < old else 'more'} often (weight {old:.2f} → {new:.2f}), "
                f"because {counted(bad[key], 'verdict')} {by_number(bad[key], 'speaks', 'speak')} against it, "
                f"{good[key]} for it."
            )
        p = replace(p, concept_weights=weights) if step == "concept" else replace(p, blend_weights=weights)
    return p, notes


def _used_names(sample: ReviewedSample, step: str) -> dict[str, str]:
    """Return what a sample's instances used at a step: key → name shown to users."""
    instances = sample.steps.get("instances")
    names: dict[str, str] = {}
    for instance in instances if isinstance(instances, list) else []:
        if isinstance(instance, Mapping) and isinstance(key := instance.get(step), str):
            name = instance.get(f"{step}_name", key)
            region = key.rpartition(":")[2]
            box = f", box {int(region) + 1}" if region.isdecimal() else ""
            names[key] = f"{name}{box}" if step == "concept" else f"“{name}”"
    return names
