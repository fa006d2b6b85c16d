"""Publishing: each change once, always the newest state, no duplicates after a crash, and refusals are shown."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.entrypoints.installation import REGISTRATION_LOCK
from datagen.queue.jobs import EVENTS, PREVIEWS
from datagen.store.database import UPGRADE_LOCK, Database
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.reviews import DecisionRow
from datagen.workflow import services
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.outbox import import_turn
from datagen.workflow.outbox.dispatcher import MAX_REFUSALS, dispatch
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.services import IMPORT_LOCK, JobKind, JobRequest
from datagen.workflow.studies.queries import describe
from fake_studio import FakeStudio
from studio import ROUND, Study


def watch(studio: FakeStudio, afterwards: Callable[[], object] = lambda: None) -> list[str]:
    """Call ``afterwards`` after each request that writes a task; return the list of their names, as it grows."""
    writes: list[str] = []

    def note(name: str) -> bool:
        if name in ("update_task_data", "import_tasks"):
            writes.append(name)
            afterwards()
        return False

    studio.client.after_request = note
    return writes


def change(studio: FakeStudio, study: Study, problem: str) -> int:
    """Change the text of the newest decision task; return the id of its outbox row."""
    with studio.services.unit() as unit:
        unit.session.get_one(DecisionRow, study.points()[-1].id).problem = problem
        unit.add_to_outbox(study.id, OutboxKind.DECISION, study.points()[-1].id)
    newest = (OutboxKind.DECISION, study.points()[-1].id)
    return next(row.id for row in study.outbox() if (row.kind, row.subject_id) == newest)


def row_of(studio: FakeStudio, outbox_id: int) -> OutboxRow:
    with studio.rows() as session:
        return session.get_one(OutboxRow, outbox_id)


def make_due(studio: FakeStudio, outbox_id: int) -> None:
    with studio.services.database.write() as session:
        session.get_one(OutboxRow, outbox_id).due_at = now()


def test_several_changes_are_published_once_in_their_last_state(studio: FakeStudio, study: Study) -> None:
    studio.settle()
    writes = watch(studio)
    for problem in ("first", "second", "third"):
        outbox_id = change(studio, study, problem)
    for _ in range(3):
        dispatch(studio.services, outbox_id)
    assert writes == ["update_task_data"]
    assert str(row_of(studio, outbox_id).state) == "done"
    assert "third" in study.page()


def test_change_during_a_publication_is_published_again(studio: FakeStudio, study: Study) -> None:
    studio.settle()
    changes = iter(["newest"])
    watch(studio, lambda: [change(studio, study, revision) for revision in changes])
    outbox_id = change(studio, study, "older")
    dispatch(studio.services, outbox_id)
    assert str(row_of(studio, outbox_id).state) == "pending"
    studio.settle()
    assert "newest" in study.page()


def test_unchanged_task_is_not_written_again(studio: FakeStudio, study: Study) -> None:
    studio.settle()
    writes = watch(studio)
    with studio.services.unit() as unit:
        unit.add_to_outbox(study.id, OutboxKind.DECISION, study.points()[-1].id)
    [outbox_id] = [row.id for row in study.outbox() if str(row.state) == "pending"]
    dispatch(studio.services, outbox_id)
    assert (writes, str(row_of(studio, outbox_id).state)) == ([], "done")


def test_publisher_killed_after_an_import_creates_no_duplicates(studio: FakeStudio, study: Study) -> None:
    studio.settle()
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.work(EVENTS, PREVIEWS)
    [outbox_id] = [row.id for row in study.outbox() if row.kind == OutboxKind.SAMPLES and str(row.state) == "pending"]

    def die() -> None:
        raise SystemExit

    watch(studio, die)
    with pytest.raises(SystemExit):
        dispatch(studio.services, outbox_id)
    studio.client.after_request = None
    assert str(row_of(studio, outbox_id).state) == "running"
    make_due(studio, outbox_id)  # its lease ends
    studio.settle()

    assert [task.data["index"] for task in study.round_tasks()] == ["1", "2", "3"]
    kept = {row.task_id for row in study.samples_of(study.batches(BatchKind.ROUND)[-1])}
    assert kept == {task.id for task in study.round_tasks()}
    assert study.row().state == "reviewing"


def test_publication_during_an_outage_is_not_given_up(studio: FakeStudio, study: Study) -> None:
    studio.settle()
    outbox_id = change(studio, study, "said while it was away")
    studio.client.switch_off()
    for _ in range(MAX_REFUSALS + 2):
        make_due(studio, outbox_id)
        dispatch(studio.services, outbox_id)
    studio.client.switch_on()
    row = row_of(studio, outbox_id)
    assert str(row.state) == "pending"
    assert "cannot be reached" in row.error
    assert row.due_at > now()

    make_due(studio, outbox_id)
    studio.settle()
    assert "said while it was away" in study.page()
    assert row_of(studio, outbox_id).error == ""


def test_repeated_refusal_is_given_up_and_its_reason_is_shown(studio: FakeStudio) -> None:
    doomed = studio.open_study()
    studio.settle()
    doomed.decide("build preview", settle=False)
    studio.work(EVENTS, PREVIEWS)
    studio.client.delete_project(doomed.projects[ProjectKind.PREVIEWS])
    [outbox_id] = [row.id for row in doomed.outbox() if row.kind == OutboxKind.SAMPLES]
    for _ in range(MAX_REFUSALS):
        assert row_of(studio, outbox_id).state != WorkState.FAILED
        make_due(studio, outbox_id)
        dispatch(studio.services, outbox_id)
    studio.settle()

    assert str(row_of(studio, outbox_id).state) == "failed"
    assert "Label Studio refused part of it: Label Studio does not have" in doomed.page()
    assert any("does not have" in problem for problem in describe(studio.services.database, doomed.name)[0]["problems"])
    assert doomed.samples_of(doomed.batches()[-1])[0].task_id is None


def publishing(studio: FakeStudio, study: Study) -> OutboxRow:
    """Have a round rendered, so that its review tasks wait for publication; return its outbox row."""
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.work(EVENTS, PREVIEWS)
    [row] = [row for row in study.outbox() if row.kind == OutboxKind.SAMPLES and row.state == WorkState.PENDING]
    return row


def test_lost_response_of_an_import_creates_no_duplicates(studio: FakeStudio, study: Study) -> None:
    row = publishing(studio, study)
    lost: list[str] = []

    def lose_the_first(name: str) -> bool:
        if name != "import_tasks" or lost:
            return False
        lost.append(name)
        return True

    studio.client.after_request = lose_the_first
    dispatch(studio.services, row.id)
    waits = row_of(studio, row.id)
    assert (str(waits.state), waits.waits) == ("pending", 1)
    assert "cannot be reached" in waits.error
    assert study.row().state == "previewing"
    studio.settle()
    assert [task.data["index"] for task in study.round_tasks()] == ["1", "2", "3"]
    assert study.row().state == "reviewing"


@pytest.mark.parametrize(
    ("last", "times"), [("page", 1), ("import_tasks", 1), ("page", 2)], ids=["lookup", "import", "verification"]
)
def test_outage_after_any_request_of_a_publication_is_waited_for(
    studio: FakeStudio, study: Study, last: str, times: int
) -> None:
    row = publishing(studio, study)
    done: list[str] = []

    def end_after(name: str) -> bool:
        done.append(name)
        if done.count(last) == times:
            studio.client.switch_off()
        return False

    studio.client.after_request = end_after
    dispatch(studio.services, row.id)
    assert done.count(last) == times
    studio.client.after_request = None
    studio.client.switch_on()
    studio.settle()
    assert [task.data["index"] for task in study.round_tasks()] == ["1", "2", "3"]
    assert [len(studio.client.predictions(task.id)) for task in study.round_tasks()] == [1, 1, 1]
    assert study.row().state == "reviewing"


def test_imports_take_turns(studio: FakeStudio, study: Study) -> None:
    """Label Studio on SQLite loses the labels of tasks that are imported during another import."""
    row = publishing(studio, study)
    turns: list[bool] = []

    def try_another(name: str) -> bool:
        if name == "import_tasks":
            with studio.services.database.one_at_a_time(IMPORT_LOCK, 0.0) as is_alone:
                turns.append(is_alone)
        return False

    studio.client.after_request = try_another
    dispatch(studio.services, row.id)
    assert turns == [False]


def test_locks_have_keys_of_their_own() -> None:
    """PostgreSQL has one lock for each key: a process that registers a secret would wait for an import."""
    keys = [UPGRADE_LOCK, REGISTRATION_LOCK, IMPORT_LOCK, services.NAMES_LOCK]
    assert len({*keys}) == len(keys)


def test_publication_without_its_turn_is_put_off_so_that_events_come_first(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = publishing(studio, study)
    monkeypatch.setattr(import_turn, "TURN_WAIT_SECONDS", 0.0)
    monkeypatch.setattr(services, "IMPORT_WAIT_SECONDS", 0.0)
    with studio.services.database.one_at_a_time(IMPORT_LOCK, 0.0):
        dispatch(studio.services, row.id)
        assert study.round_tasks() == []
        with studio.rows() as session:
            put_off = session.get_one(OutboxRow, row.id)
        assert (put_off.state, put_off.attempts, put_off.error) == (WorkState.PENDING, row.attempts, "")
        assert JobRequest(JobKind.OUTBOX, row.id) in studio.queue.waiting
        with studio.services.database.write() as session:
            session.get_one(OutboxRow, row.id).waiting_since = now() - import_turn.PATIENCE
        dispatch(studio.services, row.id)
    assert len(study.round_tasks()) == 3, "in the end it does not wait for another import that never ends"


def test_publications_after_a_long_outage_wait_for_one_another(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them are older than the patience then, and are due at the same moment."""
    row = publishing(studio, study)
    with studio.services.database.write() as session:
        session.get_one(OutboxRow, row.id).waiting_since = now() - 2 * import_turn.PATIENCE
    waits: list[float] = []
    one_at_a_time = Database.one_at_a_time

    def noted(database: Database, lock: int, seconds: float) -> AbstractContextManager[bool]:
        waits.append(seconds)
        return one_at_a_time(database, lock, seconds)

    monkeypatch.setattr(Database, "one_at_a_time", noted)
    dispatch(studio.services, row.id)
    assert len(study.round_tasks()) == 3
    assert set(waits) == {services.IMPORT_WAIT_SECONDS}


