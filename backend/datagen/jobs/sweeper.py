"""The sweeper: knocks for rows that wait though nobody knocks: a lost queue, a dead worker, a wait that is over."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.jobs.queues import Queues
from datagen.store.database import Database
from datagen.store.rows import BatchRow, InboxRow, OutboxRow, ShardRow, SpecRow, StudyRow, WorkState, now
from datagen.workflow.building import shard_door
from datagen.workflow.workshop import Door, Knock

#: Rows looked at in one sweep, a door; the next sweep takes the rest.
MOST_ROWS = 50_000

_DOORS = ((InboxRow, Door.EVENT), (OutboxRow, Door.OUTBOX))


def sweep(database: Database, queues: Queues) -> int:
    """Knock for every row that is due and not queued; returns how many.

    Raises:
        redis.exceptions.RedisError: Redis is away; the next sweep tries again.
    """
    moment = now()
    overdue: list[Knock] = []
    with database.read() as session:
        for kind, door in _DOORS:
            waiting = session.scalars(
                select(kind.id)
                .where(kind.state.in_([WorkState.PENDING, WorkState.RUNNING]), kind.due_at <= moment)
                .order_by(kind.id)
                .limit(MOST_ROWS)
            )
            overdue += [Knock(door, row_id) for row_id in waiting]
        overdue += _shards(session, moment)
        stale = session.scalars(select(StudyRow.id).where(StudyRow.inputs_read != StudyRow.inputs_changed))
        overdue += [Knock(Door.INPUTS, study_id) for study_id in stale]
    queued = queues.queued()  # after the rows were read: what was knocked for meanwhile is among them
    knocks = [knock for knock in overdue if knock not in queued]
    if knocks:
        queues.knock(knocks)
    return len(knocks)


def _shards(session: Session, moment: datetime) -> list[Knock]:
    """The shards that are due, each at the door of its engine's workers."""
    waiting = session.execute(
        select(ShardRow.id, SpecRow.body["engine"].as_string())
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(ShardRow.state.in_([WorkState.PENDING, WorkState.RUNNING]), ShardRow.due_at <= moment)
        .order_by(ShardRow.id)
        .limit(MOST_ROWS)
    ).all()
    doors = {engine: shard_door(engine) for engine in {engine for _, engine in waiting}}
    return [Knock(doors[engine], row_id) for row_id, engine in waiting]
