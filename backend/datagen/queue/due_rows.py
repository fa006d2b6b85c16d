"""Due rows: the ids of the rows for which a job has to be enqueued, by queries that the registry of jobs names."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from datagen.store.tables.base import LeasedRow, WorkState
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.workflow.decisions.spec_versions import shard_job_kind
from datagen.workflow.services import JobKind

#: Returns the ids of the rows that are due at a time, in the order of the ids.
DueRows = Callable[[Session, datetime], Iterable[int]]

#: Maximum rows of one job in one scan; the next scan takes the rest.
MAX_ROWS = 50_000


def is_due(table: type[LeasedRow], moment: datetime) -> ColumnElement[bool]:
    """Return the condition for a leased row that is pending and due, or whose lease has expired."""
    return and_(table.state.in_([WorkState.PENDING, WorkState.RUNNING]), table.due_at <= moment)


def leased(table: type[LeasedRow]) -> DueRows:
    """Return the query for the due rows of a leased table."""
    return partial(_leased, table)


def _leased(table: type[LeasedRow], session: Session, moment: datetime) -> Iterable[int]:
    return session.scalars(select(table.id).where(is_due(table, moment)).order_by(table.id).limit(MAX_ROWS))


def shards(job_kind: JobKind) -> DueRows:
    """Return the query for the due shards whose engine needs jobs of this kind."""
    return partial(_shards, job_kind)


def _shards(job_kind: JobKind, session: Session, moment: datetime) -> Iterable[int]:
    engine = SpecRow.body["engine"].as_string()
    due = (
        select(ShardRow.id)
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(is_due(ShardRow, moment))
    )
    engines = session.scalars(due.with_only_columns(engine).distinct())
    of_kind = [name for name in engines if shard_job_kind(name) is job_kind]
    return session.scalars(due.where(engine.in_(of_kind)).order_by(ShardRow.id).limit(MAX_ROWS))
