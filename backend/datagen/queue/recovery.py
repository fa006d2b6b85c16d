"""Recovery: enqueue rows that are due but not queued, after a lost queue, a dead worker or an ended wait.

Recovery also deletes events that were handled long ago, and shows in a batch's decision task that its shards wait for
a worker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session

from datagen.label_studio.api.webhook_payload import figure_name
from datagen.queue.live_workers import live_workers
from datagen.queue.queues import GPU, Queues
from datagen.store.counters import count_pruned
from datagen.store.database import Database
from datagen.store.tables import (
    BatchRow,
    FetchedPictureRow,
    InboxRow,
    OutboxRow,
    ShardRow,
    SpecRow,
    StudyRow,
    WorkState,
    now,
)
from datagen.workflow.decisions.spec_versions import shard_job_kind
from datagen.workflow.generation import batch_status
from datagen.workflow.services import LOCK, JobKind, JobRequest, UnitOfWork

#: Maximum rows per job kind in one scan; the next scan takes the rest.
MOST_ROWS = 50_000
#: Maximum handled events deleted in one transaction, and in one scan.
PRUNED_AT_ONCE, PRUNED_IN_A_SWEEP = 1_000, 10_000
#: Handled events beyond this number are deleted before their retention ends, so that a flood does not fill the disk.
MOST_HANDLED = 500_000
#: Failed events are kept this many times as long as handled ones.
FAILED_DAYS_FACTOR = 4

_JOB_KINDS = ((InboxRow, JobKind.EVENT), (OutboxRow, JobKind.OUTBOX))


def sweep(database: Database, queues: Queues) -> int:
    """Enqueue every row that is due and not queued; return the number of job requests.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable; the next scan tries again.
    """
    moment = now()
    overdue: list[JobRequest] = []
    with database.read() as session:
        for kind, job_kind in _JOB_KINDS:
            row_ids = session.scalars(
                select(kind.id)
                .where(kind.state.in_([WorkState.PENDING, WorkState.RUNNING]), kind.due_at <= moment)
                .order_by(kind.id)
                .limit(MOST_ROWS)
            )
            overdue += [JobRequest(job_kind, row_id) for row_id in row_ids]
        shards = list(_shards(session, moment))
        stale = session.scalars(
            select(StudyRow.id).where(
                StudyRow.inputs_read != StudyRow.inputs_changed,
                or_(StudyRow.inputs_due_at.is_(None), StudyRow.inputs_due_at <= moment),
            )
        )
        retries = session.scalars(
            select(FetchedPictureRow.study_id).where(FetchedPictureRow.retry_at <= moment).distinct()
        )
        unread = sorted({*stale, *retries})
        overdue += [
            *(shard.request for shard in shards),
            *(JobRequest(JobKind.INPUTS, study_id) for study_id in unread),
        ]
        postponed = session.scalars(select(StudyRow.id).where(StudyRow.proposals_due_at <= moment))
        overdue += [JobRequest(JobKind.PROPOSALS, study_id) for study_id in postponed]
    queued = queues.queued()  # read after the rows, so that jobs enqueued in between are included
    job_requests = [request for request in overdue if request not in queued]
    if job_requests:
        queues.enqueue(job_requests)
    _update_status_texts(database, queues, shards)
    return len(job_requests)


def prune_inbox(database: Database, days: int) -> int:
    """Delete events that were handled more than ``days`` days ago, failed events after four times as long.

    Return the number of deleted events. Each transaction deletes few events, so that webhooks do not wait for long;
    the next scan continues.
    """
    deleted = 0
    while deleted < PRUNED_IN_A_SWEEP:
        with database.read() as session:
            ids = _outdated(session, days)
        if ids:
            with database.write() as session:
                deletion = delete(InboxRow).where(InboxRow.id.in_(ids)).returning(InboxRow.action, InboxRow.state)
                count_pruned(session, [(figure_name(action), state) for action, state in session.execute(deletion)])
        deleted += len(ids)
        if len(ids) < PRUNED_AT_ONCE:
            break
    return deleted


def _outdated(session: Session, days: int) -> Sequence[int]:
    """Return the ids of events to delete, at most as many as one transaction deletes."""
    moment = now()  # ``due_at`` does not change after an event has ended
    conditions = [
        and_(InboxRow.state == WorkState.DONE, InboxRow.due_at < moment - timedelta(days=days)),
        and_(InboxRow.state == WorkState.CANCELLED, InboxRow.due_at < moment - timedelta(days=days)),
        and_(InboxRow.state == WorkState.FAILED, InboxRow.due_at < moment - timedelta(days=FAILED_DAYS_FACTOR * days)),
    ]
    oldest, newest = session.execute(select(func.min(InboxRow.id), func.max(InboxRow.id))).one()
    if newest is not None and newest - oldest >= MOST_HANDLED:
        conditions.append(and_(InboxRow.state == WorkState.DONE, InboxRow.id <= newest - MOST_HANDLED))
    ids: dict[int, None] = {}
    for condition in conditions:
        query = select(InboxRow.id).where(condition).order_by(InboxRow.id).limit(PRUNED_AT_ONCE)
        ids |= dict.fromkeys(session.scalars(query))
    return [*ids][:PRUNED_AT_ONCE]


class _Shard(NamedTuple):
    """A shard that is due."""

    request: JobRequest
    batch_id: int
    #: the worker that rendered it did not renew its lease
    died: bool
    #: the text in its batch's decision task
    status_text: str


def _shards(session: Session, moment: datetime) -> Iterator[_Shard]:
    """Yield the shards that are due, each with the job kind of its engine."""
    rows = session.execute(
        select(ShardRow.id, ShardRow.state, SpecRow.body["engine"].as_string(), BatchRow.id, BatchRow.status_text)
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(ShardRow.state.in_([WorkState.PENDING, WorkState.RUNNING]), ShardRow.due_at <= moment)
        .order_by(ShardRow.id)
        .limit(MOST_ROWS)
    ).all()
    job_kinds = {engine: shard_job_kind(engine) for engine in {engine for _, _, engine, _, _ in rows}}
    for row_id, state, engine, batch_id, status_text in rows:
        yield _Shard(JobRequest(job_kinds[engine], row_id), batch_id, state == WorkState.RUNNING, status_text)


def _update_status_texts(database: Database, queues: Queues, shards: Sequence[_Shard]) -> None:
    for_gpu = any(shard.request.job_kind is JobKind.GPU_SHARD for shard in shards)
    no_gpu = for_gpu and not any(GPU in worker.queues for worker in live_workers(queues))
    texts: dict[int, str] = {
        shard.batch_id: text
        for shard in shards
        if (text := _status_text(shard, no_gpu=no_gpu)) is not None and text != shard.status_text
    }
    if not texts:
        return
    with database.write() as session:
        unit = UnitOfWork(session=session)
        for batch_id, text in sorted(texts.items()):
            batch = session.get(BatchRow, batch_id, with_for_update=LOCK)
            if batch is not None:  # its study was not deleted in the meantime
                batch_status.set_status(unit, batch, text)
    queues.enqueue(unit.job_requests)


def _status_text(shard: _Shard, *, no_gpu: bool) -> str | None:
    """Return the new text for the batch's decision task; None to leave the text unchanged."""
    if shard.request.job_kind is JobKind.GPU_SHARD and no_gpu:
        return batch_status.NO_GPU
    if shard.died:
        return batch_status.DIED
    return "" if shard.status_text == batch_status.NO_GPU else None  # a GPU worker is alive now and will take the shard
