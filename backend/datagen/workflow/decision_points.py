"""Decision points: where a study waits for a person. Opening and finding them; acting on them is ``deciding``."""

from __future__ import annotations

import re

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.store.tables import BatchKind, BatchRow, DecisionRow, OutboxKind, ProjectRow, StudyRow, WorkState
from datagen.workflow.services import UnitOfWork

_KEY = "decision-{study}-{number}"
_KEY_PATTERN = re.compile(r"decision-(\d{1,18})-(\d{1,9})")


def create_decision_point(unit: UnitOfWork, study: StudyRow, batch: BatchRow | None = None) -> DecisionRow:
    """A new decision point that shows ``batch``, else the last there is; one that is open already is used again."""
    existing = get_open_decision(unit.session, study.id)
    if existing is None:
        batch = batch or _last(unit.session, study.id)
        last = unit.session.scalar(select(func.max(DecisionRow.number)).where(DecisionRow.study_id == study.id)) or 0
        existing = DecisionRow(study_id=study.id, number=last + 1, batch_id=batch.id if batch else None)
        unit.session.add(existing)
        unit.session.flush()
    elif batch is not None:
        existing.batch_id = batch.id
    unit.add_to_outbox(study.id, OutboxKind.DECISION, existing.id)
    return existing


def _last(session: Session, study_id: int) -> BatchRow | None:
    """The newest round that was made or run that ended, whatever came of it; None: only the inputs can be shown."""
    made = BatchRow.state == WorkState.DONE
    ended = and_(BatchRow.kind == BatchKind.RUN, BatchRow.state != WorkState.RUNNING)
    found = select(BatchRow).where(BatchRow.study_id == study_id, or_(made, ended))
    return session.scalar(found.order_by(BatchRow.id.desc()).limit(1))


def get_open_decision(session: Session, study_id: int) -> DecisionRow | None:
    """The decision point that waits for an answer; None while work is under way."""
    return session.scalar(
        select(DecisionRow)
        .where(DecisionRow.study_id == study_id, DecisionRow.action.is_(None))
        .order_by(DecisionRow.number.desc())
        .limit(1)
    )


def republish_open_decision(unit: UnitOfWork, study_id: int) -> None:
    """Have the open decision told anew; its task is made again if it is gone."""
    decision = get_open_decision(unit.session, study_id)
    if decision is not None:
        unit.add_to_outbox(study_id, OutboxKind.DECISION, decision.id)


def republish_decisions(unit: UnitOfWork, batch: BatchRow) -> None:
    """Have every decision that shows this batch told anew."""
    decisions = unit.session.scalars(
        select(DecisionRow.id)
        .where((DecisionRow.batch_id == batch.id) | (DecisionRow.started_id == batch.id))
        .order_by(DecisionRow.id)
    )
    for decision_id in decisions:
        unit.add_to_outbox(batch.study_id, OutboxKind.DECISION, decision_id)


def key_of(decision: DecisionRow) -> str:
    """Our key in the task's data, by which the task is found again."""
    return _KEY.format(study=decision.study_id, number=decision.number)


def of_key(session: Session, key: str) -> DecisionRow | None:
    """The decision point of a task's key; None where it is none of ours.

    By its key, not by the task's number: a task may be answered before its number was noted down.
    """
    parts = _KEY_PATTERN.fullmatch(key)
    if parts is None:
        return None
    study_id, number = map(int, parts.groups())
    return session.scalar(select(DecisionRow).where(DecisionRow.study_id == study_id, DecisionRow.number == number))


def project_of(session: Session, study_id: int, project_kind: ProjectKind) -> int | None:
    """The Label Studio project of a desk; None before provisioning."""
    return session.scalar(
        select(ProjectRow.project_id).where(ProjectRow.study_id == study_id, ProjectRow.kind == project_kind)
    )
