"""Leases: one process at a time works on a row, and a dead one's work becomes free when its lease ends.

A lease is short, and renewed by a thread beside the work for as long as its process lives: what takes hours is not
taken from who is at it, and what a killed process left is free soon. Claiming hands out a fencing token (as in
Kleppmann, *Designing Data-Intensive Applications*, chapter 8): whoever finds another token in the row on coming back
has lost it, and must not write what it made.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

import structlog
from sqlalchemy import and_, or_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.store.database import Database
from datagen.store.periodic_thread import run_periodically
from datagen.store.tables import InboxRow, OutboxRow, ShardRow, WorkState, now

LeasedRow = InboxRow | OutboxRow | ShardRow
R = TypeVar("R", InboxRow, OutboxRow, ShardRow)

log = structlog.get_logger()

#: An error's text is kept up to this length; the whole of it is in the log.
LONGEST_ERROR = 1000
#: How often a lease is renewed in its time: a database that is away for most of it does no harm.
RENEWALS = 6


def claim(session: Session, kind: type[R], row_id: int, seconds: float) -> R | None:
    """The row, now ours for ``seconds``; None when it is done, not due yet, or somebody else's."""
    moment = now()
    free = or_(
        and_(kind.state == WorkState.PENDING, kind.due_at <= moment),
        and_(kind.state == WorkState.RUNNING, kind.due_at <= moment),
    )
    taken = session.execute(
        update(kind)
        .where(kind.id == row_id, free)
        .values(
            state=WorkState.RUNNING,
            token=secrets.token_hex(16),
            due_at=moment + timedelta(seconds=seconds),
            attempts=kind.attempts + 1,
        )
        .execution_options(synchronize_session=False)
    )
    if taken.rowcount != 1:  # type: ignore[attr-defined]
        return None
    return session.get(kind, row_id, populate_existing=True)


def get_if_owned(session: Session, kind: type[R], row_id: int, token: str | None) -> R | None:
    """The row, locked until the transaction ends, if the lease is still ours; None when it was lost."""
    row = session.get(kind, row_id, populate_existing=True, with_for_update=True)
    return row if row is not None and row.state == WorkState.RUNNING and row.token == token else None


def renew(session: Session, kind: type[R], row_id: int, token: str | None, seconds: float) -> bool:
    """Make the lease last ``seconds`` from now; False when it was lost."""
    row = get_if_owned(session, kind, row_id, token)
    if row is None:
        return False
    row.due_at = now() + timedelta(seconds=seconds)
    return True


@contextmanager
def keep_renewed(database: Database, row: R, seconds: float) -> Iterator[threading.Event]:
    """Renew a claimed row's lease while the block lasts; the event is set once it was lost, or cancelled."""
    kind, row_id, token = type(row), row.id, row.token
    lost = threading.Event()

    def renewing() -> bool:
        try:
            with database.write() as session:
                if not renew(session, kind, row_id, token, seconds):
                    lost.set()
        except SQLAlchemyError as fault:  # the next renewal may still come in time
            log.warning("lease.not_renewed", kind=kind.__tablename__, row=row_id, reason=type(fault).__name__)
        return not lost.is_set()

    with run_periodically(renewing, seconds / RENEWALS, f"lease-{kind.__tablename__}-{row_id}"):
        yield lost


def finish(row: LeasedRow) -> None:
    """Mark a held row as done."""
    row.state, row.token, row.error, row.waiting_since = WorkState.DONE, None, "", None


def postpone(row: LeasedRow, error: str, until: datetime) -> None:
    """Give a held row back, to be tried again at ``until``."""
    row.state, row.token, row.due_at, row.error = WorkState.PENDING, None, until, plain(error)[:LONGEST_ERROR]


def wait(row: LeasedRow, error: str, until: datetime) -> None:
    """Give a held row back because something outside is unavailable; the attempt does not count as a failure."""
    postpone(row, error, until)
    row.waits += 1
    row.waiting_since = row.waiting_since or now()


def failures(row: LeasedRow) -> int:
    """How many attempts on a row, the one under way included, were not ended by an outage."""
    return row.attempts - row.waits


def start_afresh(row: LeasedRow) -> None:
    """Count a row's attempts from nothing again."""
    row.attempts, row.waits, row.waiting_since = 0, 0, None


def give_up(row: LeasedRow, error: str) -> None:
    """Mark a held row as failed, with the reason for people to see."""
    row.state, row.token, row.error = WorkState.FAILED, None, plain(error)[:LONGEST_ERROR]
