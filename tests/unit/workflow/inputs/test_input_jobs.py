"""The jobs of a study's inputs: one worker at a time reads them, and one makes proposals; a dead one is replaced."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from datagen.domain.inputs import Role
from datagen.errors import StoreUnavailable
from datagen.queue.recovery import sweep
from datagen.store import leases
from datagen.store.tables.base import LeasedRow, WorkState, now
from datagen.store.tables.inputs import InputReadingRow, ProposalMakingRow
from datagen.workflow.inputs import input_jobs, input_sync, suggestions
from datagen.workflow.inputs.input_requests import reading_problem, request_proposals, request_reading
from datagen.workflow.services import JobKind, JobRequest
from datagen.workflow.studies.maintenance import retry
from fake_studio import FakeStudio
from studio import Study, good_inputs

READING, MAKING = (InputReadingRow, JobKind.INPUTS), (ProposalMakingRow, JobKind.PROPOSALS)
BOTH = pytest.mark.parametrize(("table", "job_kind"), [READING, MAKING], ids=["inputs", "proposals"])


def request(studio: FakeStudio, study: Study, job_kind: JobKind) -> None:
    with studio.services.unit() as unit:
        ask = request_reading if job_kind is JobKind.INPUTS else request_proposals
        ask(unit, unit.lock_study(study.id))


def work(studio: FakeStudio, study: Study, job_kind: JobKind) -> None:
    if job_kind is JobKind.INPUTS:
        input_jobs.read_inputs(studio.services, study.id)
    else:
        input_jobs.make_proposals(studio.services, studio.fitted_engines, study.id)


def row_of(studio: FakeStudio, study: Study, table: type[LeasedRow]) -> LeasedRow:
    with studio.rows() as session:
        return session.get_one(table, study.id)


@pytest.fixture
def during_work(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], list[None]]:
    """Replaces the work of both jobs by an action; the list has an element for each time that work began."""

    def replace(act: Callable[[], object]) -> list[None]:
        begun: list[None] = []

        def instead(*_args: object, **_more: object) -> bool:
            begun.append(None)
            act()
            return True

        monkeypatch.setattr(input_sync, "refresh", instead)
        monkeypatch.setattr(suggestions, "propose", instead)
        return begun

    return replace


@BOTH
def test_second_worker_does_nothing_while_the_first_one_works(
    studio: FakeStudio, study: Study, table: type[LeasedRow], job_kind: JobKind, during_work: Callable
) -> None:
    studio.settle()
    request(studio, study, job_kind)
    begun = during_work(lambda: work(studio, study, job_kind))
    work(studio, study, job_kind)
    assert len(begun) == 1


@BOTH
def test_work_of_a_dead_worker_is_found_and_taken_over(
    studio: FakeStudio, study: Study, table: type[LeasedRow], job_kind: JobKind, during_work: Callable
) -> None:
    studio.settle()
    request(studio, study, job_kind)
    with studio.services.database.write() as session:
        assert leases.claim(session, table, study.id, seconds=60) is not None
    studio.queue.waiting.clear()
    begun = during_work(lambda: None)
    sweep(studio.services.database, studio.queue)
    work(studio, study, job_kind)
    assert not begun  # its lease has not expired yet
    with studio.services.database.write() as session:
        session.get_one(table, study.id).due_at = now()
    sweep(studio.services.database, studio.queue)
    assert JobRequest(job_kind, study.id) in studio.queue.queued()
    work(studio, study, job_kind)
    assert len(begun) == 1


@BOTH
def test_request_during_the_work_has_it_repeated(
    studio: FakeStudio, study: Study, table: type[LeasedRow], job_kind: JobKind, during_work: Callable
) -> None:
    studio.settle()
    request(studio, study, job_kind)
    studio.queue.waiting.clear()
    during_work(lambda: request(studio, study, job_kind))
    work(studio, study, job_kind)
    row = row_of(studio, study, table)
    assert row.state == WorkState.PENDING
    assert row.due_at <= now()
    assert JobRequest(job_kind, study.id) in studio.queue.queued()


@BOTH
def test_work_without_a_request_is_not_done(
    studio: FakeStudio, study: Study, table: type[LeasedRow], job_kind: JobKind, during_work: Callable
) -> None:
    studio.settle()
    assert row_of(studio, study, table).state == WorkState.DONE
    begun = during_work(lambda: None)
    work(studio, study, job_kind)
    assert not begun


@BOTH
def test_outage_postpones_the_work(
    studio: FakeStudio, study: Study, table: type[LeasedRow], job_kind: JobKind, during_work: Callable
) -> None:
    def fail() -> None:
        raise StoreUnavailable("the image store is full", "it is full")

    studio.settle()
    request(studio, study, job_kind)
    during_work(fail)
    work(studio, study, job_kind)
    row = row_of(studio, study, table)
    assert (row.state, row.waits) == (WorkState.PENDING, 1)
    assert row.due_at > now()


def test_reading_that_lost_its_lease_writes_nothing(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.settle()
    study.give(Role.BACKGROUND, good_inputs(1)[Role.BACKGROUND])
    before = study.row().inputs_read
    request(studio, study, JobKind.INPUTS)
    read_tasks = input_sync.unreadable_tasks.read_tasks

    def lose(*args: object) -> object:
        with studio.services.database.write() as session:
            session.get_one(InputReadingRow, study.id).token = "another"
        return read_tasks(*args)

    monkeypatch.setattr(input_sync.unreadable_tasks, "read_tasks", lose)
    work(studio, study, JobKind.INPUTS)
    assert study.row().inputs_read == before
    row = row_of(studio, study, InputReadingRow)
    assert (row.state, row.token) == (WorkState.RUNNING, "another")


def test_reading_that_is_given_up_is_shown_until_it_is_tried_again(
    studio: FakeStudio, study: Study, during_work: Callable
) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    studio.settle()
    request(studio, study, JobKind.INPUTS)
    during_work(fail)
    for _ in range(input_jobs.MAX_ATTEMPTS):
        studio.pass_time()
        with pytest.raises(RuntimeError):
            work(studio, study, JobKind.INPUTS)
    with studio.rows() as session:
        assert reading_problem(session, study.row()).startswith("failed: RuntimeError")
    assert retry(studio.services, study.name, "tester").inputs == 1
    row = row_of(studio, study, InputReadingRow)
    assert (row.state, row.error, row.attempts) == (WorkState.PENDING, "", 0)
