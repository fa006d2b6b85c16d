"""Pausing a run by hand: what is rendered is kept, nothing further is begun, and a person resumes or ends it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy import select, update

from datagen.domain.decision import Decision
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import EngineError, Refused
from datagen.queue.recovery import sweep
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.workflow.decisions import batch_end
from datagen.workflow.decisions.shown_state import ShownForm, state_token
from datagen.workflow.decisions.submit import DecisionCommand, decide
from datagen.workflow.generation.shard_rendering import FittedEngineCache, RenderJob
from datagen.workflow.studies.maintenance import retry
from fake_studio import FakeStudio
from studio import SHARD, Study, text_of

#: Long ago, so that a lease that ended then has expired.
BEFORE = datetime(2026, 1, 1, tzinfo=UTC)
SHARDS = 4


def begin(study: Study, count: int = SHARDS * SHARD) -> BatchRow:
    """Approve a run; return it before any of it is rendered."""
    study.act(StudyEvent.APPROVE, count=count)
    return run_of(study)


def run_of(study: Study) -> BatchRow:
    return study.batches(BatchKind.RUN)[-1]


def shards(study: Study) -> list[ShardRow]:
    with study.studio.rows() as session:
        query = select(ShardRow).where(ShardRow.batch_id == run_of(study).id).order_by(ShardRow.start)
        return list(session.scalars(query))


def states(study: Study) -> list[str]:
    return [str(shard.state) for shard in shards(study)]


def set_shard(study: Study, number: int, **values: object) -> None:
    with study.studio.services.database.write() as session:
        session.execute(update(ShardRow).where(ShardRow.id == shards(study)[number].id).values(**values))


def form_of(study: Study) -> ShownForm:
    """The form of a page that shows the study as it is now."""
    with study.studio.rows() as session:
        return ShownForm(study_id=study.id, token=state_token(session, study.row()))


def send(study: Study, action: StudyEvent, who: str, form: ShownForm | None = None, note: str = "") -> None:
    command = DecisionCommand(study_id=study.id, decision=Decision(action=action, note=note), who=who, submission=form)
    decide(study.studio.services, command)


def during_the_first_shard(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Call ``act`` once, when the first shard is rendered and its rows are not written yet."""
    work, called = RenderJob.work, []

    def wrapped(self, row, lost):
        write = work(self, row, lost)
        if not called:
            called.append(row.id)
            act()
        return write

    monkeypatch.setattr(RenderJob, "work", wrapped)


def assert_complete(study: Study) -> None:
    """Every image of the run is rendered once, and is one task."""
    run = run_of(study)
    assert (study.row().state, run.state) == (StudyState.ACCEPTED, WorkState.DONE)
    indices = [sample.index for sample in study.samples_of(run)]
    assert indices == list(range(run.first, run.first + run.count))
    assert len(study.tasks(ProjectKind.DATASET)) == run.count


