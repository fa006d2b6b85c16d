"""Requests for work on a study's inputs: reading them, and making proposals from them.

Each study has one row for each of the two; ``input_jobs`` does the work of a row that is due. The study must be locked
by the caller, so that no two transactions add the row.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.store import leases
from datagen.store.tables.base import Instant, WorkState
from datagen.store.tables.inputs import FetchedPictureRow, InputReadingRow, ProposalMakingRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.services import JobKind, UnitOfWork


def request_reading(unit: UnitOfWork, study: StudyRow) -> None:
    """Record that inputs changed, and request a reading; a reading that is under way is repeated."""
    study.inputs_changed += 1
    request_rest(unit, study)


def request_rest(unit: UnitOfWork, study: StudyRow) -> None:
    """Request a reading of the inputs that the last one left unread."""
    row = unit.session.get(InputReadingRow, study.id, with_for_update=True)
    if row is None:
        unit.session.add(InputReadingRow(id=study.id))
        unit.session.flush()
    else:
        leases.request(row)
    unit.enqueue_after_commit(JobKind.INPUTS, study.id)


def schedule_retry(unit: UnitOfWork, study: StudyRow) -> None:
    """Have the inputs read again when the next failed picture is due, unless a reading is pending or running."""
    row = unit.session.get(InputReadingRow, study.id, with_for_update=True)
    at = next_retry(unit.session, study.id)
    if at is None or (row is not None and row.state in (WorkState.PENDING, WorkState.RUNNING)):
        return
    if row is None:
        unit.session.add(InputReadingRow(id=study.id, due_at=at))
    else:
        leases.repeat(row, at)


def next_retry(session: Session, study_id: int) -> datetime | None:
    """Return when the study's next failed picture is due for another attempt; None if none is."""
    next_at = func.min(FetchedPictureRow.retry_at, type_=Instant())
    return session.scalar(select(next_at).where(FetchedPictureRow.study_id == study_id))


def request_proposals(unit: UnitOfWork, study: StudyRow) -> None:
    """Request that the missing and outdated proposals are made; a job that makes them now repeats its work."""
    row = unit.session.get(ProposalMakingRow, study.id, with_for_update=True)
    if row is None:
        unit.session.add(ProposalMakingRow(id=study.id))
        unit.session.flush()
    else:
        row.revision += 1
        leases.request(row)
    unit.enqueue_after_commit(JobKind.PROPOSALS, study.id)


def reading_problem(session: Session, study: StudyRow) -> str:
    """Return why the inputs are not read now, as the predicate of a sentence; empty if nothing prevents it."""
    if study.waits_for:
        return f"{study.waits_for}; it is tried again"
    row = session.get(InputReadingRow, study.id)
    if row is not None and row.state == WorkState.FAILED:
        return f"failed: {row.error.rstrip('.')}; it is tried again after the next change of an input"
    return ""
