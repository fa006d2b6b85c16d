"""A reviewer's verdict on a preview: an opinion, reasons and a comment; and whose verdict counts of several."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Opinion(StrEnum):
    """A reviewer's opinion of a preview; the value is the choice shown in Label Studio."""

    GOOD = "good"
    BAD = "bad"


class Reason(StrEnum):
    """A reason in a verdict, which a good verdict may have too; the value is the choice shown in Label Studio."""

    INVISIBLE = "cannot be seen"
    TOO_STRONG = "too strong"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    WRONG_PLACE = "wrong place"
    WRONG_DIRECTION = "wrong direction"
    WRONG_LOOK = "does not look like it"
    EDGES_SHOW = "edges show"
    MASK_OFF = "label is off"


class VerdictRule(StrEnum):
    """Which verdicts on a sample count if there are several; the value is that of the study's option."""

    EACH = "each"  #: every verdict
    NEWEST = "newest"  #: the one that was given or changed last
    FIRST = "first"  #: the one that was given first, as it is now
    ALL_AGREE = "all-agree"  #: every verdict if all have one opinion, else none


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One reviewer's verdict on one preview."""

    opinion: Opinion
    reasons: frozenset[Reason] = frozenset()
    comment: str = ""