def test_page_counts_the_images_in_label_studio_while_they_are_posted(studio: FakeStudio, study: Study) -> None:
    study.act(StudyEvent.APPROVE, count=6)
    studio.work(EVENTS, PREVIEWS)
    run = study.batches(BatchKind.RUN)[-1]
    for posted in (0, 2, 4):
        page = study.shown()
        words = f"6 of 6 synthesized, running, posting to Label Studio: {posted} of 6"
        assert words in page
        assert " left" not in page[page.index(words) :].partition("</p>")[0]
        described = describe(studio.services.database, study.name)[0]["under_way"]
        assert described == f"run {run.number}: posting to Label Studio: {posted} of 6"
        dispatch(studio.services, min(r.id for r in study.outbox() if _waits(r)))
    assert "posting to Label Studio" not in study.shown()


def test_page_of_a_rendered_run_is_published_before_its_images(studio: FakeStudio, study: Study) -> None:
    """The publication of the images takes longer, and the page would show the progress of the rendering until then."""
    study.act(StudyEvent.APPROVE, count=2)
    with studio.rows() as session:
        shard = session.scalars(select(ShardRow).where(ShardRow.rendered_at.is_(None))).one()
    enqueued: list[JobRequest] = []
    services = replace(studio.services, enqueue=enqueued.extend)
    render_shard(services, FittedEngineCache(services), shard.id)
    kinds = {row.id: row.kind for row in study.outbox()}
    order = [kinds[request.row_id] for request in enqueued if request.job_kind is JobKind.OUTBOX]
    assert order[-2:] == [OutboxKind.DECISION, OutboxKind.SAMPLES]


