"""Figures of a round, an audit or a run that are shown beside it: the share of good verdicts, and what it promises."""

from __future__ import annotations

from datagen.learning.acceptance import sentence_of
from datagen.learning.effect import wilson
from datagen.store.tables.batches import BatchRow
from datagen.workflow.study_pages.situations import VerdictCounts
from datagen.workflow.study_pages.study_view import Share


def share_of(counts: VerdictCounts) -> Share | None:
    """Return the share of good verdicts with its interval; None without verdicts."""
    given = counts.good + counts.bad
    if not given:
        return None
    low, high = wilson(counts.good, given)
    return Share(good=counts.good / given, low=low, high=high)


def promise_of(run: BatchRow) -> str:
    """Return what the approval of a run stated, as a sentence; empty if it stated nothing."""
    return sentence_of(run.promise)
