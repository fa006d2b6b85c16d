"""Batches that belong to a run and are not rendered by themselves: its spot checks, and its rejected candidates."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow
from datagen.workflow.services import UnitOfWork


def companion_of(session: Session, run: BatchRow, kind: BatchKind) -> BatchRow | None:
    """Return the batch of this kind that belongs to a run; None if there is none. It has the run's number."""
    return session.scalar(
        select(BatchRow).where(BatchRow.study_id == run.study_id, BatchRow.kind == kind, BatchRow.number == run.number)
    )


def add_companion(unit: UnitOfWork, run: BatchRow, kind: BatchKind, name: str) -> BatchRow:
    """Add a batch that belongs to a run, with its indices. It is done from its beginning: nothing of it is rendered."""
    companion = BatchRow(
        study_id=run.study_id,
        spec_id=run.spec_id,
        kind=kind,
        number=run.number,
        name=name,
        first=run.first,
        count=run.count,
        stride=run.stride,
        reserved=run.reserved,
        state=WorkState.DONE,
        requested_by=run.requested_by,
    )
    unit.session.add(companion)
    unit.session.flush()
    return companion
