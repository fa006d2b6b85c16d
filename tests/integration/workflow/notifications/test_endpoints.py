"""Endpoints that failed, with several workers at once, on SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from datagen.domain.notification import Channel
from datagen.store.database import Database
from datagen.store.tables.base import now
from datagen.store.tables.notifications import EndpointRow, RecipientRow
from datagen.workflow.notifications import endpoints

pytestmark = pytest.mark.integration
WORKERS = 4


def recipient(number: int) -> RecipientRow:
    """A recipient at one server, with an address of its own."""
    address = f"https://dead.example.org/{number}"
    return RecipientRow(id=number, study_id=1, person="ann", channel=Channel.WEBHOOK, address=address, shown="…")


def at_once(database: Database, work: Callable[[Session, RecipientRow], object]) -> list[object]:
    """Do the work for each of four recipients, each in a transaction of its own, at the same time."""
    together = threading.Barrier(WORKERS)

    def run(number: int) -> object:
        together.wait(60)
        with database.write() as session:
            return work(session, recipient(number))

    with ThreadPoolExecutor(WORKERS) as workers:
        return list(workers.map(run, range(WORKERS)))


def test_failures_at_the_same_time_are_all_counted(database: Database) -> None:
    database.upgrade()
    at_once(database, lambda session, each: endpoints.note_failure(session, each, answered=False))
    with database.read() as session:
        failures = sorted(session.scalars(select(EndpointRow.failures)))
    assert failures == [1, 1, 1, 1, 4], "four addresses, and their server"


def test_one_of_several_workers_tries_an_endpoint_whose_wait_is_over(database: Database) -> None:
    database.upgrade()
    at_once(database, lambda session, each: endpoints.note_failure(session, each, answered=False))
    with database.write() as session:
        session.execute(update(EndpointRow).values(closed_until=now() - timedelta(seconds=1)))
    waits = at_once(database, endpoints.closed_until)
    assert waits.count(None) == 1
