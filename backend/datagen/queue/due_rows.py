"""Queries for due rows, for which a job has to be enqueued. The registry of jobs names the query of each job."""

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

#: A query: a function that returns the ids of the rows that are due at the given time, in ascending order.
DueRows = Callable[[Session, datetime], Iterable[int]]

#: Maximum number of rows that one query returns; the next scan finds the rest.
MAX_ROWS = 50_000


def is_due(table: type[LeasedRow], moment: datetime) -> ColumnElement[bool]:
    """Return the condition for due rows of a table: the row is pending and due, or its lease has expired."""
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
