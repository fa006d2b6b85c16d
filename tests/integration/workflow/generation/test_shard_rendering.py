"""Rendering shards: by one worker at a time, whole or not at all, and an end with a reason where it cannot be done."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Spec
from datagen.domain.wording import sentence_case
from datagen.store import leases
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow, SpecRow
from datagen.synthesis.engine import FittedEngine, Progress
from datagen.workflow.generation.shard_rendering import MAX_ATTEMPTS, FittedEngineCache, render_shard
from studio import ROUND, SHARD, Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


class Interrupted(FittedEngineCache):
    """A worker that calls ``meanwhile`` after it claimed a shard and before it renders it."""

    def __init__(self, studio: Studio, meanwhile: Callable[[], None]) -> None:
        super().__init__(studio.services)
        self._meanwhile = meanwhile

    def fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
        self._meanwhile()
        return super().fitted(spec, progress)


def start_run(study: Study, count: int) -> tuple[BatchRow, list[int]]:
    """A run whose rendering has not begun, and its shards."""
    if study.row().state != "accepted":
        study.review()
    study.act(StudyEvent.APPROVE, count=count)
    run = study.batches(BatchKind.RUN)[-1]
    with study.studio.rows() as session:
        query = select(ShardRow.id).where(ShardRow.batch_id == run.id).order_by(ShardRow.start)
        return run, list(session.scalars(query))


def shard_of(studio: Studio, shard_id: int) -> ShardRow:
    with studio.rows() as session:
        return session.get_one(ShardRow, shard_id)


def test_many_workers_at_once_render_every_sample_once(studio: Studio, study: Study) -> None:
    run, shards = start_run(study, 4 * SHARD)
    faults: list[BaseException] = []

    def worker() -> None:
        fitted_engines = FittedEngineCache(studio.services)
        try:
            for shard_id in shards:
                render_shard(studio.services, fitted_engines, shard_id)
        except BaseException as fault:
            faults.append(fault)

    workers = [threading.Thread(target=worker) for _ in range(4)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()

    assert faults == []
    assert [row.index for row in study.samples_of(run)] == list(range(run.first, run.first + run.count))
    assert [shard_of(studio, shard).attempts for shard in shards] == [1] * 4
    studio.settle()
    assert study.row().state == "accepted"


def test_a_worker_that_lost_its_lease_writes_nothing(studio: Studio, study: Study) -> None:
    run, [shard_id] = start_run(study, SHARD)

    def another_takes_it() -> None:
        with studio.services.database.write() as session:
            session.get_one(ShardRow, shard_id).due_at = now()  # the lease ended: this worker was thought dead
        render_shard(studio.services, FittedEngineCache(studio.services), shard_id)

    render_shard(studio.services, Interrupted(studio, another_takes_it), shard_id)

    shard = shard_of(studio, shard_id)
    assert (str(shard.state), shard.attempts) == ("done", 2)
    assert len(study.samples_of(run)) == SHARD
    studio.settle()


def test_a_dead_workers_shard_of_a_run_that_has_failed_meanwhile_is_not_taken_up_again(
    studio: Studio, study: Study
) -> None:
    """A model was loaded, and a fit continued, for a run that had been cancelled."""
    run, [lost, *_] = start_run(study, 2 * SHARD)
    with studio.services.database.write() as session:
        session.get_one(ShardRow, lost).state = WorkState.RUNNING
        session.get_one(BatchRow, run.id).state = WorkState.FAILED
    render_shard(studio.services, FittedEngineCache(studio.services), lost)
    assert str(shard_of(studio, lost).state) == "cancelled"
    assert study.samples_of(run) == []
    with studio.services.database.write() as session:
        session.get_one(BatchRow, run.id).state = WorkState.RUNNING
    study.act(StudyEvent.CANCEL)
    studio.settle()


def test_a_shard_cancelled_while_it_is_rendered_writes_nothing(studio: Studio, study: Study) -> None:
    run, [shard_id] = start_run(study, SHARD)
    render_shard(studio.services, Interrupted(studio, lambda: study.act(StudyEvent.CANCEL)), shard_id)
    assert study.samples_of(run) == []
    assert str(shard_of(studio, shard_id).state) == "cancelled"
    studio.settle()
    assert study.row().state == "accepted"


def test_a_shard_that_is_rendered_at_a_pause_is_kept_and_the_queued_others_are_not_begun_before_the_run_goes_on(
    studio: Studio, study: Study
) -> None:
    run, shards = start_run(study, 3 * SHARD)
    render_shard(studio.services, Interrupted(studio, lambda: study.act(StudyEvent.PAUSE)), shards[0])
    studio.work()  # the jobs of the others are still in the queue
    assert [str(shard_of(studio, shard_id).state) for shard_id in shards] == ["done", "cancelled", "cancelled"]
    assert len(study.samples_of(run)) == SHARD
    study.act(StudyEvent.RESUME)
    studio.settle()
    assert study.row().state == "accepted"
    assert [row.index for row in study.samples_of(run)] == list(range(run.first, run.first + run.count))


def remove_engine(studio: Studio, study: Study) -> None:
    """Remove the version's engine, as if its package were uninstalled between decision and rendering."""
    with studio.services.database.write() as session:
        spec = session.get_one(SpecRow, study.specs()[-1].id)
        spec.body = {**spec.body, "engine": "no-such-engine"}


