"""Which review tasks Label Studio hands out, and what their list shows."""

from __future__ import annotations

from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.imaging.codec import decode
from datagen.label_studio.api.models import Task
from datagen.label_studio.mapping.form_answers import is_closing
from datagen.store.tables import BatchKind, OutboxKind, ShardRow, SpecRow
from datagen.workflow.generation import contact_sheet
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.outbox import dispatcher
from datagen.workflow.reviews import review_tasks
from datagen.workflow.studies.maintenance import retry
from fake_studio import FakeStudio
from studio import ROUND, Study, said


def is_open(task: Task) -> bool:
    """Whether Label Studio's labeling stream serves the task."""
    return all(one.was_cancelled for one in task.annotations)


def again(study: Study, tasks: list[Task]) -> list[Task]:
    """The same tasks as Label Studio holds them now."""
    ids = [task.id for task in tasks]
    return [task for task in study.tasks(ProjectKind.PREVIEWS) if task.id in ids]


def test_refined_round_leaves_the_queue_and_the_new_one_waits(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.judge(said("bad", "too small"))
    studio.settle()
    study.decide(StudyEvent.REFINE)
    second = study.round_tasks()
    assert {task.id for task in first}.isdisjoint(task.id for task in second)
    judged, *others = again(study, first)
    assert [is_closing(one.result) for one in judged.annotations] == [False]
    assert judged.data["status"] == "reviewed"
    for task in others:
        assert [is_closing(one.result) for one in task.annotations] == [True]
        assert task.data["status"] == "closed: refined"
    assert all(is_open(task) for task in second)
    assert study.counts() == {"good": 0, "bad": 0, "still to review": ROUND}


def test_list_shows_verdict_reasons_and_comment_of_each_task(studio: FakeStudio, study: Study) -> None:
    study.judge(said("bad", "too small", "edges show", comment="a halo"))
    studio.settle()
    judged, other, *_ = study.round_tasks()
    columns = ("status", "verdict", "reasons", "comment")
    assert [judged.data[name] for name in columns] == ["reviewed", "bad", "edges show, too small", "a halo"]
    assert [other.data[name] for name in columns] == ["to review", "", "", ""]


def test_one_image_has_one_number_in_list_form_sheet_and_decision_page(studio: FakeStudio, study: Study) -> None:
    """A comment on “image 0” was looked for as the first of the sheet, as the second, and not found."""
    tasks = study.round_tasks()
    assert [task.data["index"] for task in tasks] == [str(number) for number in range(1, ROUND + 1)]
    study.judge(said("good"), said("bad", comment="a halo"))
    studio.settle()
    second = f"/projects/{study.projects[ProjectKind.PREVIEWS]}/data?task={tasks[1].id}"
    assert f'<a href="{second}" target="_blank">Image 2</a>: a halo' in study.page()
    made = study.batches(BatchKind.ROUND)[-1]
    sheet = decode(studio.services.images.get(str(made.sheet)), max_bytes=10**7, max_pixels=10**7)
    for place in range(ROUND):  # in the strip above each image its number is written
        left = contact_sheet.GAP + place * (contact_sheet.CELL + contact_sheet.GAP)
        strip = sheet[contact_sheet.GAP : contact_sheet.GAP + contact_sheet.CAPTION, left : left + contact_sheet.CELL]
        assert strip.min() < 120 < 245 == strip.max()


def test_tasks_that_count_from_0_are_numbered_anew(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()[0]
    former = {name: value for name, value in first.data.items() if name != "round_size"} | {"index": "0"}
    studio.client.update_task_data(first.id, former)
    review_tasks.update(studio.services, study.batches(BatchKind.ROUND)[-1].id)
    [task] = again(study, [first])
    assert (task.data["index"], task.data["round_size"]) == ("1", str(ROUND))


def test_round_whose_successor_was_cancelled_waits_for_verdicts_again(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.act(StudyEvent.REFINE)
    study.act(StudyEvent.CANCEL)
    studio.settle()
    assert all(is_open(task) for task in again(study, first))
    assert {task.data["status"] for task in again(study, first)} == {"to review"}


def test_tasks_made_after_their_round_was_cancelled_are_closed(studio: FakeStudio, study: Study) -> None:
    study.act(StudyEvent.BUILD_PREVIEW)
    made = study.batches(BatchKind.ROUND)[-1]
    with studio.rows() as session:
        [shard] = session.scalars(select(ShardRow.id).where(ShardRow.batch_id == made.id))
    render_shard(studio.services, FittedEngineCache(studio.services), shard)
    study.act(StudyEvent.CANCEL)
    told = {(row.kind, row.subject_id): row.id for row in study.outbox()}
    dispatcher.dispatch(studio.services, told[OutboxKind.REVIEW_TASKS, made.id])  # it has no task yet
    dispatcher.dispatch(studio.services, told[OutboxKind.SAMPLES, shard])
    studio.settle()
    tasks = study.round_tasks()
    assert len(tasks) == ROUND
    assert not any(is_open(task) for task in tasks)
    assert {task.data["status"] for task in tasks} == {"closed: stopped"}


def test_round_is_closed_again_when_its_failed_successor_is_taken_up_again(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.act(StudyEvent.REFINE)
    with studio.services.database.write() as session:
        spec = session.get_one(SpecRow, study.specs()[-1].id)
        body = dict(spec.body)
        spec.body = {**body, "engine": "no-such-engine"}
    studio.settle()
    assert all(is_open(task) for task in again(study, first))
    with studio.services.database.write() as session:
        session.get_one(SpecRow, study.specs()[-1].id).body = body  # the engine is installed again
    retry(studio.services, study.name, "ann")
    studio.settle()
    assert not any(is_open(task) for task in again(study, first))
    assert {task.data["status"] for task in again(study, first)} == {"closed: refined"}


def test_verdict_that_comes_after_the_decision_is_answered_where_people_look(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    (given,) = study.judge(said("bad", "too small"))
    studio.settle()
    study.decide(StudyEvent.REFINE)
    number = first[0].data["round"]
    late = studio.client.annotate(first[1].id, said("good"))
    studio.settle()
    sentence = f"1 verdict on round {number} came or changed after it was refined; it is kept, and does not count."
    assert sentence in study.page()
    assert again(study, first)[1].data["status"] == "reviewed too late, does not count"
    study.change(given, result=said("good"))
    studio.settle()
    assert f"2 verdicts on round {number} came or changed after it was refined" in study.page()
    assert again(study, first)[0].data["status"] == "reviewed; changed too late, counts as it was"
    study.change(given, result=said("bad", "too small"))
    studio.client.delete_annotation(late)
    studio.settle()
    assert "came or changed after" not in study.page()


def test_superseded_round_is_closed_and_a_verdict_on_it_does_not_count(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.judge(said("good"))
    studio.settle()
    study.decide(StudyEvent.BUILD_PREVIEW)
    assert [str(spec.state) for spec in study.specs()] == ["superseded", "review"]
    assert [task.data["status"] for task in again(study, first)] == ["reviewed", *["closed: built anew"] * (ROUND - 1)]
    studio.client.annotate(first[1].id, said("bad"))
    studio.settle()
    superseded = study.batches(BatchKind.ROUND)[0]
    assert [(str(row.opinion), row.late) for row in study.verdicts_of(superseded)] == [("good", False), ("bad", True)]
    assert again(study, first)[1].data["status"] == "reviewed too late, does not count"
    assert study.counts() == {"good": 0, "bad": 0, "still to review": ROUND}
