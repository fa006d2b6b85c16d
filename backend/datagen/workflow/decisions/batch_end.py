"""The end of a batch, and its effect on the batch's shards, its study and its decisions.

A batch is running until one of three functions ends it. ``finish`` ends it once all of its samples are tasks in Label
Studio. ``fail`` ends it with the first shard that is given up. ``cancel`` ends it by a decision. No other code ends a
batch. ``pause``, ``pause_by_person`` and ``resume`` end none.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from datagen.domain.lifecycle import StudyEvent, next_transition
from datagen.domain.notification import NotificationEvent
from datagen.errors import Refused
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decisions.spec_versions import (
    UNFINISHED,
    add_shards,
    resume_shards,
    shard_job_kind,
    sharded_until,
)
from datagen.workflow.decisions.transitions import go_back
from datagen.workflow.notifications.events import notify
from datagen.workflow.services import LOCK, UnitOfWork

_EVENTS = {
    (BatchKind.ROUND, WorkState.DONE): StudyEvent.ROUND_READY,
    (BatchKind.ROUND, WorkState.FAILED): StudyEvent.ROUND_FAILED,
    (BatchKind.AUDIT, WorkState.DONE): StudyEvent.AUDIT_READY,
    (BatchKind.AUDIT, WorkState.FAILED): StudyEvent.AUDIT_FAILED,
    (BatchKind.RUN, WorkState.DONE): StudyEvent.RUN_FINISHED,
    (BatchKind.RUN, WorkState.FAILED): StudyEvent.RUN_FAILED,
}

_NOTIFICATIONS = {
    (BatchKind.ROUND, WorkState.DONE): NotificationEvent.ROUND_READY,
    (BatchKind.ROUND, WorkState.FAILED): NotificationEvent.ROUND_FAILED,
    (BatchKind.AUDIT, WorkState.DONE): NotificationEvent.AUDIT_READY,
    (BatchKind.AUDIT, WorkState.FAILED): NotificationEvent.AUDIT_FAILED,
    (BatchKind.RUN, WorkState.DONE): NotificationEvent.RUN_DONE,
    (BatchKind.RUN, WorkState.FAILED): NotificationEvent.RUN_FAILED,
}

#: Why a run cannot be paused whose last shards are being rendered.
NOTHING_TO_PAUSE = (
    "Nothing was paused: every image of the run is rendered, or is being rendered now. Wait for its end, or cancel it."
)


def is_rendered(session: Session, batch: BatchRow) -> bool:
    """Return whether every sample of a batch is rendered."""
    not_done = [state for state in WorkState if state is not WorkState.DONE]
    return _is_sharded(session, batch) and not session.scalar(
        select(exists().where(ShardRow.batch_id == batch.id, ShardRow.state.in_(not_done)))
    )


def is_published(session: Session, batch: BatchRow) -> bool:
    """Return whether every sample of a batch is published as a task in Label Studio."""
    return _is_sharded(session, batch) and not session.scalar(
        select(exists().where(ShardRow.batch_id == batch.id, ShardRow.published_at.is_(None)))
    )


def _is_sharded(session: Session, batch: BatchRow) -> bool:
    """Return whether every sample of a batch is in a shard."""
    return sharded_until(session, batch) >= batch.first + batch.count


def finish(unit: UnitOfWork, batch: BatchRow) -> bool:
    """End a running batch as done if all of it is published; return whether it ended."""
    if batch.state != WorkState.RUNNING or not is_published(unit.session, batch):
        return False
    batch.published_at = now()
    if batch.kind == BatchKind.ROUND:
        unit.add_to_outbox(batch.study_id, OutboxKind.TABS, batch.id)
    _conclude(unit, batch, WorkState.DONE)
    return True


def fail(unit: UnitOfWork, batch: BatchRow, reason: str) -> None:
    """End a running batch as failed. Finished shards are kept, and the decision task shows the reason.

    A shard that another worker is rendering is still finished, and is kept too.
    """
    if batch.state != WorkState.RUNNING:
        return
    batch.problem = reason[:1000]
    _cancel_shards(unit, batch, [WorkState.PENDING])
    _conclude(unit, batch, WorkState.FAILED)


def cancel(unit: UnitOfWork, batch: BatchRow, reason: str) -> None:
    """End a batch as cancelled; finished shards are kept. The decision that cancels it changes the study's state."""
    unit.session.refresh(batch, with_for_update=LOCK)  # keeps other workers from adding shards meanwhile
    batch.state, batch.problem = WorkState.CANCELLED, reason[:1000]
    batch.paused_by = batch.paused_at = None
    _cancel_shards(unit, batch, UNFINISHED)
    if batch.kind != BatchKind.RUN:
        return
    of_run = (BatchRow.study_id == batch.study_id, BatchRow.kind == BatchKind.SPOT, BatchRow.number == batch.number)
    for checks in unit.session.scalars(select(BatchRow).where(*of_run)):
        checks.state = WorkState.CANCELLED
        unit.add_to_outbox(batch.study_id, OutboxKind.REVIEW_TASKS, checks.id)


