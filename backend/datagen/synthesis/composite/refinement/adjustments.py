"""Adjustments of single parameters by the reasons of bad verdicts: sizes, contrasts, edges, directions, places."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass

from datagen.domain.verdict import Reason
from datagen.domain.wording import by_number, counted
from datagen.synthesis.composite.parameters import RANGES, CompositeParameters
from datagen.synthesis.composite.refinement.evidence import MIN_VERDICTS
from datagen.synthesis.parameter_words import in_words

#: Largest factor by which one round changes sizes and contrasts, reached when every verdict asks for it.
_LARGEST_FACTOR = 1.5
#: Largest step by which one round changes values between 0 and 1.
_LARGEST_STEP = 0.4
#: Share of all verdicts that is enough evidence where that is fewer than ``MIN_VERDICTS``.
_MIN_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Tally:
    """The count of each reason in bad verdicts, and the number of all verdicts."""

    reasons: Counter[Reason]
    verdicts: int

    def verdicts_text(self, *reasons: Reason) -> str:
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
        return min(MIN_VERDICTS, math.ceil(_MIN_SHARE * self.verdicts))

    def suffices(self, count: int) -> bool:
        """Return whether so many verdicts are enough evidence to move a setting."""
        return abs(count) >= self.needed

    def pull(self, more: Reason, less: Reason | None = None) -> float:
        """Return the demand for more (to 1) or less (to -1): the signed root of the net share of verdicts."""
        net = self.net(more, less)
        return math.copysign(math.sqrt(abs(net) / self.verdicts), net) if net else 0.0


@dataclass(frozen=True, slots=True)
class _Adjustment:
    """A parameter, the function that computes its new value, and the reasons that this function evaluates.

    ``more`` and ``less`` are the sentences shown to users when the parameter grows or shrinks.
    """

    name: str
    more: str
    less: str
    wanted: Callable[[CompositeParameters, Tally], float]
    #: the reason for more (or for the change) and, if there is one, the opposite reason
    reasons: tuple[Reason] | tuple[Reason, Reason]


ADJUSTMENTS = (
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


def adjusted(
    p: CompositeParameters, adjustment: _Adjustment, tally: Tally, ignored: Collection[str]
) -> tuple[CompositeParameters, list[str]]:
    """Return the parameters with one value changed within its range, and a note.

    There is no note if too few verdicts ask for a change; see ``too_few``.
    """
    name = adjustment.name
    old, wanted = float(getattr(p, name)), adjustment.wanted(p, tally)
    if math.isclose(old, wanted, abs_tol=1e-9) or not tally.suffices(tally.net(*adjustment.reasons)):
        return p, []
    because = tally.verdicts_text(*adjustment.reasons)
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


def too_few(tally: Tally) -> list[str]:
    """Return a sentence about reasons that too few verdicts agree on, if there are any."""
    reasons = dict.fromkeys(
        reason
        for adjustment in ADJUSTMENTS
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
