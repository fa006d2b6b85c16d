"""The sweeper: knocks for rows that wait though nobody knocks: a lost queue, a dead worker, a wait that is over.

Of shards that wait for a worker it also says so, where people look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from datagen.jobs.queues import GPU, Queues
from datagen.jobs.vitals import live_workers
from datagen.store.database import Database
from datagen.store.rows import BatchRow, InboxRow, OutboxRow, ShardRow, SpecRow, StudyRow, WorkState, now
from datagen.workflow import waiting
from datagen.workflow.building import shard_door
from datagen.workflow.workshop import Door, Knock, Unit

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
            found = session.scalars(
                select(kind.id)
                .where(kind.state.in_([WorkState.PENDING, WorkState.RUNNING]), kind.due_at <= moment)
                .order_by(kind.id)
                .limit(MOST_ROWS)
            )
            overdue += [Knock(door, row_id) for row_id in found]
        shards = list(_shards(session, moment))
        stale = session.scalars(
            select(StudyRow.id).where(
                StudyRow.inputs_read != StudyRow.inputs_changed,
                or_(StudyRow.inputs_due_at.is_(None), StudyRow.inputs_due_at <= moment),
            )
        )
        overdue += [*(shard.knock for shard in shards), *(Knock(Door.INPUTS, study_id) for study_id in stale)]
        postponed = session.scalars(select(StudyRow.id).where(StudyRow.proposals_due_at <= moment))
        overdue += [Knock(Door.PROPOSALS, study_id) for study_id in postponed]
    queued = queues.queued()  # after the rows were read: what was knocked for meanwhile is among them
    knocks = [knock for knock in overdue if knock not in queued]
    if knocks:
        queues.knock(knocks)
    _say_what_is_waited_for(database, queues, shards)
    return len(knocks)


class _Shard(NamedTuple):
    """A shard that is due."""

    knock: Knock
    batch_id: int
    #: somebody was at it, and was not heard of for as long as a lease
    died: bool
    #: what stands in its batch's decision task
    doing: str


def _shards(session: Session, moment: datetime) -> Iterator[_Shard]:
    """The shards that are due, each at the door of its engine's workers."""
    found = session.execute(
        select(ShardRow.id, ShardRow.state, SpecRow.body["engine"].as_string(), BatchRow.id, BatchRow.doing)
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(ShardRow.state.in_([WorkState.PENDING, WorkState.RUNNING]), ShardRow.due_at <= moment)
        .order_by(ShardRow.id)
        .limit(MOST_ROWS)
    ).all()
    doors = {engine: shard_door(engine) for engine in {engine for _, _, engine, _, _ in found}}
    for row_id, state, engine, batch_id, doing in found:
        yield _Shard(Knock(doors[engine], row_id), batch_id, state == WorkState.RUNNING, doing)


def _say_what_is_waited_for(database: Database, queues: Queues, shards: Sequence[_Shard]) -> None:
    for_gpu = any(shard.knock.door is Door.GPU_SHARD for shard in shards)
    no_gpu = for_gpu and not any(GPU in worker.queues for worker in live_workers(queues))
    words: dict[int, str] = {
        shard.batch_id: said
        for shard in shards
        if (said := _waits_for(shard, no_gpu=no_gpu)) is not None and said != shard.doing
    }
    if not words:
        return
    with database.write() as session:
        unit = Unit(session=session)
        for batch_id, said in words.items():
            batch = session.get(BatchRow, batch_id, with_for_update=True)
            if batch is not None:  # its study was not deleted meanwhile
                waiting.say(unit, batch, said)
    queues.knock(unit.knocks)


def _waits_for(shard: _Shard, *, no_gpu: bool) -> str | None:
    """What is to stand in its decision task; None: what stands there."""
    if shard.knock.door is Door.GPU_SHARD and no_gpu:
        return waiting.NO_GPU
    if shard.died:
        return waiting.DIED
    return "" if shard.doing == waiting.NO_GPU else None  # there is one now, and its turn will come