def pause(unit: UnitOfWork, run: BatchRow, reason: str, alarm: str = "") -> None:
    """Pause a run because of its spot checks, and create the decision point at which it is resumed or ended.

    The study is locked. A run that a person paused waits because of the spot checks from then on. ``alarm`` is the
    finding that it is paused for, as a sentence; notifications of the pause contain it.
    """
    unit.session.refresh(run, with_for_update=LOCK)  # keeps other workers from adding shards meanwhile
    if run.state == WorkState.RUNNING or (run.state == WorkState.PAUSED and run.paused_by is not None):
        study = unit.session.get_one(StudyRow, run.study_id)
        study.state = next_transition(study.state, StudyEvent.ALARM).study
        _hold(unit, study, run, reason)
        notify(unit, study, NotificationEvent.RUN_PAUSED, run, alarm)


def pause_by_person(unit: UnitOfWork, run: BatchRow, who: str, note: str = "") -> None:
    """Pause a run for a person whose decision changed the state of the study, and create the next decision point.

    Raises:
        Refused: no shard is left that is not being rendered already.
    """
    unit.session.refresh(run, with_for_update=LOCK)  # keeps other workers from adding shards meanwhile
    if not has_shards_to_begin(unit.session, run):
        raise Refused(NOTHING_TO_PAUSE)
    reason = " ".join(note.split())
    _hold(unit, run.study, run, f"paused by {who}: {reason}" if reason else f"paused by {who}", who)
    notify(unit, run.study, NotificationEvent.RUN_PAUSED, run, by=who)


def has_shards_to_begin(session: Session, run: BatchRow) -> bool:
    """Return whether a run has samples that no worker has begun; a shard whose worker died counts as not begun."""
    waits = (ShardRow.state == WorkState.PENDING) | ((ShardRow.state == WorkState.RUNNING) & (ShardRow.due_at <= now()))
    return not _is_sharded(session, run) or bool(
        session.scalar(select(exists().where(ShardRow.batch_id == run.id, waits)))
    )


def _hold(unit: UnitOfWork, study: StudyRow, run: BatchRow, reason: str, who: str | None = None) -> None:
    """Begin no further shard of a run. A shard that a worker renders at this moment is finished, and kept."""
    run.state, run.problem, run.status_text, run.retry_at = WorkState.PAUSED, reason[:1000], "", None
    run.paused_by, run.paused_at = who[:200] if who is not None else None, now()
    _cancel_shards(unit, run, [WorkState.PENDING])
    decision_points.republish_decisions(unit, run)
    decision_points.create_decision_point(unit, study, run)


def resume(unit: UnitOfWork, run: BatchRow, shard_size: int) -> None:
    """Resume a paused run, whose study's state the decision changes; it ends here if all of it is published already."""
    unit.session.refresh(run, with_for_update=LOCK)
    run.state, run.problem = WorkState.RUNNING, ""
    run.paused_by = run.paused_at = None
    resume_shards(unit, run)
    engine = str(unit.session.get_one(SpecRow, run.spec_id).body["engine"])
    add_shards(unit, run, shard_size, shard_job_kind(engine, run.kind))
    unit.session.flush()
    if not finish(unit, run):
        decision_points.republish_decisions(unit, run)


def _cancel_shards(unit: UnitOfWork, batch: BatchRow, states: Sequence[WorkState]) -> None:
    """Cancel a batch's shards in these states. A worker that is rendering one of them loses its lease."""
    shards = unit.session.scalars(select(ShardRow).where(ShardRow.batch_id == batch.id, ShardRow.state.in_(states)))
    for shard in shards:
        shard.state, shard.token = WorkState.CANCELLED, None


def _conclude(unit: UnitOfWork, batch: BatchRow, state: WorkState) -> None:
    """End a batch in this state: apply the transition of its study, and create the next decision point."""
    batch.state = state
    study = unit.lock_study(batch.study_id)
    step = next_transition(study.state, _EVENTS[batch.kind, state])
    study.state = step.study
    notify(unit, study, _NOTIFICATIONS[batch.kind, state], batch, batch.problem)
    if step.spec is not None:
        unit.session.get_one(SpecRow, batch.spec_id).state = step.spec
    decision_points.republish_decisions(unit, batch)
    if (batch.kind, state) == (BatchKind.AUDIT, WorkState.FAILED):
        point = decision_points.create_decision_point(unit, study)  # it shows the round again
        point.problem = f"audit {batch.number} could not be made: {batch.problem}"[:1000]
        return
    earlier = go_back(unit, study) if step.back else None
    if earlier is None:
        decision_points.create_decision_point(unit, study, batch)
        return
    point = decision_points.create_decision_point(unit, study)
    outcome = f"preview round {batch.number} could not be made, so version {earlier.version} is here again"
    point.problem = f"{outcome}: {batch.problem}"[:1000]
