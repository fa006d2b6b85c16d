"""Rejection of samples by the critic of a version, and its report.

A version whose critic rejects gives each place of an audit or a run up to ``CANDIDATES`` samples: the first that is not
rejected is taken, or the most probably good one if all are. It depends on the spec and the indices alone, so that an
audit measures what a run delivers. Preview rounds show samples as they are drawn, because their verdicts teach.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from datagen.domain.wording import by_number, counted
from datagen.store.tables.base import BatchKind

#: Candidates of a place.
CANDIDATES = 4
#: Reasons that a sentence names, the most frequent first.
_NAMED = 3


def rejects(spec_body: Mapping[str, Any], kind: BatchKind) -> bool:
    """Return whether a batch of that kind leaves out what the critic of its version rejects."""
    critic = spec_body.get("critic")
    return kind in (BatchKind.AUDIT, BatchKind.RUN) and critic is not None and critic.get("reject_below", 0) > 0


def candidates_of_place(spec_body: Mapping[str, Any], kind: BatchKind) -> int:
    """Return how many samples a place of a batch may be taken from."""
    return CANDIDATES if rejects(spec_body, kind) else 1


def stride_of(spec_body: Mapping[str, Any], kind: BatchKind, count: int) -> int:
    """Return the distance of the indices of a place's candidates in a batch of ``count`` places.

    Engines take labels and backgrounds in turn, by the index. The candidates of a place have the same label, so that
    rejection does not change the shares of the labels, but other backgrounds, where there are enough of them.
    """
    if not rejects(spec_body, kind):
        return count
    labels, backgrounds = len(spec_body["labels"]), len(spec_body["backgrounds"])
    least = -(-count // labels) * labels
    strides = range(least, least + labels * backgrounds + 1, labels)
    return max(strides, key=lambda stride: len({n * stride % backgrounds for n in range(CANDIDATES)}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejections:
    """The counts of rejected samples."""

    #: samples that were drawn
    candidates: int = 0
    rejected: int = 0
    #: places all of whose candidates were bad, so that the best of them was taken
    exhausted: int = 0
    #: what spoke most against the rejected ones, in words → their number
    why: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Rejections) -> Rejections:
        """Return the counts of both."""
        return Rejections(
            candidates=self.candidates + other.candidates,
            rejected=self.rejected + other.rejected,
            exhausted=self.exhausted + other.exhausted,
            why=dict(Counter(self.why) + Counter(other.why)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the counts as JSON values."""
        return {
            "candidates": self.candidates,
            "rejected": self.rejected,
            "exhausted": self.exhausted,
            "why": dict(self.why),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any] | None) -> Self:
        """Return the counts that ``to_json`` wrote; none for None."""
        return cls(**body) if body is not None else cls()

    @property
    def sentence(self) -> str:
        """The counts as sentences; empty if no candidate was drawn."""
        if not self.candidates:
            return ""
        if not self.rejected and not self.exhausted:
            return f"The critic rejected none of {counted(self.candidates, 'candidate')}."
        named = sorted(self.why.items(), key=lambda pair: (-pair[1], pair[0]))[:_NAMED]
        why = ", ".join(f"{words} ({count})" for words, count in named)
        sentence = (
            f"The critic rejected {self.rejected} of {counted(self.candidates, 'candidate')}"
            f"{f'; what spoke most against them: {why}' if why else ''}."
        )
        if not self.exhausted:
            return sentence
        return (
            f"{sentence} For {counted(self.exhausted, 'image')} all {CANDIDATES} candidates were bad, and the best of "
            f"them {by_number(self.exhausted, 'was', 'were')} taken: refine the version, so that its samples are good."
        )