def test_shard_that_is_rendered_at_the_pause_is_finished_and_no_other_is_begun(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begin(study)
    during_the_first_shard(monkeypatch, lambda: send(study, StudyEvent.PAUSE, "ann@example.com"))
    studio.settle()
    assert (study.row().state, run_of(study).state) == (StudyState.PAUSED, WorkState.PAUSED)
    assert states(study) == ["done", *["cancelled"] * (SHARDS - 1)]
    assert len(study.tasks(ProjectKind.DATASET)) == SHARD, "its images are in the dataset"
    studio.pass_time()
    sweep(studio.services.database, studio.queue)  # as after a restart, with an emptied queue
    studio.settle()
    assert retry(studio.services, study.name, "tester").revived == "", "a retry does not resume it"
    assert len(study.samples_of(run)) == SHARD

    study.act(StudyEvent.RESUME)
    assert (run_of(study).paused_by, run_of(study).paused_at, run_of(study).problem) == (None, None, "")
    studio.settle()
    assert_complete(study)


def test_pause_is_recorded_with_its_person_time_and_note(studio: FakeStudio, study: Study) -> None:
    begin(study)
    began = now()
    send(study, StudyEvent.PAUSE, "ann@example.com", note="the GPU\nis needed")
    run = run_of(study)
    assert (run.paused_by, run.problem) == ("ann@example.com", "paused by ann@example.com: the GPU is needed")
    assert run.paused_at is not None
    assert began <= run.paused_at <= now()
    assert study.audit()[-1] == (f"ann@example.com: pause (run 1, {SHARDS * SHARD} images), note: the GPU is needed")
    studio.settle()
    page = text_of(study.page())
    assert "Paused by ann@example.com: the GPU is needed" in page
    assert "Possible now: go on (resume the run), cancel, stop." in page


def test_pause_on_the_decision_task_that_started_the_run_makes_the_task_that_resumes_it(
    studio: FakeStudio, study: Study
) -> None:
    study.decide("approve", count=SHARDS * SHARD, settle=False)
    studio.work("datagen-events")
    started = len(study.decision_tasks())
    studio.work("datagen-publishing")
    assert "To pause it, tick pause" in text_of(study.page(started - 1))
    study.decide("pause", number=started - 1)
    assert study.row().state is StudyState.PAUSED
    assert len(study.decision_tasks()) == started + 1
    study.decide("go on")
    assert_complete(study)


@pytest.mark.parametrize(("end", "state"), [("cancel", StudyState.ACCEPTED), ("stop", StudyState.STOPPED)])
def test_paused_run_can_be_ended_and_keeps_its_images(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch, end: str, state: StudyState
) -> None:
    begin(study)
    during_the_first_shard(monkeypatch, lambda: study.act(StudyEvent.PAUSE))
    studio.settle()
    study.act(StudyEvent(end))
    studio.settle()
    run = run_of(study)
    assert (study.row().state, run.state, run.paused_by, run.paused_at) == (state, WorkState.CANCELLED, None, None)
    assert len(study.tasks(ProjectKind.DATASET)) == SHARD
    assert len([point for point in study.points() if point.action is None]) == 1


def test_shard_of_a_killed_worker_is_not_rendered_before_the_run_is_resumed(studio: FakeStudio, study: Study) -> None:
    run = begin(study)
    set_shard(study, 0, state=WorkState.RUNNING, token="of a killed worker", due_at=BEFORE)
    study.act(StudyEvent.PAUSE)
    studio.settle()
    assert study.samples_of(run) == []
    study.act(StudyEvent.RESUME)
    studio.settle()
    assert_complete(study)


def test_shard_that_fails_while_its_run_is_paused_does_not_end_it(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(study)

    def broken(*_: object) -> None:
        study.act(StudyEvent.PAUSE)
        raise EngineError("the engine is broken")

    with monkeypatch.context() as patch:
        patch.setattr(FittedEngineCache, "fitted", broken)
        studio.settle()
    assert run_of(study).state is WorkState.PAUSED
    assert states(study) == ["failed", *["cancelled"] * (SHARDS - 1)]
    study.act(StudyEvent.RESUME)
    studio.settle()
    assert_complete(study)


def test_run_whose_last_shards_are_being_rendered_is_not_paused(studio: FakeStudio, study: Study) -> None:
    begin(study, count=2 * SHARD)
    for number in range(2):
        set_shard(study, number, state=WorkState.RUNNING, token="of a worker", due_at=datetime.max.replace(tzinfo=UTC))
    before = study.audit()
    with pytest.raises(Refused, match="Nothing was paused: every image of the run is rendered, or is being rendered"):
        study.act(StudyEvent.PAUSE)
    assert (study.row().state, run_of(study).state) == (StudyState.GENERATING, WorkState.RUNNING)
    assert study.audit() == before
    set_shard(study, 1, due_at=BEFORE)  # its worker was killed
    study.act(StudyEvent.PAUSE)
    assert study.row().state is StudyState.PAUSED


def test_second_person_is_told_who_paused_the_run(study: Study) -> None:
    begin(study)
    first, second = form_of(study), form_of(study)
    send(study, StudyEvent.PAUSE, "ann@example.com", first)
    with pytest.raises(Refused, match=r"Nothing was started.*the run was paused by ann@example\.com at \d{4}-"):
        send(study, StudyEvent.PAUSE, "bo@example.com", second)
    assert run_of(study).paused_by == "ann@example.com"
    assert len([point for point in study.points() if point.action is None]) == 1


def test_form_from_before_a_pause_and_its_end_is_outdated(study: Study) -> None:
    begin(study)
    outdated = form_of(study)
    send(study, StudyEvent.PAUSE, "ann@example.com", form_of(study))
    send(study, StudyEvent.RESUME, "bo@example.com", form_of(study))
    with pytest.raises(Refused, match="“go on” was decided by bo@example"):
        send(study, StudyEvent.PAUSE, "ann@example.com", outdated)
    assert study.row().state is StudyState.GENERATING


def test_alarm_of_the_spot_checks_takes_the_place_of_a_pause_by_hand(studio: FakeStudio, study: Study) -> None:
    begin(study)
    study.act(StudyEvent.PAUSE)
    shown_before = form_of(study)
    with studio.services.unit() as unit:
        unit.lock_study(study.id)
        run = unit.session.get_one(BatchRow, run_of(study).id)
        batch_end.pause(unit, run, "paused by its spot checks", "3 of 3 are bad.")
    run = run_of(study)
    assert (run.state, run.paused_by, run.problem) == (WorkState.PAUSED, None, "paused by its spot checks")
    assert len([point for point in study.points() if point.action is None]) == 1
    with pytest.raises(Refused, match="the page was out of date"):
        send(study, StudyEvent.RESUME, "ann@example.com", shown_before)
    send(study, StudyEvent.RESUME, "ann@example.com", form_of(study))
    studio.settle()
    assert_complete(study)
