"""Cancelling a batch and work on its shards lock in one order, so that they never deadlock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import select, text

from datagen.domain.lifecycle import SpecState, StudyState
from datagen.entrypoints import bootstrap
from datagen.errors import StoreUnavailable
from datagen.store.database import Database
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import FitReport
from datagen.workflow.decisions import batch_end, spec_versions
from datagen.workflow.generation import batch_status
from datagen.workflow.generation.progress import ProgressReporter
from datagen.workflow.generation.shard_rendering import FittedEngineCache, RenderedShard, RenderJob
from datagen.workflow.generation.shard_samples import ShardSamples
from datagen.workflow.leased_work import Lease
from datagen.workflow.rejection import Rejections
from datagen.workflow.services import JobKind, Services
from stage.processes import wait_until
from studio import PATIENCE_S, settings_of

Work = Callable[[Lease[ShardRow]], object]


@pytest.fixture
def services(postgres_url: str, tmp_path: Path) -> Iterator[Services]:
    """Rows of one run of two shards; only the rows are used."""
    given = {
        "DATAGEN_DATA_DIR": str(tmp_path),
        "DATAGEN_DATABASE_URL": postgres_url,
        "LABEL_STUDIO_API_KEY": "a" * 40,
    }
    chosen = settings_of(given)
    chosen.make_missing_secrets()
    built = bootstrap.build_services(chosen, lambda _job_requests: None)
    built.database.upgrade()
    state = StudyState.GENERATING
    body = {"engine": "composite"}
    with built.database.write() as session:
        for row in (
            StudyRow(id=1, name="plates", labels=["pit"], engine="composite", preview_size=2, state=state),
            SpecRow(id=1, study_id=1, version=1, digest="0", body=body, created_by="tester", state=SpecState.ACCEPTED),
            BatchRow(
                id=1,
                study_id=1,
                spec_id=1,
                kind=BatchKind.RUN,
                number=1,
                first=0,
                count=4,
                requested_by="tester",
                status_text=batch_status.DIED,
            ),
            ShardRow(id=1, batch_id=1, start=0, stop=2, state=WorkState.RUNNING, token="ours", attempts=1),
            ShardRow(id=2, batch_id=1, start=2, stop=4),
        ):
            session.add(row)
            session.flush()
    yield built
    built.database.close()
    built.label_studio.close()


def held(services: Services) -> Lease[ShardRow]:
    """The first shard, as a worker that renders it has it."""
    with services.database.read() as session:
        job = RenderJob(services, FittedEngineCache(services))
        return Lease(services=services, job=job, row=session.get_one(ShardRow, 1))


def is_waited_for(database: Database) -> bool:
    """Whether a transaction waits for a lock of another."""
    with database.read() as session:
        return bool(session.scalar(text("SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted)")))


def finish(lease: Lease[ShardRow]) -> None:
    body = {
        "image": {"width": 8, "height": 8},
        "instances": [],
        "provenance": {"steps": {}, "background": {"name": "plain.jpg"}},
    }
    rows = [SampleRow(key="s1-v1-run1-0", batch_id=1, shard_id=1, index=0, body=body)]
    drawn = ShardSamples(samples=rows, rejected=[], counts=Rejections(), cells=[])
    rendered = RenderedShard(
        drawn=drawn, report=FitReport(), sheet=None, seconds=1.0, job_kind=JobKind.SHARD, learned=[]
    )
    assert isinstance(lease.job, RenderJob)
    lease.finish(partial(lease.job.write, rendered))


def dispatch(lease: Lease[ShardRow]) -> None:
    with lease.services.database.read() as session:
        batch = session.get_one(BatchRow, 1)
    reporter = ProgressReporter(lease.services, lease.row, batch, threading.Event())
    reporter.rendering(1)
    reporter.write()


def claim(lease: Lease[ShardRow]) -> None:
    with lease.services.unit() as unit:
        lease.job.claim(unit, 2, lease.services.lease_seconds)


WORK: dict[str, Work] = {
    "claim": claim,
    "dispatch": dispatch,
    "finish": finish,
    "wait": lambda lease: lease.end_after(StoreUnavailable("the image store is full", "it is full")),
    "try again": lambda lease: lease.end_after(RuntimeError("broken")),
    "fail": lambda lease: lease.give_up("broken"),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK.keys())
def test_cancelling_a_batch_meets_work_on_its_shards_without_deadlock(services: Services, work: Work) -> None:
    lease = held(services)
    with ThreadPoolExecutor(1) as pool:
        with services.unit() as unit:
            unit.lock_study(1)
            batch = spec_versions.lock_batch(unit, 1)
            worker = pool.submit(work, lease)
            wait_until(lambda: is_waited_for(services.database), PATIENCE_S, "The worker's wait", every=0.02)
            batch_end.cancel(unit, batch, "cancelled by tester")
        worker.result(PATIENCE_S)
    with services.database.read() as session:
        assert list(session.scalars(select(ShardRow.state))) == [WorkState.CANCELLED] * 2
        assert session.scalars(select(SampleRow)).all() == []


def test_work_on_a_batch_may_add_outbox_rows_while_its_study_is_locked(services: Services) -> None:
    """Its outbox rows refer to the study, whose lock another transaction holds that may wait for the batch."""
    with ThreadPoolExecutor(1) as pool, services.unit() as unit:
        unit.lock_study(1)
        pool.submit(finish, held(services)).result(PATIENCE_S)
        batch = spec_versions.lock_batch(unit, 1)
        assert batch.status_text == ""
