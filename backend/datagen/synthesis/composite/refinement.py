"""Derives the next spec's parameters from the verdicts on a preview round.

The result is a pure function of the parameters and the judged samples. Every change comes with a sentence that names
the parameter, its old and new value, and the number of verdicts for it. A change needs a minimum of evidence, and a
sentence names the verdicts that do not reach it. Comments are for people and are not evaluated. Reasons on a good
preview are notes and not faults: they change nothing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from datagen.domain.spec import Json
from datagen.domain.verdict import Opinion, Reason
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.parameters import RANGES, CompositeParameters
from datagen.synthesis.engine import Refinement, ReviewedSample
from datagen.synthesis.parameter_words import in_words

#: Largest factor by which one round changes sizes and contrasts, reached when every verdict asks for it.
_LARGEST_FACTOR = 1.5
#: Largest step by which one round changes values between 0 and 1.
_LARGEST_STEP = 0.4
#: Verdicts that have to agree before a setting moves; a quarter of all verdicts is enough where that is fewer.
_MIN_VERDICTS, _MIN_SHARE = 2, 0.25
#: A concept or blend loses weight only if the verdicts against it would be this rare by chance, were they spread evenly
#: over all samples of the round (one-sided hypergeometric test).
_LARGEST_CHANCE = 0.1
#: Good verdicts credited to every concept or blend in advance, so that a single bad verdict does not decide.
_CREDIT = 2.0
#: Lower bound of a weight reduced by verdicts: a later round must be able to raise it again.
_MIN_WEIGHT = 0.05
#: Smallest relative change of a weight that is applied and reported.
_SMALLEST_CHANGE = 0.05

#: Reasons against the concept used, and against the blend; a bad verdict without reasons counts against both.
_AGAINST_CONCEPT = frozenset({Reason.WRONG_LOOK, Reason.MASK_OFF})
_AGAINST_BLEND = frozenset({Reason.WRONG_LOOK, Reason.EDGES_SHOW, Reason.INVISIBLE, Reason.TOO_STRONG})


@dataclass(frozen=True, slots=True)
class _Tally:
    """The count of each reason in bad verdicts, and the number of all verdicts."""

    reasons: Counter[Reason]
    verdicts: int

    def said(self, *reasons: Reason) -> str:
        """Return a sentence part such as "3 of 20 verdicts say “too small” and 1 says “too large”".

        It names the reasons that were given, the most frequent first. At least one of them must have been given.
        """
        given = sorted(((self.reasons[r], r) for r in reasons if self.reasons[r]), key=lambda pair: -pair[0])
        parts = [f"{count} {by_number(count, 'says', 'say')} “{reason.value}”" for count, reason in given[1:]]
        count, reason = given[0]
        first = f"{count} of {counted(self.verdicts, 'verdict')} {by_number(count, 'says', 'say')} “{reason.value}”"
        return " and ".join([first, *parts])

    def net(self, more: Reason, less: Reason | None = None) -> int:
        """Return how many verdicts more give the reason ``more`` than ``less``."""
        return self.reasons[more] - (self.reasons[less] if less else 0)

    @property
    def needed(self) -> int:
        """Number of verdicts that must ask for a change, beyond those that ask for its opposite."""
        return min(_MIN_VERDICTS, math.ceil(_MIN_SHARE * self.verdicts))

    def suffices(self, count: int) -> bool:
        """Return whether so many verdicts are enough evidence to move a setting."""
        return abs(count) >= self.needed

    def pull(self, more: Reason, less: Reason | None = None) -> float:
        """Return the demand for more (to 1) or less (to -1): the signed root of the net share of verdicts."""
        net = self.net(more, less)
        return math.copysign(math.sqrt(abs(net) / self.verdicts), net) if net else 0.0


_NOTHING_JUDGED = (
    "No preview was judged before this refinement: the parameters stay as they were, and the new round shows new "
    "samples."
)


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
    after = before.model_copy(update={"variety": (before.variety + 1) % int(RANGES["variety"][1])})
    bad = [sample for sample in judged if sample.verdict.opinion is Opinion.BAD]
    if not judged:
        return Refinement(
            parameters=after.to_json(),
            notes=(_NOTHING_JUDGED,),
        )
    noted = _noted_on_good(judged)
    if not bad:
        after, notes = _reweigh(after, judged)
        every = f"All {counted(len(judged), 'verdict')} are good" if len(judged) > 1 else "The one verdict is good"
        return Refinement(
            parameters=after.to_json(),
            notes=(f"{every}: the look stays as it was, and the new round shows new samples.", *notes, *noted),
        )
    tally = _Tally(Counter(reason for sample in bad for reason in sample.verdict.reasons), len(judged))
    notes = []
    for adjustment in _ADJUSTMENTS:
        after, new_notes = _adjusted(after, adjustment, tally, ignored)
        notes += new_notes
    notes += _too_few(tally)
    after, new_notes = _next_mattes(after, judged)
    notes += new_notes
    after, new_notes = _reweigh(after, judged)
    notes += new_notes
    if notes and after.model_copy(update={"variety": before.variety}) == before:
        notes.insert(0, "No setting changed, and the new round shows new samples.")
    if not notes:
        notes.append(
            f"{len(bad)} of {counted(len(judged), 'verdict')} {by_number(len(bad), 'is', 'are')} bad, but without a "
            "reason that changes a setting: the next round shows new samples with the same settings. Choose what is "
            "wrong with each bad one, and the next refinement acts on it."
        )
    return Refinement(parameters=after.to_json(), notes=(*notes, *noted))


def _noted_on_good(judged: Sequence[ReviewedSample]) -> list[str]:
    """Return a sentence about reasons on good previews, if there are any."""
    count = sum(1 for sample in judged if sample.verdict.opinion is Opinion.GOOD and sample.verdict.reasons)
    if not count:
        return []
    return [
        f"What is ticked on {counted(count, 'good image')} changes nothing; to have it corrected, call the image bad."
    ]


def _too_few(tally: _Tally) -> list[str]:
    """Return a sentence about reasons that too few verdicts agree on, if there are any."""
    reasons = dict.fromkeys(
        reason
        for adjustment in _ADJUSTMENTS
        if not tally.suffices(tally.net(*adjustment.reasons))
        for reason in adjustment.reasons
        if tally.reasons[reason]
    )
    if not reasons:
        return []
    given = ", ".join(f"“{reason.value}” ({tally.reasons[reason]} of {tally.verdicts})" for reason in reasons)
    return [
        f"Too few verdicts agree on {given} to change a setting: at least {tally.needed} "
        f"{by_number(tally.needed, 'is', 'are')} needed, and that many more than for the opposite."
    ]


@dataclass(frozen=True, slots=True)
class _Adjustment:
    """A parameter, the function that computes its new value, and the reasons that this function evaluates.

    ``more`` and ``less`` are the sentences shown to users when the parameter grows or shrinks.
    """

    name: str
    more: str
    less: str
    wanted: Callable[[CompositeParameters, _Tally], float]
    #: the reason for more (or for the change) and, if there is one, the opposite reason
    reasons: tuple[Reason] | tuple[Reason, Reason]


_ADJUSTMENTS = (
    _Adjustment(
        "size_factor",
        "The concept is made larger",
        "The concept is made smaller",
        lambda p, tally: p.size_factor * _LARGEST_FACTOR ** tally.pull(Reason.TOO_SMALL, Reason.TOO_LARGE),
        (Reason.TOO_SMALL, Reason.TOO_LARGE),
    ),
    _Adjustment(
        "contrast",
        "The concept is made to stand out more",
        "The concept is made to stand out less",
        lambda p, tally: p.contrast * _LARGEST_FACTOR ** tally.pull(Reason.INVISIBLE, Reason.TOO_STRONG),
        (Reason.INVISIBLE, Reason.TOO_STRONG),
    ),
    _Adjustment(
        "min_contrast",
        "The concept has to stand out more from what it lies on",
        "The concept may stand out less from what it lies on",
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
        "The concept is turned further from the direction of the examples",
        "The concept is turned less far from the direction of the examples",
        lambda p, tally: p.direction_spread * (1 - 0.7 * tally.pull(Reason.WRONG_DIRECTION)),
        (Reason.WRONG_DIRECTION,),
    ),
    _Adjustment(
        "edge_softness",
        "The edges of the concept are made softer",
        "The edges of the concept are made harder",
        lambda p, tally: p.edge_softness + 2 * tally.pull(Reason.EDGES_SHOW),
        (Reason.EDGES_SHOW,),
    ),
)


def _adjusted(
    p: CompositeParameters, adjustment: _Adjustment, tally: _Tally, ignored: Collection[str]
) -> tuple[CompositeParameters, list[str]]:
    """Return the parameters with one value changed within its range, and a note.

    There is no note if too few verdicts ask for a change; see ``_too_few``.
    """
    name = adjustment.name
    old, wanted = float(getattr(p, name)), adjustment.wanted(p, tally)
    if math.isclose(old, wanted, abs_tol=1e-9) or not tally.suffices(tally.net(*adjustment.reasons)):
        return p, []
    because = tally.said(*adjustment.reasons)
    label, change = in_words(name), adjustment.more if wanted > old else adjustment.less
    if name in ignored:
        return p, [
            f"Nothing changes although {because}: this engine does not use the setting “{label}”. Change the engine's "
            "own settings, and build a preview."
        ]
    low, high = RANGES[name]
    new = round(min(high, max(low, wanted)), 3)
    if new == old:
        return p, [
            f"Nothing more can be done although {because}: {label} stays at {old:.2f}, its limit. Other concept photos "
            "or canvases may help."
        ]
    return p.model_copy(update={name: new}), [f"{change} ({label} {old:.2f} → {new:.2f}), because {because}."]


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
    moved, notes = list[str](), list[str]()
    for key in sorted(mask_off):
        off = f"{counted(mask_off[key], 'verdict')} {by_number(mask_off[key], 'says', 'say')} “{Reason.MASK_OFF.value}”"
        evidence = f"{off} and {good[key]} {by_number(good[key], 'is', 'are')} good"
        remedy = "draw its outline in the project Concepts and build a preview."
        if mask_off[key] < _MIN_VERDICTS:
            notes.append(
                f"Concept {names[key]} is cut out as before: {off}, and at least {_MIN_VERDICTS} are needed. If its "
                f"label is off, {remedy}"
            )
        elif mask_off[key] <= good[key]:
            notes.append(f"Concept {names[key]} is cut out as before: {evidence}. If its label is off, {remedy}")
        else:
            moved.append(key)
            notes.append(
                f"Concept {names[key]} is cut out in another way, because {evidence}. If its label is still off in the "
                f"next round, {remedy}"
            )
    if not moved:
        return p, notes
    choices = {**p.matte_choices, **{key: p.matte_choices.get(key, 0) + 1 for key in moved}}
    return p.model_copy(update={"matte_choices": choices}), notes


@dataclass(slots=True)
class _Uses:
    """The verdicts for and against each concept, or each blend, and those of the whole round."""

    names: dict[str, str] = field(default_factory=dict)
    good: Counter[str] = field(default_factory=Counter)
    bad: Counter[str] = field(default_factory=Counter)
    all_good: int = 0
    all_bad: int = 0

    def stands_out(self, key: str) -> bool:
        """Return whether enough verdicts are against it, and more than chance would put on it."""
        return self.bad[key] >= _MIN_VERDICTS and self._chance(key) <= _LARGEST_CHANCE

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


def _reweigh(p: CompositeParameters, judged: Sequence[ReviewedSample]) -> tuple[CompositeParameters, list[str]]:
    """Change the weights of concepts and blends by the share of their verdicts that are good.

    A weight falls where the verdicts against it stand out from the others of the round, and rises again, up to the full
    weight, with good verdicts alone.
    """
    notes: list[str] = []
    tables = (
        ("concept", "Concept", _AGAINST_CONCEPT, dict(p.concept_weights)),
        ("blend", "Blending", _AGAINST_BLEND, dict(p.blend_weights)),
    )
    for step, word, reasons_against, weights in tables:
        uses = _uses(judged, step, reasons_against)
        for key in sorted(uses.names):
            old, good, bad = weights.get(key, 1.0), uses.good[key], uses.bad[key]
            if uses.stands_out(key):
                new = old * (_CREDIT + good) / (_CREDIT + good + bad)
            elif not bad and good >= _MIN_VERDICTS:
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
        names = _used_names(sample, step)
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
        f"No concept and no blending is used less often although {counted(count, 'verdict')} "
        f"{by_number(count, 'says', 'say')} “{Reason.WRONG_LOOK.value}”: at least {_MIN_VERDICTS} have to be "
        "against the same one, and clearly more than against the others. If all look wrong, add other concept photos "
        "and build a preview."
    ]


def _used_names(sample: ReviewedSample, step: str) -> dict[str, str]:
    """Return what a sample's instances used at a step: key → name shown to users."""
    names: dict[str, str] = {}
    for instance in sample.trace.instances:
        if step == "concept" and instance.concept is not None:
            region = instance.concept.key.rpartition(":")[2]
            box = f", box {int(region) + 1}" if region.isdecimal() else ""
            names[instance.concept.key] = f"{instance.concept.name}{box}"
        elif step == "blend" and instance.blend is not None:
            names[instance.blend] = f"“{instance.blend}”"
    return names
