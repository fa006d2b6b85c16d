"""The text of a decision task about a shard without a worker: its worker died, or no worker serves its queue."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from redis import Redis
from sqlalchemy import select

from datagen.domain.decision import Decision
from datagen.domain.lifecycle import StudyEvent
from datagen.queue import heartbeats
from datagen.queue.jobs import GPU
from datagen.queue.recovery import sweep
from datagen.queue.worker import _worker
from datagen.store import leases
from datagen.store.tables.base import now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions import submit
from datagen.workflow.generation import batch_status
from datagen.workflow.generation.progress import ProgressReporter
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.studies.queries import describe
from studio import ROUND, Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def build(study: Study, engine: str) -> tuple[BatchRow, ShardRow]:
    """A round of that engine that waits to be rendered, and its shard."""
    with study.studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).engine = engine
    services = replace(study.studio.services, engine_problems=lambda engine, parameters: ())
    submit.decide(
        services,
        submit.DecisionCommand(study_id=study.id, decision=Decision(action=StudyEvent.BUILD_PREVIEW), who="tester"),
    )
    batch = study.batches()[-1]
    with study.studio.rows() as session:
        return batch, session.scalars(select(ShardRow).where(ShardRow.batch_id == batch.id)).one()


def test_without_a_gpu_worker_the_decision_task_says_which_to_start(studio: Studio, study: Study) -> None:
    build(study, "diffusion")
    try:
        studio.work()
        assert batch_status.NO_GPU in study.page()
        assert batch_status.NO_GPU in describe(studio.services.database, study.name)[0]["under_way"]

        worker = _worker(Redis.from_url(studio.settings.redis_url), (GPU,))
        with heartbeats.beating(studio.settings.redis_url, heartbeats.Kind.WORKER, worker.process):
            sweep(studio.services.database, studio.queues)
            assert batch_status.NO_GPU not in study.shown()
    finally:
        study.act(StudyEvent.CANCEL)
        with studio.services.database.write() as session:
            session.get_one(StudyRow, study.id).engine = "composite"
        studio.settle()


def test_progress_of_a_dead_worker_is_not_shown(studio: Studio, study: Study) -> None:
    batch, shard = build(study, "composite")
    with studio.services.unit() as unit:
        taken = leases.claim(unit.session, ShardRow, shard.id, 60.0)
    assert taken is not None
    reporter = ProgressReporter(studio.services, taken, batch, threading.Event())
    reporter.fitting(0.03, "teaching the model: step 1 of 30, about 66 s left")
    reporter.write()
    sweep(studio.services.database, studio.queues)
    assert "about 66 s left (3%)" in study.shown()  # it has a recent heartbeat

    with studio.services.database.write() as session:
        session.get_one(ShardRow, shard.id).due_at = now()  # … and then it was killed, and its lease ended
    sweep(studio.services.database, studio.queues)
    assert "66 s left" not in study.shown()
    assert f"0 of {ROUND} synthesized, running, {batch_status.DIED}" in study.shown()

    render_shard(studio.services, FittedEngineCache(studio.services), shard.id)
    assert batch_status.DIED not in study.shown()
    studio.settle()
    assert study.row().state == "reviewing"
