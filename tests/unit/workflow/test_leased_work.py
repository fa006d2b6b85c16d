"""Work on a leased row: it ends done, postponed or given up, and writes nothing once another process owns the row."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from datagen.errors import DatagenError, DeviceFault, LabelStudioError, NotReady, StoreUnavailable
from datagen.store import leases
from datagen.store.counters import counts
from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.messages import InboxRow
from datagen.workflow.leased_work import LeasedJob, LeaseLost, Write, leased_work
from datagen.workflow.services import Services, UnitOfWork


class Job(LeasedJob[InboxRow]):
    """Work that runs the given functions, and records its calls."""

    table = InboxRow
    max_failures = 3
    permanent_faults = (NotReady,)

    def __init__(
        self, act: Callable[[InboxRow], object] = lambda _row: None, patience: timedelta | None = None
    ) -> None:
        self._act = act
        self.patience = patience
        self.reported: list[str] = []

    def work(self, row: InboxRow, lost: threading.Event) -> Write[InboxRow]:
        self._act(row)
        return self._write

    def _write(self, unit: UnitOfWork, row: InboxRow) -> None:
        row.handled_at = now()

    def waits(self, unit: UnitOfWork, row: InboxRow, outage: object) -> None:
        self.reported.append("waits")

    def failed(self, unit: UnitOfWork, row: InboxRow) -> None:
        self.reported.append("failed")

    def gave_up(self, unit: UnitOfWork, row: InboxRow) -> None:
        self.reported.append("gave up")


def raising(fault: Exception) -> Callable[[InboxRow], object]:
    def act(_row: InboxRow) -> None:
        raise fault

    return act


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'rows.sqlite3')}")
    with opened.write() as session:
        session.add(InboxRow(id=1, fingerprint="one", action="ANNOTATION_CREATED"))
    yield opened
    opened.close()


@pytest.fixture
def services(database: Database) -> Services:
    """The part of the services that leased work needs."""
    services_stub = SimpleNamespace(database=database, lease_seconds=60.0, enqueue=lambda _requests: None)
    services_stub.unit = lambda: Services.unit(services_stub)  # type: ignore[arg-type]
    return cast(Services, services_stub)


def row_of(database: Database) -> InboxRow:
    with database.read() as session:
        return session.get_one(InboxRow, 1)


def change(database: Database, **values: object) -> None:
    with database.write() as session:
        for name, value in values.items():
            setattr(session.get_one(InboxRow, 1), name, value)


def test_work_that_succeeds_is_written_together_with_the_rows_end(services: Services, database: Database) -> None:
    leased_work(services, Job(), 1)
    row = row_of(database)
    assert (row.state, row.token, row.attempts) == (WorkState.DONE, None, 1)
    assert row.handled_at is not None


def test_a_row_that_is_done_or_owned_by_another_is_left_alone(services: Services, database: Database) -> None:
    for values in ({"state": WorkState.DONE}, {"state": WorkState.RUNNING, "due_at": now() + timedelta(minutes=1)}):
        change(database, **values)
        leased_work(services, Job(raising(AssertionError("it worked"))), 1)
        assert row_of(database).attempts == 0


def test_an_outage_postpones_without_counting_as_a_failure(services: Services, database: Database) -> None:
    for number in range(1, 6):
        change(database, state=WorkState.PENDING, due_at=now())
        job = Job(raising(StoreUnavailable("the image store is full", "it is full")))
        leased_work(services, job, 1)
        row = row_of(database)
        assert (row.state, row.waits, leases.failures(row)) == (WorkState.PENDING, number, 0)
        assert row.error == "the image store is full"
        assert row.due_at > now()
        assert job.reported == ["waits"]


def test_an_outage_longer_than_the_patience_ends_the_wait(services: Services, database: Database) -> None:
    change(database, waiting_since=now() - timedelta(hours=25))
    job = Job(raising(StoreUnavailable("the image store is full", "it is full")), patience=timedelta(hours=24))
    leased_work(services, job, 1)
    row = row_of(database)
    assert (row.state, row.error) == (WorkState.FAILED, "waited 25 hours for the image store: it is full")
    assert job.reported == ["gave up"]


def test_failures_postpone_until_they_are_too_many(services: Services, database: Database) -> None:
    reported = []
    for _ in range(Job.max_failures):
        change(database, due_at=now())
        job = Job(raising(LabelStudioError("Label Studio refused")))
        leased_work(services, job, 1)
        reported += job.reported
    assert reported == ["failed"] * (Job.max_failures - 1) + ["gave up"]
    row = row_of(database)
    assert (row.state, row.error) == (WorkState.FAILED, "Label Studio refused")
    assert counts(database)["label_studio_errors"] == Job.max_failures


def test_a_permanent_fault_is_given_up_at_once(services: Services, database: Database) -> None:
    leased_work(services, Job(raising(NotReady("draw a box"))), 1)
    row = row_of(database)
    assert (row.state, row.attempts, row.error) == (WorkState.FAILED, 1, "draw a box")


def test_a_row_that_kills_its_workers_is_given_up(services: Services, database: Database) -> None:
    """A worker that is killed writes nothing: only the number of claims tells of it."""
    for _ in range(Job.max_failures):
        with database.write() as session:
            assert leases.claim(session, InboxRow, 1, seconds=-1) is not None
    leased_work(services, Job(raising(AssertionError("it worked"))), 1)
    row = row_of(database)
    assert row.state == WorkState.FAILED
    assert row.error == "its worker was killed 3 times; see the end of the workers' log"


def test_a_fault_without_a_sentence_is_raised_for_the_log_and_a_sentence_is_not(
    services: Services, database: Database
) -> None:
    with pytest.raises(RuntimeError):
        leased_work(services, Job(raising(RuntimeError("broken"))), 1)
    assert row_of(database).error == "RuntimeError; the workers' log says more"
    change(database, due_at=now())
    leased_work(services, Job(raising(DatagenError("a sentence"))), 1)
    assert row_of(database).error == "a sentence"


def test_a_device_fault_is_raised_and_another_worker_may_take_the_row_at_once(
    services: Services, database: Database
) -> None:
    with pytest.raises(DeviceFault):
        leased_work(services, Job(raising(DeviceFault("the GPU fell off"))), 1)
    row = row_of(database)
    assert row.state == WorkState.PENDING
    assert row.due_at <= now()


@pytest.mark.parametrize(
    "fault", [None, LeaseLost(), StoreUnavailable("full", "full"), NotReady("draw a box"), DatagenError("a sentence")]
)
def test_an_end_that_comes_after_another_process_took_the_row_writes_nothing(
    services: Services, database: Database, fault: Exception | None
) -> None:
    def another_takes_it(row: InboxRow) -> None:
        change(database, token="another", error="")
        if fault is not None:
            raise fault

    job = Job(another_takes_it)
    leased_work(services, job, 1)
    row = row_of(database)
    assert (row.state, row.token, row.error, row.handled_at) == (WorkState.RUNNING, "another", "", None)
    assert job.reported == []
