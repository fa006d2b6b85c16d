"""Spot checks: samples of a run are judged while it is rendered, and pause it once if they contradict its promise."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import EngineError
from datagen.export.selection import Judged, Selection
from datagen.label_studio.api.models import Task
from datagen.queue.jobs import ALL_QUEUES, EVENTS, PUBLISHING
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.events.reconciler import reconcile
from datagen.workflow.generation.shard_rendering import FittedEngineCache, RenderJob
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import JobKind
from datagen.workflow.studies.export import export_study
from datagen.workflow.studies.maintenance import retry
from datagen.workflow.studies.open import open_study
from fake_studio import ACCESS, ENGINE, FakeStudio
from instant_engine import InstantEngine
from studio import ROUND, SHARD, Study, text_of, verdict_result

GOOD, BAD = verdict_result("good"), verdict_result("bad")
#: What an approval stated.
PROMISE = {"lower": 0.9, "sentence": "At least 90 % acceptable."}
ALARM = "3 of 3 spot checks are bad: at most"


@pytest.fixture
def checked(studio: FakeStudio) -> FakeStudio:
    """The studio with one spot check in each shard."""
    studio.services = replace(studio.services, spot_checks=1)
    return studio


def approve(study: Study, count: int, promise: dict[str, Any] | None = PROMISE) -> BatchRow:
    """Approve a run that states this promise; return it before any of it is rendered."""
    study.act(StudyEvent.APPROVE, count=count)
    run = study.batches(BatchKind.RUN)[-1]
    with study.studio.services.database.write() as session:
        session.get_one(BatchRow, run.id).promise = promise
    return run


def render(study: Study, shards: int) -> None:
    """Render so many shards, publish them, and leave the others."""
    studio = study.studio
    requests = [request for request in studio.queue.waiting if request.job_kind is JobKind.PREVIEW_SHARD]
    held = requests[shards:]
    for request in held:
        del studio.queue.waiting[request]
    while (request := studio.queue.take(ALL_QUEUES)) is not None:
        if request.job_kind is JobKind.PREVIEW_SHARD and request not in requests[:shards]:
            held.append(request)
            continue
        studio._run(request)
    studio.queue.enqueue(held)


def tasks(study: Study) -> list[Task]:
    """The review tasks of spot checks, in the order of index."""
    posted = [task for task in study.tasks(ProjectKind.PREVIEWS) if str(task.data["batch"]).startswith("spot-")]
    return sorted(posted, key=lambda task: int(task.data["index"]))


def judge(study: Study, forms: Sequence[list[dict[str, Any]]]) -> None:
    """Submit these review forms and handle their events; no shard is rendered."""
    for task, form in zip(tasks(study), forms, strict=False):
        study.studio.client.annotate(task.id, form)
    while (request := study.studio.queue.take((EVENTS, PUBLISHING))) is not None:
        study.studio._run(request)


def test_each_shard_of_a_run_with_a_promise_has_a_check_that_looks_like_a_preview(
    checked: FakeStudio, study: Study
) -> None:
    run = approve(study, 3 * SHARD)
    checked.settle()
    posted = tasks(study)
    indices = [int(task.data["index"]) - 1 for task in posted]
    assert [index // SHARD for index in indices] == [0, 1, 2], "one of each shard"
    rendered = {sample.index - run.first: sample for sample in study.samples_of(run)}
    copies = study.samples_of(study.batches(BatchKind.SPOT)[0])
    assert [copy.body for copy in copies] == [rendered[index].body for index in indices]
    of_round = study.tasks(ProjectKind.PREVIEWS)[0]
    assert posted[0].data.keys() == of_round.data.keys()
    assert posted[0].data["round"] == of_round.data["round"]
    assert study.batches(BatchKind.RUN)[0].state == WorkState.DONE
    assert "Spot checks: 0 of 3 judged, 0 bad" in text_of(study.page())


@pytest.mark.parametrize("how", ["without a promise", "without spot checks"])
def test_run_without_promise_or_checks_posts_none(studio: FakeStudio, study: Study, how: str) -> None:
    checks, promise = (1, None) if how == "without a promise" else (0, PROMISE)
    studio.services = replace(studio.services, spot_checks=checks)
    approve(study, 2 * SHARD, promise)
    studio.settle()
    assert tasks(study) == study.batches(BatchKind.SPOT) == []
    assert "Spot checks" not in text_of(study.page())


def test_checks_that_contradict_the_promise_pause_the_run(checked: FakeStudio, study: Study) -> None:
    approve(study, 5 * SHARD)
    render(study, 3)
    judge(study, [BAD, BAD, BAD])
    run = study.batches(BatchKind.RUN)[0]
    assert (study.row().state, run.state) == (StudyState.PAUSED, WorkState.PAUSED)
    page = text_of(study.page())
    assert ALARM in page
    assert "its approval stated at least 90 %." in page
    assert "because its spot checks contradict its approval: choose “go on”, or “cancel”" in page
    assert "Possible now: go on (resume the run), cancel, stop." in page
    checked.settle()
    assert len(study.samples_of(run)) == 3 * SHARD, "nothing more is rendered"


def test_resumed_run_is_completed_and_not_paused_again(checked: FakeStudio, study: Study) -> None:
    approve(study, 5 * SHARD)
    render(study, 3)
    judge(study, [BAD, BAD, BAD])
    study.decide("go on", settle=False)
    checked.work(EVENTS)
    assert study.row().state == StudyState.GENERATING
    render(study, 1)
    judge(study, [BAD] * 4)
    assert study.row().state == StudyState.GENERATING
    checked.settle()
    run = study.batches(BatchKind.RUN)[0]
    assert (study.row().state, run.state, len(study.samples_of(run))) == (
        StudyState.ACCEPTED,
        WorkState.DONE,
        5 * SHARD,
    )
    page = text_of(study.page())
    assert ALARM in page, "the alarm stays on the page of the run"
    assert "paused" not in page


def test_run_whose_last_shard_was_being_rendered_at_the_alarm_ends_when_it_is_resumed(
    checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = approve(study, 3 * SHARD, {**PROMISE, "lower": 0.999})
    render(study, 2)
    work = RenderJob.work

    def judged_meanwhile(self, row, lost):
        write = work(self, row, lost)
        judge(study, [BAD, BAD])
        return write

    monkeypatch.setattr(RenderJob, "work", judged_meanwhile)
    render(study, 1)
    assert study.row().state == StudyState.PAUSED
    assert len(study.samples_of(run)) == 3 * SHARD
    study.act(StudyEvent.RESUME)
    assert (study.row().state, study.batches(BatchKind.RUN)[0].state) == (StudyState.ACCEPTED, WorkState.DONE)
    assert len([point for point in study.points() if point.action is None]) == 1


def test_shard_that_is_rendered_while_a_person_pauses_the_run_has_its_checks(
    checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(study, 3 * SHARD)
    work = RenderJob.work

    def paused_meanwhile(self, row, lost):
        write = work(self, row, lost)
        study.act(StudyEvent.PAUSE)
        return write

    with monkeypatch.context() as patch:
        patch.setattr(RenderJob, "work", paused_meanwhile)
        render(study, 1)
    assert study.row().state == StudyState.PAUSED
    study.act(StudyEvent.RESUME)
    checked.settle()
    assert [(int(task.data["index"]) - 1) // SHARD for task in tasks(study)] == [0, 1, 2], "one of each shard"


def test_run_cancelled_at_the_alarm_keeps_its_images_and_closes_its_checks(checked: FakeStudio, study: Study) -> None:
    approve(study, 5 * SHARD)
    render(study, 3)
    judge(study, [BAD, BAD, BAD])
    study.decide("cancel")
    assert (study.row().state, study.batches(BatchKind.RUN)[0].state) == (StudyState.ACCEPTED, WorkState.CANCELLED)
    assert len(study.tasks(ProjectKind.DATASET)) == 3 * SHARD
    assert {task.is_finished for task in tasks(study)} == {True}
    checked.client.annotate(tasks(study)[0].id, GOOD)
    checked.settle()
    assert "on the spot checks of run 1 came or changed after it was cancelled" in text_of(study.page())


def test_checks_that_agree_with_the_promise_change_nothing(checked: FakeStudio, study: Study) -> None:
    approve(study, 5 * SHARD)
    render(study, 4)
    judge(study, [GOOD, GOOD, BAD, GOOD])
    assert study.row().state == StudyState.GENERATING
    checked.settle()
    assert "Spot checks: 4 of 5 judged, 1 bad" in text_of(study.page())


def test_alarm_after_the_end_of_the_run_is_a_warning_on_its_page(checked: FakeStudio, study: Study) -> None:
    approve(study, 3 * SHARD)
    checked.settle()
    judge(study, [BAD, BAD, BAD])
    checked.settle()
    assert study.row().state == StudyState.ACCEPTED
    assert f"Note: {ALARM}" in text_of(study.page())


def test_verdict_whose_event_was_lost_raises_the_alarm_too(checked: FakeStudio, study: Study) -> None:
    approve(study, 5 * SHARD)
    render(study, 3)
    reconcile(checked.services)
    checked.hears = False
    judge(study, [BAD, BAD, BAD])
    assert study.row().state == StudyState.GENERATING
    reconcile(checked.services)
    assert study.row().state == StudyState.PAUSED


def test_verdicts_of_spot_checks_are_not_given_to_refine(
    checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[int] = []
    refine = InstantEngine.refine

    def noted(self, parameters, reviewed):
        given.append(len(reviewed))
        return refine(self, parameters, reviewed)

    monkeypatch.setattr(InstantEngine, "refine", noted)
    approve(study, 3 * SHARD)
    checked.settle()
    judge(study, [GOOD, GOOD, GOOD])
    study.act(StudyEvent.REFINE)
    assert set(given) == {0}


def test_verdict_after_the_end_of_the_run_is_counted_on_its_page(checked: FakeStudio, study: Study) -> None:
    approve(study, 3 * SHARD)
    checked.settle()
    judge(study, [GOOD, GOOD])
    assert "Spot checks: 2 of 3 judged, 0 bad" in text_of(study.page())


def test_decision_after_an_abandoned_version_shows_the_run_and_not_its_checks(
    checked: FakeStudio, study: Study
) -> None:
    approve(study, 3 * SHARD)
    checked.settle()
    study.act(StudyEvent.REFINE)
    study.act(StudyEvent.CANCEL)
    checked.settle()
    assert study.row().state == StudyState.ACCEPTED
    page = text_of(study.page())
    assert "Run “run 1”: done" in page
    assert "Spot checks: 0 of 3 judged, 0 bad" in page


def test_failed_run_with_checks_can_be_resumed(
    checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object) -> None:
        raise EngineError("the engine is broken")

    approve(study, 3 * SHARD)
    render(study, 1)
    with monkeypatch.context() as patch:
        patch.setattr(FittedEngineCache, "fitted", broken)
        checked.settle()
    assert study.batches(BatchKind.RUN)[0].state == WorkState.FAILED
    assert retry(checked.services, study.name, "tester").revived == "run 1 goes on: 1 finished shard is kept"
    checked.settle()
    assert study.batches(BatchKind.RUN)[0].state == WorkState.DONE
    assert len(tasks(study)) == 3


def test_checks_are_posted_again_in_a_new_previews_project(checked: FakeStudio, study: Study) -> None:
    approve(study, 3 * SHARD)
    checked.settle()
    judge(study, [BAD])
    checked.client.delete_project(study.projects[ProjectKind.PREVIEWS])
    provisioned = open_study(checked.services, study.name, ["pit"], ACCESS, engine=ENGINE, preview_size=ROUND)
    study.projects = provisioned.projects
    checked.settle()
    assert len(tasks(study)) == 3
    assert "Spot checks: 1 of 3 judged, 1 bad" in text_of(study.page())


def test_decision_about_the_version_does_not_read_the_checks_of_its_runs(
    checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(study, 3 * SHARD)
    checked.settle()
    read: list[int] = []
    monkeypatch.setattr(verdict_sync, "sync_round", lambda _, batch_id: read.append(batch_id))
    study.act(StudyEvent.APPROVE, count=1)
    assert read == [batch.id for batch in study.batches(BatchKind.ROUND)]


def test_export_leaves_out_what_spot_checks_called_bad(checked: FakeStudio, study: Study, tmp_path: Path) -> None:
    run = approve(study, 3 * SHARD)
    render(study, 3)
    bad, good, *_ = [run.first + int(task.data["index"]) - 1 for task in tasks(study)]
    judge(study, [BAD, GOOD])

    def exported(name: str, *verdicts: Judged) -> list[int]:
        export_study(checked.services, study.name, tmp_path / name, selection=Selection(verdicts=verdicts))
        lines = (tmp_path / name / "manifest.jsonl").read_text().splitlines()
        return [json.loads(line)["provenance"]["index"] for line in lines]

    assert exported("good", Judged.GOOD) == [good]
    assert exported("bad", Judged.BAD) == [bad]
    left = exported("left", Judged.GOOD, Judged.UNJUDGED)
    assert good in left
    assert bad not in left
    assert len(left) == 3 * SHARD - 1


def reading(patch: pytest.MonkeyPatch) -> list[int]:
    """A list to which the id of each batch is added whose review tasks are read."""
    read: list[int] = []
    real = verdict_sync.sync_round

    def noted(services: Any, batch_id: int) -> None:
        read.append(batch_id)
        real(services, batch_id)

    patch.setattr(verdict_sync, "sync_round", noted)
    return read


def test_checks_of_ended_runs_are_read_only_when_one_of_their_tasks_was_deleted(
    checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        approve(study, 3 * SHARD)
        checked.settle()
    judge(study, [BAD, GOOD])
    first, second = study.batches(BatchKind.SPOT)
    reconcile(checked.services)
    checked.hears = False
    previews = study.projects[ProjectKind.PREVIEWS]
    [*_, last] = tasks(study)
    of_round = next(task for task in study.tasks(ProjectKind.PREVIEWS) if task.data["batch"].startswith("round-"))
    read = reading(monkeypatch)
    checked.client.delete_tasks(previews, [of_round.id])
    reconcile(checked.services)
    assert read == []
    bad = tasks(study)[0]
    checked.client.delete_tasks(previews, [bad.id])
    reconcile(checked.services)
    own = {sample.task_id for sample in study.samples_of(first)}
    assert read == [first.id if bad.id in own else second.id]
    with checked.rows() as session:
        assert session.scalars(select(VerdictRow.opinion)).all() == ["good"]
    assert last.id in {task.id for task in tasks(study)}


def test_checks_of_a_run_under_way_are_read(checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    approve(study, 3 * SHARD)
    render(study, 2)
    read = reading(monkeypatch)
    verdict_sync.sync_open_rounds(checked.services, study.id)
    assert read == [study.batches(BatchKind.SPOT)[0].id]


def test_publication_of_a_shards_checks_reads_no_other_checks(
    checked: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    approve(study, 4 * SHARD)
    render(study, 3)
    earlier = {task.id for task in tasks(study)}
    seen: set[int] = set()
    real = type(checked.client).tasks

    def noted(*args: Any, **which: Any) -> list[Task]:
        matching = list(real(*args, **which))
        seen.update(task.id for task in matching)
        return matching

    with monkeypatch.context() as patch:
        patch.setattr(type(checked.client), "tasks", noted)
        checked.settle()
    assert len(tasks(study)) == len(earlier) + 1
    assert not seen & earlier


def test_checks_that_an_earlier_version_published_under_one_name_are_not_published_again(
    checked: FakeStudio, study: Study
) -> None:
    approve(study, 3 * SHARD)
    render(study, 2)
    checks = study.batches(BatchKind.SPOT)[0]
    for task in tasks(study):
        checked.client.update_task_data(task.id, {**task.data, "batch": verdict_sync.batch_name(checks)})
    with checked.services.unit() as unit:
        for shard in unit.session.scalars(select(ShardRow).where(ShardRow.batch_id == checks.id)):
            shard.task_batch = ""
            unit.add_to_outbox(study.id, OutboxKind.SAMPLES, shard.id)
    checked.settle()
    assert len(tasks(study)) == len({task.data["datagen_key"] for task in tasks(study)}) == 3