def test_image_of_a_run_has_one_number_in_the_list_on_the_sheet_and_in_its_file_name(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    draw = cv2.putText

    def record(sheet: npt.NDArray[np.uint8], text: str, *rest: Any) -> Any:
        drawn.append(text)
        return draw(sheet, text, *rest)

    monkeypatch.setattr(cv2, "putText", record)
    study.act(StudyEvent.APPROVE, count=2)
    studio.settle()
    tasks = [task.data for task in study.tasks(ProjectKind.DATASET)]
    numbers = [int(data["index"]) for data in tasks]
    assert numbers == [ROUND, ROUND + 1]
    assert [int(data["file"].removesuffix(".png").partition("_")[2]) for data in tasks] == numbers
    assert [int(text) for text in drawn if text.isdecimal()] == numbers


def test_each_object_of_the_dataset_is_one_region(studio: FakeStudio, study: Study) -> None:
    study.act(StudyEvent.APPROVE, count=2)
    studio.settle()
    samples = {row.task_id: sample_of(row) for row in study.samples_of(study.batches(BatchKind.RUN)[-1])}
    for task in study.tasks(ProjectKind.DATASET):
        [annotation], [prediction] = task.annotations, studio.client.predictions(task.id)
        assert list(annotation.result) == prediction["result"]
        assert [region["type"] for region in annotation.result] == ["polygonlabels"] * len(samples[task.id].instances)


def _waits(row: OutboxRow) -> bool:
    return row.kind == OutboxKind.SAMPLES and row.state == WorkState.PENDING
