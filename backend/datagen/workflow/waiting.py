"""What a batch waits for while nobody works on it: said in its decision task, in place of what its last worker said."""

from __future__ import annotations

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from datagen.store.rows import BatchRow, ShardRow, WorkState, now
from datagen.workflow import points
from datagen.workflow.workshop import Unit

DIED = "its worker died; waiting for another"
FAILED = "it failed for a reason of ours, which the workers' log has; it is tried again"
NO_GPU = "waits for a worker with a GPU: start one with “datagen worker --gpu”"
#: While one of these stands there, no time that is left can be told.
SENTENCES = frozenset({DIED, FAILED, NO_GPU})


def say(unit: Unit, batch: BatchRow, words: str, besides: ShardRow | None = None) -> None:
    """Have ``words`` stand there, unless a worker is at a shard of the batch ``besides`` this: it says what it does."""
    if batch.doing != words and batch.state == WorkState.RUNNING and not _is_worked_on(unit.session, batch, besides):
        batch.doing, batch.share = words, 0.0
        points.show_progress(unit, batch)


def _is_worked_on(session: Session, batch: BatchRow, besides: ShardRow | None) -> bool:
    at_it = exists().where(
        ShardRow.batch_id == batch.id,
        ShardRow.id != (besides.id if besides else 0),
        ShardRow.state == WorkState.RUNNING,
        ShardRow.due_at > now(),
    )
    return bool(session.scalar(select(at_it)))
