"""Leases: one owner at a time, a dead owner's work becomes free, and an owner without the lease cannot write."""

from __future__ import annotations

from datetime import timedelta

from datagen.store import leases
from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.messages import InboxRow


def _waiting(database: Database) -> int:
    with database.write() as session:
        row = InboxRow(fingerprint="one", action="ANNOTATION_CREATED")
        session.add(row)
    return row.id


def _claim(database: Database, row_id: int, seconds: float = 60) -> InboxRow | None:
    with database.write() as session:
        return leases.claim(session, InboxRow, row_id, seconds)


def test_two_workers_cannot_both_take_a_row(database: Database) -> None:
    row_id = _waiting(database)
    first, second = _claim(database, row_id), _claim(database, row_id)
    assert first is not None
    assert first.state is WorkState.RUNNING
    assert second is None


def test_a_dead_workers_row_is_free_when_its_lease_ends(database: Database) -> None:
    row_id = _waiting(database)
    first = _claim(database, row_id, seconds=-1)
    second = _claim(database, row_id)
    assert first is not None
    assert second is not None
    assert second.attempts == 2
    assert second.token != first.token


def test_owner_without_the_lease_is_refused_before_writing(database: Database) -> None:
    row_id = _waiting(database)
    first = _claim(database, row_id, seconds=-1)
    second = _claim(database, row_id)
    assert first is not None
    assert second is not None
    with database.write() as session:
        assert leases.get_if_owned(session, InboxRow, row_id, first.token) is None
        assert not leases.renew(session, InboxRow, row_id, first.token, 60)
        assert leases.get_if_owned(session, InboxRow, row_id, second.token) is not None


def test_a_renewed_lease_keeps_others_out(database: Database) -> None:
    row_id = _waiting(database)
    mine = _claim(database, row_id, seconds=-1)
    assert mine is not None
    with database.write() as session:
        assert leases.renew(session, InboxRow, row_id, mine.token, 60)
    assert _claim(database, row_id) is None


def test_finished_row_is_never_claimed_again(database: Database) -> None:
    row_id = _waiting(database)
    mine = _claim(database, row_id)
    assert mine is not None
    with database.write() as session:
        held = leases.get_if_owned(session, InboxRow, row_id, mine.token)
        assert held is not None
        leases.finish(held)
    assert _claim(database, row_id) is None


def test_postponed_row_is_claimed_only_when_due(database: Database) -> None:
    row_id = _waiting(database)
    mine = _claim(database, row_id)
    assert mine is not None
    with database.write() as session:
        held = leases.get_if_owned(session, InboxRow, row_id, mine.token)
        assert held is not None
        leases.postpone(held, "Label Studio is away", now() + timedelta(hours=1))
    assert _claim(database, row_id) is None
    with database.write() as session:
        row = session.get_one(InboxRow, row_id)
        assert row.error == "Label Studio is away"
        row.due_at = now()
    assert _claim(database, row_id) is not None


def test_row_that_was_given_up_keeps_its_reason(database: Database) -> None:
    row_id = _waiting(database)
    mine = _claim(database, row_id)
    assert mine is not None
    with database.write() as session:
        held = leases.get_if_owned(session, InboxRow, row_id, mine.token)
        assert held is not None
        leases.give_up(held, "x" * 5000)
    with database.read() as session:
        row = session.get_one(InboxRow, row_id)
    assert row.state is WorkState.FAILED
    assert row.error == "x" * leases.LONGEST_ERROR
