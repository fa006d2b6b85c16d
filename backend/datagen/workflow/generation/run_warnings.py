"""Warnings about a run for people who want to use its images. Warnings about the version's previews are left out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.workflow.sample_mapping import trace_of

#: Prefixes of a version's report lines: of a warning, and of a detail (a method or a number). Other findings have none.
WARNING, DETAIL = "Note: ", "Details: "
_CHANGED_RESOURCE = (
    "Note: not made with the {resource} of its previews (SHA-256 {new} in place of {old}), so it may look otherwise. "
    "Look at some of the images before you use them; or put the former files back and approve again."
)
#: Largest number of warnings of a batch. It is limited because each shard may add some, and the whole list is written
#: each time.
MAX_REMARKS = 50
_OTHERS = f"{WARNING}there are warnings of other kinds; only the first {MAX_REMARKS} kinds are shown."
_NUMBERS = re.compile(r"\b\d[\d,.]*\b")


def add(batch: BatchRow, lines: Iterable[str]) -> None:
    """Add warnings to a batch. A line that differs from an earlier one only in its numbers replaces it.

    If there are too many, the last line says that others are not shown.
    """
    kept = {_NUMBERS.sub("#", line): line for line in batch.warnings}
    for line in lines:
        if (pattern := _NUMBERS.sub("#", line)) in kept or len(kept) < MAX_REMARKS:
            kept[pattern] = line
        else:
            kept[_NUMBERS.sub("#", _OTHERS)] = _OTHERS
    if (warnings := [*kept.values()]) != batch.warnings:
        batch.warnings = warnings


def add_first(batch: BatchRow, warning: str) -> None:
    """Add a warning in front of the others, however many there are. It is given without its prefix."""
    batch.warnings = [f"{WARNING}{warning}", *batch.warnings]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """A version's report lines by their purpose, without prefixes."""

    warnings: Sequence[str]
    findings: Sequence[str]
    details: Sequence[str]


def by_purpose(lines: Iterable[str]) -> Sorted:
    """Group a version's report lines by their prefix: warnings, details (methods and numbers), other findings."""
    by_prefix: dict[str, list[str]] = {WARNING: [], DETAIL: [], "": []}
    for line in lines:
        prefix = next((prefix for prefix in (WARNING, DETAIL) if line.startswith(prefix)), "")
        by_prefix[prefix].append(line.removeprefix(prefix))
    return Sorted(warnings=by_prefix[WARNING], findings=by_prefix[""], details=by_prefix[DETAIL])


def made_otherwise(session: Session, spec: SpecRow, samples: Sequence[SampleRow]) -> list[str]:
    """Return a warning for each resource of the engine that has changed since the version's previews were made.

    A spec refers to some resources by a folder or a cached result. Their content may change after the approval.
    """
    preview = session.scalar(
        select(SampleRow)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .where(BatchRow.spec_id == spec.id, BatchRow.kind == BatchKind.ROUND)
        .order_by(SampleRow.id)
        .limit(1)
    )
    if preview is None or not samples:
        return []
    # all samples of a shard use the same resources
    before, after = (trace_of(row).files for row in (preview, samples[0]))
    return [
        _CHANGED_RESOURCE.format(resource=resource, new=_short(after[resource]), old=_short(before[resource]))
        for resource in sorted(before.keys() & after.keys())
        if before[resource] != after[resource]
    ]


def _short(digest: object) -> str:
    return f"{digest[:12]}…" if isinstance(digest, str) else "none"
