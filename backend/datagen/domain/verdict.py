"""What a reviewer says of a preview: good or bad, why, and a comment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Opinion(StrEnum):
    """The two answers; the value is the choice people click."""

    GOOD = "good"
    BAD = "bad"


class Reason(StrEnum):
    """What was wrong; the value is the choice people click."""

    INVISIBLE = "cannot be seen"
    TOO_STRONG = "too strong"
    TOO_SMALL = "too small"
    TOO_LARGE = "too large"
    WRONG_PLACE = "wrong place"
    WRONG_DIRECTION = "wrong direction"
    WRONG_LOOK = "does not look like it"
    EDGES_SHOW = "edges show"
    MASK_OFF = "label is off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One reviewer's answer to one preview."""

    opinion: Opinion
    reasons: frozenset[Reason] = frozenset()
    comment: str = ""
