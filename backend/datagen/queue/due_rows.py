"""Queries for due rows, for which a job has to be enqueued. The registry of jobs names the query of each job."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, and_, false, or_, select
from sqlalchemy.orm import Session

from datagen.store.tables.base import LeasedRow, OutboxKind, WorkState
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.messages import OutboxRow
from datagen.workflow.decisions.spec_versions import begins_with_first_images, shard_job_kind
from datagen.workflow.services import JobKind, outbox_job_kind

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
    """Return the query for the due shards that are rendered by jobs of this kind."""
    return partial(_shards, job_kind)


def _shards(job_kind: JobKind, session: Session, moment: datetime) -> Iterable[int]:
    engine, kind, is_first = SpecRow.body["engine"].as_string(), BatchRow.kind, begins_with_first_images()
    due = (
        select(ShardRow.id)
        .join(BatchRow, BatchRow.id == ShardRow.batch_id)
        .join(SpecRow, SpecRow.id == BatchRow.spec_id)
        .where(is_due(ShardRow, moment))
    )
    kinds_of_shards = session.execute(due.with_only_columns(engine, kind, is_first).distinct()).all()
    matching = [
        and_(engine == name, kind == of, is_first if first else ~is_first)
        for name, of, first in kinds_of_shards
        if shard_job_kind(name, of, is_first=first) is job_kind
    ]
    return session.scalars(due.where(or_(false(), *matching)).order_by(ShardRow.id).limit(MAX_ROWS))


def outbox(job_kind: JobKind) -> DueRows:
    """Return the query for the due outbox rows that are published by jobs of this kind."""
    return partial(_outbox, job_kind)


def _outbox(job_kind: JobKind, session: Session, moment: datetime) -> Iterable[int]:
    kinds = [kind for kind in OutboxKind if outbox_job_kind(kind) is job_kind]
    due = select(OutboxRow.id).where(is_due(OutboxRow, moment), OutboxRow.kind.in_(kinds))
    return session.scalars(due.order_by(OutboxRow.id).limit(MAX_ROWS))
