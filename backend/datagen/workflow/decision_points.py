"""Decision points: the points at which a study waits for a person.

This module creates and finds them. ``decisions.submit`` acts on their answers.
"""

from __future__ import annotations

import re

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import PARTS_OF_RUNS, BatchKind, OutboxKind, WorkState
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.services import UnitOfWork

_KEY = "decision-{study}-{number}"
_KEY_PATTERN = re.compile(r"decision-(\d{1,18})-(\d{1,9})")


def create_decision_point(unit: UnitOfWork, study: StudyRow, batch: BatchRow | None = None) -> DecisionRow:
    """Return the open decision point of a study, or create one if none is open.

    The decision point shows ``batch``. If ``batch`` is None, a new decision point shows the batch of
    ``_last_shown_batch``.
    """
    existing = get_open_decision(unit.session, study.id)
    if existing is None:
        batch = batch or _last_shown_batch(unit.session, study.id)
        last = unit.session.scalar(select(func.max(DecisionRow.number)).where(DecisionRow.study_id == study.id)) or 0
        existing = DecisionRow(study_id=study.id, number=last + 1, batch_id=batch.id if batch else None)
        unit.session.add(existing)
        unit.session.flush()
    elif batch is not None:
        existing.batch_id = batch.id
    unit.add_to_outbox(study.id, OutboxKind.DECISION, existing.id)
    return existing


def _last_shown_batch(session: Session, study_id: int) -> BatchRow | None:
    """Return the newest batch that a decision can show: a completed round or audit, or a run that ended in any way.

    Return None if there is none; the decision then shows the inputs. Parts of a run are shown on its page.
    """
    completed = and_(BatchRow.kind.not_in(PARTS_OF_RUNS), BatchRow.state == WorkState.DONE)
    ended = and_(BatchRow.kind == BatchKind.RUN, BatchRow.state != WorkState.RUNNING)
    query = select(BatchRow).where(BatchRow.study_id == study_id, or_(completed, ended))
    return session.scalar(query.order_by(BatchRow.id.desc()).limit(1))


def get_open_decision(session: Session, study_id: int) -> DecisionRow | None:
    """Return the decision point of a study that waits for an answer; None while work is in progress."""
    return session.scalar(
        select(DecisionRow)
        .where(DecisionRow.study_id == study_id, DecisionRow.action.is_(None))
        .order_by(DecisionRow.number.desc())
        .limit(1)
    )


def republish_open_decision(unit: UnitOfWork, study_id: int) -> None:
    """Publish the open decision of a study again. If its task no longer exists, it is created again."""
    decision = get_open_decision(unit.session, study_id)
    if decision is not None:
        unit.add_to_outbox(study_id, OutboxKind.DECISION, decision.id)


def republish_decisions(unit: UnitOfWork, batch: BatchRow) -> None:
    """Publish every decision that shows this batch again. Spot checks are shown with their run."""
    shown = [batch.id]
    if batch.kind == BatchKind.SPOT:
        of_run = (BatchRow.study_id == batch.study_id, BatchRow.kind == BatchKind.RUN, BatchRow.number == batch.number)
        shown = [unit.session.scalars(select(BatchRow.id).where(*of_run)).one()]
    decisions = unit.session.scalars(
        select(DecisionRow.id)
        .where(DecisionRow.batch_id.in_(shown) | DecisionRow.started_id.in_(shown))
        .order_by(DecisionRow.id)
    )
    for decision_id in decisions:
        unit.add_to_outbox(batch.study_id, OutboxKind.DECISION, decision_id)


def republish_previous(unit: UnitOfWork, decision: DecisionRow) -> None:
    """Publish the decision before this one again, because its page links to the newest decision."""
    previous = unit.session.scalar(
        select(DecisionRow.id).where(
            DecisionRow.study_id == decision.study_id, DecisionRow.number == decision.number - 1
        )
    )
    if previous is not None:
        unit.add_to_outbox(decision.study_id, OutboxKind.DECISION, previous)


def newest_decision(session: Session, study_id: int) -> DecisionRow | None:
    """Return the newest decision point of a study, answered or not; None before the first."""
    query = select(DecisionRow).where(DecisionRow.study_id == study_id)
    return session.scalar(query.order_by(DecisionRow.number.desc()).limit(1))


def newest_answer(session: Session, study_id: int) -> DecisionRow | None:
    """Return the newest decision point of a study that was answered; None before the first decision."""
    query = select(DecisionRow).where(DecisionRow.study_id == study_id, DecisionRow.action.is_not(None))
    return session.scalar(query.order_by(DecisionRow.number.desc()).limit(1))


def key_of(decision: DecisionRow) -> str:
    """Return the key in the task's data, which identifies the task of a decision."""
    return _KEY.format(study=decision.study_id, number=decision.number)


def of_key(session: Session, key: str) -> DecisionRow | None:
    """Return the decision point of a task's key; None if the key belongs to no decision point.

    The task's id is not used, because a task may be answered before its id is stored.
    """
    parts = _KEY_PATTERN.fullmatch(key)
    if parts is None:
        return None
    study_id, number = map(int, parts.groups())
    return session.scalar(select(DecisionRow).where(DecisionRow.study_id == study_id, DecisionRow.number == number))


def project_in(study: StudyRow, project_kind: ProjectKind) -> int | None:
    """Return the id of a study's Label Studio project of that kind; None before provisioning.

    The projects are read once in a session, so it is for sessions that add none.
    """
    return next((project.project_id for project in study.projects if project.kind == project_kind), None)


def project_of(session: Session, study_id: int, project_kind: ProjectKind) -> int | None:
    """Return the id of a study's Label Studio project of that kind; None before provisioning."""
    return session.scalar(
        select(ProjectRow.project_id).where(ProjectRow.study_id == study_id, ProjectRow.kind == project_kind)
    )
