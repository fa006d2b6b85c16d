"""Leases: one process at a time works on a row, and a dead one's work becomes free when its lease ends.

Claiming hands out a fencing token (as in Kleppmann, *Designing Data-Intensive Applications*, chapter 8): whoever
finds another token in the row on coming back has lost it, and must not write what it made.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import TypeVar

from sqlalchemy import and_, or_, update
from sqlalchemy.orm import Session

from datagen.store.rows import InboxRow, OutboxRow, ShardRow, WorkState, now

LeasedRow = InboxRow | OutboxRow | ShardRow
R = TypeVar("R", InboxRow, OutboxRow, ShardRow)

#: An error's text is kept up to this length; the whole of it is in the log.
LONGEST_ERROR = 1000


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


def held(session: Session, kind: type[R], row_id: int, token: str | None) -> R | None:
    """The row, locked until the transaction ends, if the lease is still ours; None when it was lost."""
    row = session.get(kind, row_id, populate_existing=True, with_for_update=True)
    return row if row is not None and row.state == WorkState.RUNNING and row.token == token else None


def renew(session: Session, kind: type[R], row_id: int, token: str | None, seconds: float) -> bool:
    """Make the lease last ``seconds`` from now; False when it was lost."""
    row = held(session, kind, row_id, token)
    if row is None:
        return False
    row.due_at = now() + timedelta(seconds=seconds)
    return True


def finish(row: LeasedRow) -> None:
    """Mark a held row as done."""
    row.state, row.token, row.error = WorkState.DONE, None, ""


def postpone(row: LeasedRow, error: str, until: datetime) -> None:
    """Give a held row back, to be tried again at ``until``."""
    row.state, row.token, row.due_at, row.error = WorkState.PENDING, None, until, error[:LONGEST_ERROR]


def give_up(row: LeasedRow, error: str) -> None:
    """Mark a held row as failed, with the reason for people to see."""
    row.state, row.token, row.error = WorkState.FAILED, None, error[:LONGEST_ERROR]
