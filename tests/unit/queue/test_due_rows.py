"""The recovery scan enqueues each due row by a job of the row's own kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.queue.jobs import ALL_QUEUES
from datagen.queue.recovery import sweep
from datagen.store.tables.base import OutboxKind
from datagen.workflow.decisions import spec_versions
from datagen.workflow.services import JobKind
from fake_studio_fixtures import Prepared, _engines, copy_of_made, in_state  # noqa: F401 - fixtures
from studio import SHARD

SHARDS = (JobKind.PREVIEW_SHARD, JobKind.SHARD, JobKind.GPU_SHARD)


@pytest.mark.parametrize(
    ("state", "job_kind"),
    [
        (StudyState.PREVIEWING, JobKind.PREVIEW_SHARD),
        (StudyState.AUDITING, JobKind.PREVIEW_SHARD),
        (StudyState.GENERATING, JobKind.PREVIEW_SHARD),
    ],
)
def test_lost_jobs_of_previews_and_of_runs_are_enqueued_as_what_they_were(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811 - a fixture
    tmp_path: Path,
    state: StudyState,
    job_kind: JobKind,
) -> None:
    studio, _ = in_state(state, tmp_path)
    studio.queue.waiting.clear()
    sweep(studio.services.database, studio.queue)
    assert {request.job_kind for request in studio.queue.waiting if request.job_kind in SHARDS} == {job_kind}
    studio.close()


def test_lost_jobs_of_a_run_are_enqueued_before_upkeep_for_its_first_images_alone(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811 - a fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spec_versions, "FIRST_IMAGES", 2 * SHARD)
    studio, study = in_state(StudyState.REVIEWING, tmp_path)
    study.act(StudyEvent.APPROVE, count=4 * SHARD)
    enqueued = [request for request in studio.queue.waiting if request.job_kind in SHARDS]
    kinds = [request.job_kind for request in sorted(enqueued, key=lambda request: request.row_id)]
    assert kinds == [JobKind.PREVIEW_SHARD] * 2 + [JobKind.SHARD] * 2
    studio.queue.waiting.clear()
    sweep(studio.services.database, studio.queue)
    assert {request for request in studio.queue.waiting if request.job_kind in SHARDS} == set(enqueued)
    studio.close()


def test_after_an_approval_first_images_come_before_the_closing_of_review_tasks_and_further_ones_after_it(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811 - a fixture
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spec_versions, "FIRST_IMAGES", SHARD)
    studio, study = in_state(StudyState.REVIEWING, tmp_path)
    study.act(StudyEvent.APPROVE, count=3 * SHARD)
    order = []
    while (request := studio.queue.take(ALL_QUEUES)) is not None:
        if request.job_kind in (*SHARDS, JobKind.UPKEEP):
            order.append(request.job_kind)
    assert order == [JobKind.PREVIEW_SHARD, JobKind.UPKEEP, JobKind.SHARD, JobKind.SHARD]
    studio.close()


def test_lost_jobs_of_the_outbox_are_enqueued_as_what_they_were(
    in_state: Callable[[StudyState, Path], Prepared],  # noqa: F811 - a fixture
    tmp_path: Path,
) -> None:
    studio, study = in_state(StudyState.REVIEWING, tmp_path)
    study.act(StudyEvent.REFINE)
    kinds = {row.id: row.kind for row in study.outbox()}

    def jobs() -> dict[OutboxKind, JobKind]:
        return {
            kinds[request.row_id]: request.job_kind
            for request in studio.queue.waiting
            if request.job_kind in (JobKind.OUTBOX, JobKind.UPKEEP)
        }

    assert jobs() == {OutboxKind.DECISION: JobKind.OUTBOX, OutboxKind.REVIEW_TASKS: JobKind.UPKEEP}
    enqueued = jobs()
    studio.queue.waiting.clear()
    sweep(studio.services.database, studio.queue)
    assert jobs() == enqueued
    studio.close()
