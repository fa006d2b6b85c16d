"""What a batch waits for while nobody works on it: said in its decision task, in place of what its last worker said."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from datagen.store.tables import BatchRow, ShardRow, WorkState, now
from datagen.workflow import decision_points
from datagen.workflow.outages import Outage
from datagen.workflow.services import UnitOfWork

DIED = "its worker died; waiting for another"
FAILED = "it failed for a reason of ours, which the workers' log has; it is tried again"
NO_GPU = "waits for a worker with a GPU: start one with “datagen worker --gpu”"
_SENTENCES = frozenset({DIED, FAILED, NO_GPU})


def is_waiting(doing: str) -> bool:
    """Whether a batch's ``doing`` says that nobody works on it: no time that is left can be told then."""
    return doing in _SENTENCES or doing.startswith("waits for ")


def say_outage(unit: UnitOfWork, batch: BatchRow, outage: Outage, until: datetime) -> None:
    """Have the batch show what it waits for, until when; where that is shown for a time to come, it is left."""
    if batch.state != WorkState.RUNNING or (batch.status_text.startswith(str(outage)) and _is_to_come(batch)):
        return
    batch.status_text, batch.fit_progress = f"{outage}; tried again at {until:%H:%M:%S} UTC"[:200], 0.0
    batch.retry_at = until
    decision_points.republish_decisions(unit, batch)


def clear(unit: UnitOfWork, batch: BatchRow, shard: ShardRow) -> None:
    """Have what was waited for not stand there any more, because a worker has taken this shard.

    An outage stands until the time that it names: others may be about to find it too.
    """
    if not _is_to_come(batch):
        set_status(unit, batch, "", besides=shard)


def _is_to_come(batch: BatchRow) -> bool:
    return batch.retry_at is not None and batch.retry_at > now()


def set_status(unit: UnitOfWork, batch: BatchRow, words: str, besides: ShardRow | None = None) -> None:
    """Have ``words`` stand there, unless a worker is at a shard of the batch ``besides`` this: it says what it does."""
    if (
        batch.status_text != words
        and batch.state == WorkState.RUNNING
        and not _is_worked_on(unit.session, batch, besides)
    ):
        batch.status_text, batch.fit_progress = words, 0.0
        decision_points.republish_decisions(unit, batch)


def _is_worked_on(session: Session, batch: BatchRow, besides: ShardRow | None) -> bool:
    at_it = exists().where(
        ShardRow.batch_id == batch.id,
        ShardRow.id != (besides.id if besides else 0),
        ShardRow.state == WorkState.RUNNING,
        ShardRow.due_at > now(),
    )
    return bool(session.scalar(select(at_it)))
