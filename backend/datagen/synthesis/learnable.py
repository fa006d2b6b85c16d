"""The draws that verdicts can teach an engine: those that its traces record for every instance, and their meaning.

An engine draws the size, the place, the contrast and so on of each instance anew, and records the values in the trace
(``InstanceTrace.draws``). ``learning.posterior`` compares the draws of good and bad samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from datagen.domain.verdict import Reason

#: How values are compared: by difference, by ratio, as an axis in degrees (0 and 180 are the same), or by name.
Scale = Literal["linear", "log", "circular", "category"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnableDraw:
    """One kind of draw: a number in a stated unit, or the name of a choice."""

    #: its name in ``InstanceTrace.draws``
    name: str
    #: its name in sentences, such as "contrast"
    words: str
    #: the unit of a number in sentences, such as "px"; "×" for a ratio
    unit: str = ""
    scale: Scale = "linear"
    #: typical deviation of a number, in its unit; the deviation of the natural logarithm on the scale "log"
    spread: float = 1.0
    #: limits of a number that the engine draws; None: it has none
    limits: tuple[float, float] | None = None
    #: for each reason that is about this draw: 1 if a verdict with it asks for a larger number, -1 for a smaller one
    reasons: Mapping[Reason, Literal[-1, 1]] = field(default_factory=dict)
    #: for a number that is only known once pixels exist: the number that it is proportional to, "" for none. Until
    #: then it is expected to have its usual ratio to that number.
    follows: str = ""
