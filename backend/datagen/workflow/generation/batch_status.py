"""Status of a batch that no worker is rendering. It says what the batch waits for.

The decision task shows this status in place of the last progress that a worker reported.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session

from datagen.store.tables.base import WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.workflow import decision_points
from datagen.workflow.outages import Outage
from datagen.workflow.services import UnitOfWork

QUEUED = "waits for a worker"
BEGUN = "a worker has begun: it learns from the inputs first"
DIED = "its worker died; waiting for another"
FAILED = "it failed for a reason of ours, which the workers' log has; it is tried again"
NO_GPU = "waits for a worker with a GPU: start one with “datagen worker --gpu”"
_SENTENCES = frozenset({DIED, FAILED, NO_GPU})


def is_waiting(status_text: str) -> bool:
    """Return whether a batch's status text says that no worker is rendering it. Its remaining time is then unknown."""
    return status_text in _SENTENCES or status_text.startswith("waits for ")


def say_outage(unit: UnitOfWork, batch: BatchRow, outage: Outage, until: datetime) -> None:
    """Show an outage and the time of the next attempt as the batch's status.

    Do nothing if the status shows the same outage already, with a time in the future.
    """
    if batch.state != WorkState.RUNNING or (batch.status_text.startswith(str(outage)) and _has_future_retry(batch)):
        return
    batch.status_text, batch.fit_progress = f"{outage}; tried again at {until:%H:%M:%S} UTC"[:200], 0.0
    batch.retry_at = until
    decision_points.republish_decisions(unit, batch)


def note_claim(unit: UnitOfWork, batch: BatchRow, shard: ShardRow) -> None:
    """Replace the batch's status, because a worker has claimed this shard.

    Until samples of the batch are stored, the status says that a worker has begun. The worker's first report replaces
    it. The status of an outage stays until the time that it names, because other workers may still meet the outage.
    """
    if not _has_future_retry(batch):
        set_status(unit, batch, "" if _has_samples(unit.session, batch) else BEGUN, besides=shard)


def status_of(session: Session, batch: BatchRow) -> str:
    """Return the status text of a batch as it is shown.

    A running batch of which every sample is rendered is being published, and the text says how far. In any other case
    it is the stored text. If that is empty, and no worker has begun the batch, it waits for a worker.
    """
    if batch.state == WorkState.RUNNING and batch.rendered_at is not None:
        return f"posting to Label Studio: {count_published(session, batch):,} of {batch.count:,}"
    if batch.status_text or batch.state != WorkState.RUNNING:
        return batch.status_text
    begun = _has_samples(session, batch) or _has_active_worker(session, batch, None)
    return "" if begun else QUEUED


def count_published(session: Session, batch: BatchRow) -> int:
    """Return the number of a batch's samples whose tasks are in Label Studio."""
    published = select(func.coalesce(func.sum(ShardRow.stop - ShardRow.start), 0)).where(
        ShardRow.batch_id == batch.id, ShardRow.published_at.is_not(None)
    )
    return session.scalar(published) or 0


def _has_samples(session: Session, batch: BatchRow) -> bool:
    rendered = exists().where(ShardRow.batch_id == batch.id, ShardRow.rendered_at.is_not(None))
    return bool(session.scalar(select(rendered)))


def _has_future_retry(batch: BatchRow) -> bool:
    return batch.retry_at is not None and batch.retry_at > now()


def set_status(unit: UnitOfWork, batch: BatchRow, words: str, besides: ShardRow | None = None) -> None:
    """Set a batch's status text, unless a worker is rendering one of its shards: that worker reports its progress.

    Args:
        unit: the transaction.
        batch: the batch.
        words: the new text.
        besides: a shard that does not count, even if a worker is rendering it.
    """
    if (
        batch.status_text != words
        and batch.state == WorkState.RUNNING
        and not _has_active_worker(unit.session, batch, besides)
    ):
        batch.status_text, batch.fit_progress = words, 0.0
        decision_points.republish_decisions(unit, batch)


def _has_active_worker(session: Session, batch: BatchRow, besides: ShardRow | None) -> bool:
    claimed_shard = exists().where(
        ShardRow.batch_id == batch.id,
        ShardRow.id != (besides.id if besides else 0),
        ShardRow.state == WorkState.RUNNING,
        ShardRow.due_at > now(),
    )
    return bool(session.scalar(select(claimed_shard)))
