"""Leases: one process at a time works on a row, and the row of a dead process becomes free when its lease expires.

A lease is short, and a background thread renews it as long as the process runs: work of hours keeps its lease, and the
work of a killed process becomes free soon. Claiming a row issues a fencing token (as in Kleppmann, *Designing
Data-Intensive Applications*, chapter 8): a process that later finds another token in the row has lost the lease and
must not write its result.
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
from datagen.store.tables.base import LeasedRow, WorkState, now

R = TypeVar("R", bound=LeasedRow)

log = structlog.get_logger()

#: Longest error text that is stored in a row, characters; the log contains all of it.
LONGEST_ERROR = 1000
#: Number of renewals within the duration of a lease. A lease therefore survives if some of them fail.
RENEWALS = 6


def claim(session: Session, kind: type[R], row_id: int, seconds: float) -> R | None:
    """Claim a row for ``seconds`` and return it.

    Return None if the row cannot be claimed: it is missing, done, failed, cancelled, not due yet, or leased by another
    process.
    """
    current_time = now()
    free = or_(
        and_(kind.state == WorkState.PENDING, kind.due_at <= current_time),
        and_(kind.state == WorkState.RUNNING, kind.due_at <= current_time),
    )
    claimed = session.scalars(
        update(kind)
        .where(kind.id == row_id, free)
        .values(
            state=WorkState.RUNNING,
            token=secrets.token_hex(16),
            due_at=current_time + timedelta(seconds=seconds),
            attempts=kind.attempts + 1,
        )
        .returning(kind)
        .execution_options(synchronize_session=False, populate_existing=True)
    )
    return claimed.one_or_none()


def get_if_owned(session: Session, kind: type[R], row_id: int, token: str | None) -> R | None:
    """Return the row, locked until the transaction ends; None if the lease with this token was lost."""
    row = session.get(kind, row_id, populate_existing=True, with_for_update=True)
    return row if row is not None and row.state == WorkState.RUNNING and row.token == token else None


def renew(session: Session, kind: type[R], row_id: int, token: str | None, seconds: float) -> bool:
    """Extend the lease to ``seconds`` from now and return True; return False if it was lost."""
    row = get_if_owned(session, kind, row_id, token)
    if row is None:
        return False
    row.due_at = now() + timedelta(seconds=seconds)
    return True


@contextmanager
def keep_renewed(database: Database, row: R, seconds: float) -> Iterator[threading.Event]:
    """Renew a claimed row's lease every ``seconds / RENEWALS`` until the block ends.

    Yield an event. It is set once the lease is lost, because another process claimed the row or the work was cancelled.
    """
    kind, row_id, token = type(row), row.id, row.token
    lost = threading.Event()

    def renew_lease() -> bool:
        try:
            with database.write() as session:
                if not renew(session, kind, row_id, token, seconds):
                    lost.set()
        except SQLAlchemyError as fault:  # the next renewal may still come in time
            log.warning("lease.not_renewed", kind=kind.__tablename__, row=row_id, reason=type(fault).__name__)
        return not lost.is_set()

    with run_periodically(renew_lease, seconds / RENEWALS, f"lease-{kind.__tablename__}-{row_id}"):
        yield lost


def finish(row: LeasedRow) -> None:
    """Mark a claimed row as done."""
    row.state, row.token, row.error, row.waiting_since = WorkState.DONE, None, "", None


def postpone(row: LeasedRow, error: str, until: datetime) -> None:
    """Release a claimed row, to be retried at ``until``."""
    row.state, row.token, row.due_at, row.error = WorkState.PENDING, None, until, plain(error)[:LONGEST_ERROR]


def wait(row: LeasedRow, error: str, until: datetime) -> None:
    """Release a claimed row because another service is unavailable; the attempt does not count as a failure."""
    postpone(row, error, until)
    row.waits += 1
    row.waiting_since = row.waiting_since or now()


def put_off(row: LeasedRow, error: str, until: datetime) -> None:
    """Release a claimed row on which nothing was tried, to be tried at ``until``; the attempt does not count at all."""
    postpone(row, error, until)
    row.attempts -= 1
    row.waiting_since = row.waiting_since or now()


def failures(row: LeasedRow) -> int:
    """Return the number of attempts on a row, including the current one, without those that an outage ended."""
    return row.attempts - row.waits


def request(row: LeasedRow) -> None:
    """Make a row due now and reset its counts of attempts; do nothing if a process works on the row."""
    if row.state != WorkState.RUNNING:
        row.state, row.due_at = WorkState.PENDING, now()
        start_afresh(row)


def repeat(row: LeasedRow, at: datetime) -> None:
    """Release a claimed row after a successful attempt, and make it due again at the time ``at``."""
    postpone(row, "", at)
    start_afresh(row)


def start_afresh(row: LeasedRow) -> None:
    """Reset a row's counts of attempts and waits."""
    row.attempts, row.waits, row.waiting_since = 0, 0, None


def give_up(row: LeasedRow, error: str) -> None:
    """Mark a claimed row as failed, with the reason that users see."""
    row.state, row.token, row.error = WorkState.FAILED, None, plain(error)[:LONGEST_ERROR]
