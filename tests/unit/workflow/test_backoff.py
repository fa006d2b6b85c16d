"""Backoff: each wait is longer, a minute at most, and spread at random.

That a refusal ends and an absence does not is tested with the work itself, in ``test_events`` and ``test_telling``.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import NotReady
from datagen.store.database import Database
from datagen.store.tables.studies import StudyRow
from datagen.workflow.backoff import LONGEST_WAIT, wait_after
from datagen.workflow.outages import shown

#: Enough that two draws of the whole of them do not look alike.
MANY = 200


@pytest.mark.parametrize(
    ("attempt", "full"), [(1, 2.0), (2, 4.0), (3, 8.0), (5, 32.0), (6, LONGEST_WAIT), (10_000, LONGEST_WAIT)]
)
def test_wait_is_between_half_and_the_whole_of_a_doubling_time(attempt: int, full: float) -> None:
    waits = [wait_after(attempt) for _ in range(MANY)]
    assert full / 2 <= min(waits) < max(waits) <= full


def test_rows_that_failed_together_do_not_come_back_together() -> None:
    assert len({round(wait_after(6)) for _ in range(MANY)}) > LONGEST_WAIT / 4


def test_a_reason_holds_no_statement_of_the_database(tmp_path: Path) -> None:
    """Raw SQL was shown to people."""
    database = Database(f"sqlite:///{tmp_path / 'empty.sqlite3'}")
    with pytest.raises(SQLAlchemyError) as fault, database.read() as session:
        session.scalars(select(StudyRow)).all()
    database.close()
    reason = shown(fault.value)
    assert "SELECT" not in reason
    assert "run: datagen migrate" in reason
    assert shown(NotReady("draw a box")) == "draw a box"
    assert "too small" not in shown(ValueError("too small"))  # a library's words may hold an address or a path
