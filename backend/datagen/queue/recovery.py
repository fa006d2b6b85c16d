"""Recovery: enqueue rows that are due but not queued, after a lost queue, a dead worker or an ended wait.

Recovery also deletes events that were handled long ago, and shows in a batch's decision task that its shards wait for
a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import and_, delete, func, select
from sqlalchemy.orm import Session

from datagen.label_studio.api.webhook_payload import figure_name
from datagen.queue import due_rows
from datagen.queue.jobs import GPU, ROW_JOBS
from datagen.queue.live_workers import live_workers
from datagen.queue.queues import Queues
from datagen.store.counters import count_pruned
from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.messages import InboxRow
from datagen.synthesis.engine import needs_gpu
from datagen.workflow.generation import batch_status
from datagen.workflow.services import LOCK, JobRequest, UnitOfWork

#: Maximum number of events that are deleted in one transaction, and in one scan.
PRUNED_AT_ONCE, PRUNED_IN_A_SWEEP = 1_000, 10_000
#: Maximum number of handled events that are kept. The oldest ones beyond it are deleted before their retention ends, so
#: that a flood of events does not fill the disk.
MAX_HANDLED = 500_000
#: Failed events are kept this many times as long as handled ones.
FAILED_DAYS_FACTOR = 4


def sweep(database: Database, queues: Queues) -> int:
    """Enqueue every row that is due and not queued; return the number of job requests.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable; the next scan tries again.
    """
    moment = now()
    with database.read() as session:
        overdue = [
            JobRequest(job_kind, row_id) for job_kind, job in ROW_JOBS.items() for row_id in job.due(session, moment)
        ]
    queued = queues.queued()  # read after the rows, so that jobs enqueued in between are included
    job_requests = [request for request in overdue if request not in queued]
    if job_requests:
        queues.enqueue(job_requests)
    _update_status_texts(database, queues, moment)
    return len(job_requests)


def prune_inbox(database: Database, days: int) -> int:
    """Delete events that were handled more than ``days`` days ago, and return the number of deleted events.

    Failed events are kept ``FAILED_DAYS_FACTOR`` times as long. Each transaction deletes few events, so that webhooks
    do not wait for long. If more are left than one scan deletes, the next scan continues.
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
    if newest is not None and newest - oldest >= MAX_HANDLED:
        conditions.append(and_(InboxRow.state == WorkState.DONE, InboxRow.id <= newest - MAX_HANDLED))
    ids: dict[int, None] = {}
    for condition in conditions:
        query = select(InboxRow.id).where(condition).order_by(InboxRow.id).limit(PRUNED_AT_ONCE)
        ids |= dict.fromkeys(session.scalars(query))
    return [*ids][:PRUNED_AT_ONCE]


def _update_status_texts(database: Database, queues: Queues, moment: datetime) -> None:
    """Set the status texts of rounds and runs with due shards: they say that shards wait for a worker, and why."""
    texts = _new_status_texts(database, queues, moment)
    if not texts:
        return
    with database.write() as session:
        unit = UnitOfWork(session=session)
        for batch_id, text in sorted(texts.items()):
            batch = session.get(BatchRow, batch_id, with_for_update=LOCK)
            if batch is not None:  # its study was not deleted in the meantime
                batch_status.set_status(unit, batch, text)
    queues.enqueue(unit.job_requests)


def _new_status_texts(database: Database, queues: Queues, moment: datetime) -> dict[int, str]:
    """Return batch id → status text, for the batches with due shards whose status text changes."""
    with database.read() as session:
        rows = session.execute(
            select(BatchRow.id, BatchRow.status_text, ShardRow.state, SpecRow.body["engine"].as_string())
            .join(ShardRow, ShardRow.batch_id == BatchRow.id)
            .join(SpecRow, SpecRow.id == BatchRow.spec_id)
            .where(due_rows.is_due(ShardRow, moment))
            .distinct()
            .order_by(BatchRow.id, ShardRow.state)  # of a pending and a running shard, the running one decides
        ).all()
    for_gpu = {engine: needs_gpu(engine) for engine in {row[3] for row in rows}}
    no_gpu = any(for_gpu.values()) and not any(GPU in worker.queues for worker in live_workers(queues))
    texts: dict[int, str] = {}
    for batch_id, status_text, state, engine in rows:
        text = _status_text(status_text, no_gpu=no_gpu and for_gpu[engine], died=state == WorkState.RUNNING)
        if text is not None and text != status_text:
            texts[batch_id] = text
    return texts


def _status_text(current: str, *, no_gpu: bool, died: bool) -> str | None:
    """Return the new status text of a batch; None if it stays unchanged.

    Args:
        current: the batch's status text.
        no_gpu: whether a due shard needs a GPU, and no worker with one is alive.
        died: whether the lease of a due shard expired.
    """
    if no_gpu:
        return batch_status.NO_GPU
    if died:  # the worker that rendered it did not renew its lease
        return batch_status.DIED
    return "" if current == batch_status.NO_GPU else None  # a GPU worker is alive now and will take the shard