def test_an_engine_that_cannot_fit_ends_the_round_with_its_reason_in_the_decision_task(
    studio: Studio, study: Study
) -> None:
    study.review()
    study.act(StudyEvent.BUILD_PREVIEW)
    remove_engine(studio, study)
    studio.settle()

    failed = study.batches(BatchKind.ROUND)[-1]
    assert (str(failed.state), str(study.specs()[-1].state)) == ("failed", "failed")
    reason = "no engine named 'no-such-engine' is installed; there are: composite"
    assert sentence_case(reason) in html.unescape(study.page(-2))
    came_of_it = f"could not be made, so version {study.specs()[-2].version} is here again: {reason}"
    assert f"Not done:</b> preview round {failed.number} {came_of_it}" in html.unescape(study.page())


def test_a_first_round_that_fails_leaves_nothing_to_review(studio: Studio) -> None:
    new = studio.open_study()
    studio.settle()
    new.act(StudyEvent.BUILD_PREVIEW)
    remove_engine(studio, new)
    studio.settle()
    assert (str(new.specs()[-1].state), new.row().state) == ("failed", "collecting")
    assert "No engine named" in new.page()
    assert "still to review" not in new.page()
    assert "Possible now: <b>build preview</b>, <b>stop</b>." in new.page()
    new.decide("approve", count=1)
    assert "“approve” is not possible now: no preview round has been made yet." in new.page()


def test_failed_run_keeps_its_finished_samples_and_its_reason(studio: Studio, study: Study) -> None:
    run, shards = start_run(study, 3 * SHARD)
    render_shard(studio.services, FittedEngineCache(studio.services), shards[0])
    lost = [ref.digest for ref in Spec.from_json(study.specs()[-1].body).backgrounds]
    kept = {digest: studio.services.images.get(digest) for digest in lost}
    for digest in lost:
        studio.services.images.delete(digest)
    render_shard(studio.services, FittedEngineCache(studio.services), shards[1])
    for data in kept.values():
        studio.services.images.put(data)
    studio.settle()

    run = study.batches(BatchKind.RUN)[-1]
    assert str(run.state) == "failed"
    assert [str(shard_of(studio, shard).state) for shard in shards] == ["done", "failed", "cancelled"]
    assert len(study.samples_of(run)) == SHARD
    assert study.row().state == "accepted"
    assert "is not in the store; restore it from a backup" in study.page()
    assert f"{SHARD} of {3 * SHARD} labelled images are in the" in study.page()


def test_internal_error_is_retried_and_given_up_with_its_reason(studio: Studio, study: Study) -> None:
    run, [shard_id] = start_run(study, SHARD)

    def trip() -> None:
        raise ZeroDivisionError("a fault of ours")

    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert str(study.batches(BatchKind.RUN)[-1].state) == "running"
        with studio.services.database.write() as session:
            session.get_one(ShardRow, shard_id).due_at = now()
        with pytest.raises(ZeroDivisionError):
            render_shard(studio.services, Interrupted(studio, trip), shard_id)
        assert shard_of(studio, shard_id).attempts == attempt

    run = study.batches(BatchKind.RUN)[-1]
    assert (
        run.problem == f"rendering failed {MAX_ATTEMPTS} times, last with ZeroDivisionError; the workers' log says more"
    )
    studio.settle()
    assert sentence_case(run.problem) in html.unescape(study.page())


def test_a_dead_workers_shard_is_taken_by_the_next(studio: Studio, study: Study) -> None:
    run, [shard_id] = start_run(study, SHARD)
    with studio.services.unit() as unit:
        assert leases.claim(unit.session, ShardRow, shard_id, 60.0) is not None  # and then it died
    render_shard(studio.services, FittedEngineCache(studio.services), shard_id)
    assert study.samples_of(run) == []  # not before the lease ended
    with studio.services.database.write() as session:
        session.get_one(ShardRow, shard_id).due_at = now()
    studio.settle()
    assert len(study.samples_of(run)) == SHARD


def test_a_round_is_one_shard_with_a_contact_sheet(studio: Studio, study: Study) -> None:
    study.review()
    preview_round = study.batches(BatchKind.ROUND)[-1]
    with studio.rows() as session:
        shards = session.scalars(select(ShardRow).where(ShardRow.batch_id == preview_round.id)).all()
        samples = session.scalars(select(SampleRow).where(SampleRow.batch_id == preview_round.id)).all()
    assert [(shard.start, shard.stop, str(shard.state)) for shard in shards] == [(0, ROUND, "done")]
    assert preview_round.sheet is not None
    assert studio.services.images.get(preview_round.sheet).startswith(b"\x89PNG")
    assert preview_round.sheet in study.decision_tasks()[-1].data["sheet"]
    assert all(str(sample.body["provenance"]["spec_digest"]) == study.specs()[-1].digest for sample in samples)
    assert str(preview_round.state) == WorkState.DONE
