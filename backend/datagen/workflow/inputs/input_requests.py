"""Requests for work on a study's inputs: reading them, and making proposals from them.

Each study has a row for the reading and a row for the proposals. ``input_jobs`` does the work of a row that is due. The
caller must have locked the study, so that no two transactions add the same row.
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
    """Record that inputs changed, and request a reading. A reading that is under way is repeated after its end."""
    study.inputs_changed += 1
    request_rest(unit, study)


def request_rest(unit: UnitOfWork, study: StudyRow) -> None:
    """Request a reading of the inputs that the last reading left unread."""
    row = unit.session.get(InputReadingRow, study.id, with_for_update=True)
    if row is None:
        unit.session.add(InputReadingRow(id=study.id))
        unit.session.flush()
    else:
        leases.request(row)
    unit.enqueue_after_commit(JobKind.INPUTS, study.id)


def schedule_retry(unit: UnitOfWork, study: StudyRow) -> None:
    """Schedule a reading for the time when the next failed picture is due, unless one is pending or running."""
    row = unit.session.get(InputReadingRow, study.id, with_for_update=True)
    at = next_retry(unit.session, study.id)
    if at is None or (row is not None and row.state in (WorkState.PENDING, WorkState.RUNNING)):
        return
    if row is None:
        unit.session.add(InputReadingRow(id=study.id, due_at=at))
    else:
        leases.repeat(row, at)


def next_retry(session: Session, study_id: int) -> datetime | None:
    """Return the time of the next attempt to fetch a failed picture of the study; None if none is planned."""
    next_at = func.min(FetchedPictureRow.retry_at, type_=Instant())
    return session.scalar(select(next_at).where(FetchedPictureRow.study_id == study_id))


def request_proposals(unit: UnitOfWork, study: StudyRow) -> None:
    """Request the making of missing and outdated proposals. A job that is making some repeats its work."""
    row = unit.session.get(ProposalMakingRow, study.id, with_for_update=True)
    if row is None:
        unit.session.add(ProposalMakingRow(id=study.id))
        unit.session.flush()
    else:
        row.revision += 1
        leases.request(row)
    unit.enqueue_after_commit(JobKind.PROPOSALS, study.id)


def reading_problem(session: Session, study: StudyRow) -> str:
    """Return why the inputs are not read now, as text that follows a subject; empty if nothing prevents the reading."""
    if study.waits_for:
        return f"{study.waits_for}; it is tried again"
    row = session.get(InputReadingRow, study.id)
    if row is not None and row.state == WorkState.FAILED:
        return f"failed: {row.error.rstrip('.')}; it is tried again after the next change of an input"
    return ""
