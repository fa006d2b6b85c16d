"""What people should know of a run before they use it, beside what its version's previews showed already."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.sample import made_from
from datagen.store.tables import BatchKind, BatchRow, SampleRow, SpecRow
from datagen.workflow.sample_mapping import steps_of

#: How the lines of a version's findings begin that are warnings, and those that are methods and numbers.
WARNING, DETAIL = "Note: ", "Details: "
_OTHERWISE = (
    "Note: not made with the {what} of its previews (SHA-256 {new} in place of {old}), so it may look otherwise. Look "
    "at some of the images before you use them; or put the former files back and approve again."
)
#: Lines that are kept with a batch: each shard may add some, and all of them are written again.
MOST_REMARKS = 50
_NUMBERS = re.compile(r"\b\d[\d,.]*\b")


def add(batch: BatchRow, lines: Iterable[str]) -> None:
    """Keep these with a batch; a line that says the same with other numbers takes the place of the earlier."""
    kept = {_NUMBERS.sub("#", line): line for line in batch.warnings}
    for line in lines:
        if (alike := _NUMBERS.sub("#", line)) in kept or len(kept) < MOST_REMARKS:
            kept[alike] = line
    if (said := [*kept.values()]) != batch.warnings:
        batch.warnings = said


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """A version's findings by what they are for, without the words that they begin with."""

    warnings: Sequence[str]
    findings: Sequence[str]
    details: Sequence[str]


def by_purpose(lines: Iterable[str]) -> Sorted:
    """Sort a version's findings: what to look at, what it means, and the methods and numbers behind it."""
    found: dict[str, list[str]] = {WARNING: [], DETAIL: [], "": []}
    for line in lines:
        beginning = next((one for one in (WARNING, DETAIL) if line.startswith(one)), "")
        found[beginning].append(line.removeprefix(beginning))
    return Sorted(warnings=found[WARNING], findings=found[""], details=found[DETAIL])


def made_otherwise(session: Session, spec: SpecRow, made: Sequence[SampleRow]) -> list[str]:
    """A line for each thing that these samples were made from and the version's previews were not.

    What a spec names by a folder or a cached result may be replaced there after somebody approved what it made.
    """
    preview = session.scalar(
        select(SampleRow)
        .join(BatchRow, BatchRow.id == SampleRow.batch_id)
        .where(BatchRow.spec_id == spec.id, BatchRow.kind == BatchKind.ROUND)
        .order_by(SampleRow.id)
        .limit(1)
    )
    if preview is None or not made:
        return []
    before, after = (made_from(steps_of(row)) for row in (preview, made[0]))  # of one shard all are made alike
    return [
        _OTHERWISE.format(what=what, new=_short(after[what]), old=_short(before[what]))
        for what in sorted(before.keys() & after.keys())
        if before[what] != after[what]
    ]


def _short(digest: object) -> str:
    return f"{digest[:12]}…" if isinstance(digest, str) else "none"
