"""Outages and faults: an outage makes work wait, and a wait does not count as a failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from datagen.domain.lifecycle import StudyEvent
from datagen.entrypoints import rq_tasks
from datagen.errors import (
    BadPicture,
    EngineError,
    LabelStudioError,
    LabelStudioMissing,
    LabelStudioUnavailable,
    StoreError,
    StoreMissing,
    StoreUnavailable,
)
from datagen.queue.recovery import sweep
from datagen.store import leases
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.store.tables.inputs import InputReadingRow, ProposalMakingRow
from datagen.store.tables.messages import OutboxRow
from datagen.workflow.backoff import persist
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.inputs import input_sync, suggestions
from datagen.workflow.inputs.input_jobs import make_proposals, read_inputs
from datagen.workflow.inputs.input_requests import request_proposals, request_reading
from datagen.workflow.leased_work import LeasedJob, Write, leased_work
from datagen.workflow.outages import outage_of, shown
from datagen.workflow.services import JobKind, JobRequest, Services
from datagen.workflow.studies.maintenance import retry
from datagen.workflow.studies.queries import describe
from stage.postgres_server import cluster
from studio import SHARD, Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    ("fault", "part"),
    [
        (StoreUnavailable("image x cannot be stored: it is full; make room", "it is full"), "the image store"),
        (LabelStudioUnavailable("Label Studio at http://here cannot be reached"), "Label Studio"),
        (RedisConnectionError("redis.example:6379"), "Redis"),
        (OperationalError("SELECT secret", {}, Exception("connection to server at 10.0.0.3 refused")), "the database"),
        (StoreError("image x is damaged"), None),
        (StoreMissing("image x is not in the store"), None),
        (LabelStudioMissing("Label Studio does not have task 7"), None),
        (LabelStudioError("Label Studio refuses it"), None),
        (EngineError("no such engine"), None),
        (BadPicture("not a picture"), None),
        (OSError(28, "No space left on device", "/tmp/x"), None),
        (ZeroDivisionError("division by zero"), None),
    ],
)
def test_outages_are_distinguished_from_faults_and_name_nothing_internal(fault: Exception, part: str | None) -> None:
    outage = outage_of(fault)
    assert (outage and outage.part) == part
    if outage is not None:
        assert str(outage).startswith(f"waits for {part}: ")
        assert not any(word in str(outage) for word in ("http", "10.0.0.3", "SELECT", "6379"))


def test_message_of_a_library_is_not_shown() -> None:
    reason = "connection to server at 10.0.0.3 refused"
    assert shown(ConnectionRefusedError(reason)) == "ConnectionRefusedError; the workers' log says more"
    message = shown(OperationalError("SELECT secret", {}, Exception(reason)))
    assert message.startswith("the database does not answer (OperationalError). ")
    assert "secret" not in message
    assert "10.0.0.3" not in message
    assert shown(EngineError("no such engine")) == "no such engine"


@pytest.fixture
def broken(studio: Studio, tmp_path: Path) -> Services:
    """The services with a file in place of the image store."""
    (tmp_path / "images").write_text("a file")
    return replace(studio.services, images=BlobStore(f"file://{tmp_path}/images"))


def run_of(study: Study, count: int) -> tuple[BatchRow, list[ShardRow]]:
    if study.row().state != "accepted":
        study.review()
    study.act(StudyEvent.APPROVE, count=count)
    run = study.batches(BatchKind.RUN)[-1]
    return run, shards_of(study, run)


def shards_of(study: Study, run: BatchRow) -> list[ShardRow]:
    with study.studio.rows() as session:
        return list(session.scalars(select(ShardRow).where(ShardRow.batch_id == run.id).order_by(ShardRow.start)))


def make_due(study: Study, shard: ShardRow) -> None:
    with study.studio.services.database.write() as session:
        session.get_one(ShardRow, shard.id).due_at = now()


def test_a_shard_waits_for_the_store_longer_than_it_may_fail(studio: Studio, study: Study, broken: Services) -> None:
    run, [shard] = run_of(study, SHARD)
    for number in range(1, 9):
        make_due(study, shard)
        render_shard(broken, FittedEngineCache(broken), shard.id)
        [waits] = shards_of(study, run)
        assert (str(waits.state), waits.waits, leases.failures(waits)) == ("pending", number, 0)
        assert waits.due_at > now()
    words = "waits for the image store: a file is in the place of its folder (Not a directory); tried again at"
    assert words in study.shown()
    assert "left" not in study.shown().partition("synthesized, running")[2].partition("</p>")[0]
    assert words in describe(studio.services.database, study.name)[0]["under_way"]
    make_due(study, shard)
    studio.settle()
    assert str(study.batches()[-1].state) == "done"
    [done] = shards_of(study, run)
    assert (leases.failures(done), done.waiting_since) == (1, None)
    assert "waits for" not in study.page()


def test_run_fails_after_a_long_outage_and_retry_resumes_it(studio: Studio, study: Study, broken: Services) -> None:
    run, [shard] = run_of(study, SHARD)
    render_shard(broken, FittedEngineCache(broken), shard.id)
    with studio.services.database.write() as session:
        row = session.get_one(ShardRow, shard.id)
        row.due_at, row.waiting_since = now(), now() - timedelta(hours=25)
    render_shard(broken, FittedEngineCache(broken), shard.id)
    failed = study.batches()[-1]
    assert failed.problem.startswith("waited 25 hours for the image store: a file is in the place")
    assert f"datagen retry {study.name!r}" in failed.problem
    assert retry(studio.services, study.name, "ann").revived.startswith(f"run {run.number} goes on")
    studio.settle()
    assert str(study.batches()[-1].state) == "done"


def test_many_shards_that_wait_renew_the_page_once(studio: Studio, study: Study, broken: Services) -> None:
    run, shards = run_of(study, 4 * SHARD)
    [point] = [point.id for point in study.points() if point.started_id == run.id]
    revisions = []
    for shard in shards:
        render_shard(broken, FittedEngineCache(broken), shard.id)
        revisions.append(
            next(row.revision for row in study.outbox() if row.kind == OutboxKind.DECISION and row.subject_id == point)
        )
    assert len(set(revisions)) == 1
    for shard in shards:
        make_due(study, shard)
    studio.settle()


class Failing(LeasedJob[OutboxRow]):
    """A job that fails."""

    table = OutboxRow
    max_failures = 3

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    def work(self, row: OutboxRow, lost: threading.Event) -> Write[OutboxRow]:
        raise self._fault


def test_waiting_is_not_counted_as_refusing(studio: Studio, study: Study) -> None:
    """A row that had waited for Label Studio a few times was given up at its first refusal."""
    row_id = study.outbox()[0].id
    with studio.services.database.write() as session:
        leases.start_afresh(session.get_one(OutboxRow, row_id))
    faults: list[Exception] = [LabelStudioUnavailable("away")] * 7 + [LabelStudioError("refused")] * 2
    for fault in faults:
        with studio.services.database.write() as session:
            row = session.get_one(OutboxRow, row_id)
            row.state, row.due_at = WorkState.PENDING, now()
        leased_work(studio.services, Failing(fault), row_id)
    with studio.rows() as session:
        row = session.get_one(OutboxRow, row_id)
        assert (str(row.state), leases.failures(row)) == ("pending", 2)
    with studio.services.database.write() as session:
        row = session.get_one(OutboxRow, row_id)
        leases.start_afresh(row)
        row.state = WorkState.DONE


def test_postponed_proposals_are_made_when_the_store_is_back(studio: Studio, study: Study, broken: Services) -> None:
    """They are made once after a reading of the inputs, and an outage then lost them."""
    with studio.services.unit() as unit:
        request_proposals(unit, unit.lock_study(study.id))
    studio.queues.redis.flushdb()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suggestions, "propose", lambda *_: broken.images.put(b"x"))
        make_proposals(broken, FittedEngineCache(broken), study.id)
    row = making_of(studio, study)
    assert (row.state, row.waits) == (WorkState.PENDING, 1)
    assert row.due_at > now()
    assert sweep(studio.services.database, studio.queues) == 0
    with studio.services.database.write() as session:
        session.get_one(ProposalMakingRow, study.id).due_at = now()
    studio.settle()
    assert making_of(studio, study).state == WorkState.DONE


def making_of(studio: Studio, study: Study) -> ProposalMakingRow:
    with studio.rows() as session:
        return session.get_one(ProposalMakingRow, study.id)


def test_the_reading_of_inputs_is_postponed_and_shown(studio: Studio, study: Study, broken: Services) -> None:
    with studio.services.unit() as unit:
        request_reading(unit, unit.lock_study(study.id))
    studio.queues.redis.flushdb()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(input_sync, "refresh", lambda *_, **__: broken.images.put(b"x"))
        read_inputs(broken, study.id)
    sweep(studio.services.database, studio.queues)
    assert JobRequest(JobKind.INPUTS, study.id) not in studio.queues.queued()  # the wait is not over
    assert "Reading the inputs waits for the image store" in study.shown()
    [problem, *_] = describe(studio.services.database, study.name)[0]["problems"]
    assert problem.startswith("reading the inputs waits for the image store")
    with studio.services.database.write() as session:
        session.get_one(InputReadingRow, study.id).due_at = now()
    studio.settle()
    assert study.row().waits_for == ""
    assert "waits for" not in study.shown()


def test_recovery_scan_continues_while_the_store_is_unavailable(
    studio: Studio, broken: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rq_tasks, "services", lambda: broken)
    monkeypatch.setattr(rq_tasks, "queues", lambda: studio.queues)
    rq_tasks.sweep()


@pytest.fixture
def postgres() -> Iterator[tuple[Database, object]]:
    with cluster() as server:
        database = Database(server.url.replace("postgresql://", "postgresql+psycopg://") + "/postgres")
        with database.write() as session:
            session.execute(text("CREATE TABLE numbers (number integer)"))
        yield database, server
        database.close()


def test_a_result_is_written_once_the_database_is_back(postgres: tuple[Database, object]) -> None:
    database, server = postgres
    server.abort()  # type: ignore[attr-defined]
    tries = 0

    def write() -> None:
        nonlocal tries
        tries += 1
        if tries == 2:
            server.start()  # type: ignore[attr-defined]
        with database.write() as session:
            session.execute(text("INSERT INTO numbers VALUES (7)"))

    persist(write)
    with database.read() as session:
        assert session.scalars(text("SELECT number FROM numbers")).all() == [7]
    assert tries >= 2


def test_internal_error_is_not_written_repeatedly() -> None:
    tries = threading.Semaphore(0)

    def write() -> None:
        tries.release()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        persist(write)
    assert tries.acquire(blocking=False)
    assert not tries.acquire(blocking=False)
