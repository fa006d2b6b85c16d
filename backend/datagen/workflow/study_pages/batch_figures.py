"""Figures of a round, an audit or a run: the share of good verdicts, and what the approval of a run stated."""

from __future__ import annotations

from dataclasses import dataclass

from datagen.learning.acceptance import sentence_of
from datagen.learning.effect import wilson
from datagen.store.tables.batches import BatchRow
from datagen.workflow.study_pages.situations import VerdictCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The share of good verdicts, with its 90 % interval; all 0 to 1."""

    good: float
    low: float
    high: float


def share_of(counts: VerdictCounts) -> Share | None:
    """Return the share of good verdicts with its interval; None without verdicts."""
    given = counts.good + counts.bad
    if not given:
        return None
    low, high = wilson(counts.good, given)
    return Share(good=counts.good / given, low=low, high=high)


def promise_of(run: BatchRow) -> str:
    """Return the statement of a run's approval; empty if it stated nothing."""
    return sentence_of(run.promise)
