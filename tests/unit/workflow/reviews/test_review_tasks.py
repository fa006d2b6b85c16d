"""Which review tasks Label Studio hands out, and what their list shows."""

from __future__ import annotations

from collections import Counter

from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.imaging.codec import decode
from datagen.label_studio.api.models import Task
from datagen.label_studio.projects import label_configs
from datagen.label_studio.projects.project_templates import preview_tabs
from datagen.store.tables.base import BatchKind, OutboxKind
from datagen.store.tables.batches import ShardRow, SpecRow
from datagen.workflow.generation import contact_sheet
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.outbox import dispatcher
from datagen.workflow.reviews import review_tasks
from datagen.workflow.studies.maintenance import retry
from fake_studio import FakeStudio
from studio import ROUND, Study, verdict_result

#: The end of a closed task's status.
TOO_LATE = "a verdict no longer counts"


def is_open(task: Task) -> bool:
    """Whether Label Studio's labeling stream serves the task."""
    return not task.is_finished


def again(study: Study, tasks: list[Task]) -> list[Task]:
    """The same tasks as Label Studio holds them now."""
    ids = [task.id for task in tasks]
    return [task for task in study.tasks(ProjectKind.PREVIEWS) if task.id in ids]


def test_refined_round_leaves_the_queue_and_the_new_one_waits(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.judge(verdict_result("bad", "too small"))
    studio.settle()
    study.decide(StudyEvent.REFINE)
    second = study.round_tasks()
    assert {task.id for task in first}.isdisjoint(task.id for task in second)
    judged, *others = again(study, first)
    assert (is_open(judged), len(judged.annotations)) == (False, 1)
    assert judged.data["status"] == "reviewed; closed: refined"
    for task in others:
        # an empty annotation would be signed by the token's user, and counted by Label Studio
        assert (is_open(task), task.annotations) == (False, ())
        assert task.data["status"] == f"closed: refined; {TOO_LATE}"
    assert all(is_open(task) for task in second)
    assert study.counts() == {"good": 0, "bad": 0, "still to review": ROUND}


def test_list_shows_verdict_reasons_and_comment_of_each_task(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("bad", "too small", "edges show", comment="a halo"))
    studio.settle()
    judged, other, *_ = study.round_tasks()
    columns = ("status", "verdict", "reasons", "comment")
    assert [judged.data[name] for name in columns] == ["reviewed", "bad", "edges show, too small", "a halo"]
    assert [other.data[name] for name in columns] == ["to review", "", "", ""]


def test_one_image_has_one_number_in_list_form_sheet_and_decision_page(studio: FakeStudio, study: Study) -> None:
    """A comment on “image 0” was looked for as the first of the sheet, as the second, and not found."""
    tasks = study.round_tasks()
    assert [task.data["index"] for task in tasks] == [str(number) for number in range(1, ROUND + 1)]
    study.judge(verdict_result("good"), verdict_result("bad", comment="a halo"))
    studio.settle()
    second = f"/projects/{study.projects[ProjectKind.PREVIEWS]}/data?task={tasks[1].id}"
    assert f'<a href="{second}" target="_blank">Image 2</a>: a halo' in study.page()
    preview_round = study.batches(BatchKind.ROUND)[-1]
    sheet = decode(studio.services.images.get(str(preview_round.sheet)), max_bytes=10**7, max_pixels=10**7)
    for place in range(ROUND):  # in the strip above each image its number is written
        left = contact_sheet.GAP + place * (contact_sheet.CELL + contact_sheet.GAP)
        strip = sheet[contact_sheet.GAP : contact_sheet.GAP + contact_sheet.CAPTION, left : left + contact_sheet.CELL]
        assert strip.min() < 140 < 255 == strip.max()  # our decoder puts white behind what is transparent


def test_tasks_that_count_from_0_are_numbered_anew(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()[0]
    former = {name: value for name, value in first.data.items() if name != "round_size"} | {"index": "0"}
    studio.client.update_task_data(first.id, former)
    review_tasks.update(studio.services, study.batches(BatchKind.ROUND)[-1].id)
    [task] = again(study, [first])
    assert (task.data["index"], task.data["round_size"]) == ("1", str(ROUND))


def test_task_is_closed_and_its_columns_are_written_in_one_request(studio: FakeStudio, study: Study) -> None:
    tasks = study.round_tasks()
    study.judge(verdict_result("good"))
    studio.settle()
    study.act(StudyEvent.REFINE)
    studio.client.requests.clear()
    review_tasks.update(studio.services, study.batches(BatchKind.ROUND)[0].id)
    assert Counter(name for name, _ in studio.client.requests) == Counter(page=1, update_task_data=ROUND)
    assert not any(is_open(task) for task in again(study, tasks))


def test_round_whose_successor_was_cancelled_waits_for_verdicts_again(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.act(StudyEvent.REFINE)
    study.act(StudyEvent.CANCEL)
    studio.settle()
    assert all(is_open(task) for task in again(study, first))
    assert {task.data["status"] for task in again(study, first)} == {"to review"}


def test_tasks_made_after_their_round_was_cancelled_are_closed(studio: FakeStudio, study: Study) -> None:
    study.act(StudyEvent.BUILD_PREVIEW)
    preview_round = study.batches(BatchKind.ROUND)[-1]
    with studio.rows() as session:
        [shard] = session.scalars(select(ShardRow.id).where(ShardRow.batch_id == preview_round.id))
    render_shard(studio.services, FittedEngineCache(studio.services), shard)
    study.act(StudyEvent.CANCEL)
    reported = {(row.kind, row.subject_id): row.id for row in study.outbox()}
    dispatcher.dispatch(studio.services, reported[OutboxKind.REVIEW_TASKS, preview_round.id])  # it has no task yet
    dispatcher.dispatch(studio.services, reported[OutboxKind.SAMPLES, shard])
    studio.settle()
    tasks = study.round_tasks()
    assert len(tasks) == ROUND
    assert not any(is_open(task) for task in tasks)
    assert {task.data["status"] for task in tasks} == {f"closed: stopped; {TOO_LATE}"}


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
    assert {task.data["status"] for task in again(study, first)} == {f"closed: refined; {TOO_LATE}"}


def test_verdict_that_comes_after_the_decision_is_answered_where_people_look(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    (given,) = study.judge(verdict_result("bad", "too small"))
    studio.settle()
    study.decide(StudyEvent.REFINE)
    number = first[0].data["round"]
    late = studio.client.annotate(first[1].id, verdict_result("good"))
    studio.settle()
    sentence = f"1 verdict on round {number} came or changed after it was refined; it is kept, and does not count."
    assert sentence in study.page()
    assert again(study, first)[1].data["status"] == "reviewed too late, does not count"
    study.change(given, result=verdict_result("good"))
    studio.settle()
    assert f"2 verdicts on round {number} came or changed after it was refined" in study.page()
    assert again(study, first)[0].data["status"] == "reviewed; changed too late, counts as it was"
    study.change(given, result=verdict_result("bad", "too small"))
    studio.client.delete_annotation(late)
    studio.settle()
    assert "came or changed after" not in study.page()


def test_superseded_round_is_closed_and_a_verdict_on_it_does_not_count(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.judge(verdict_result("good"))
    studio.settle()
    study.decide(StudyEvent.BUILD_PREVIEW)
    assert [str(spec.state) for spec in study.specs()] == ["superseded", "review"]
    closed = [f"closed: built anew; {TOO_LATE}"] * (ROUND - 1)
    assert [task.data["status"] for task in again(study, first)] == ["reviewed; closed: built anew", *closed]
    studio.client.annotate(first[1].id, verdict_result("bad"))
    studio.settle()
    superseded = study.batches(BatchKind.ROUND)[0]
    assert [(str(row.opinion), row.late) for row in study.verdicts_of(superseded)] == [("good", False), ("bad", True)]
    assert again(study, first)[1].data["status"] == "reviewed too late, does not count"
    assert study.counts() == {"good": 0, "bad": 0, "still to review": ROUND}


def test_heading_of_a_closed_preview_says_that_it_is_closed() -> None:
    assert "image $index of $round_size · $status" in label_configs.render(ProjectKind.PREVIEWS, ["pit"])


def test_every_tab_shows_the_number_of_the_image(study: Study) -> None:
    """The decision page names “image 5”; the tabs showed only Label Studio's number of the task."""
    assert [task.data["number"] for task in study.round_tasks()] == [f"image {n}" for n in range(1, ROUND + 1)]
    for tab in preview_tabs(1):
        assert "tasks:data.number" not in tab.data()["hiddenColumns"]["explore"]


def test_annotations_by_which_an_earlier_version_closed_tasks_are_deleted(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.act(StudyEvent.REFINE)
    studio.settle()
    closing = {"from_name": "status", "to_name": "image", "type": "choices", "value": {"choices": ["closed"]}}
    for task in first:
        studio.client.annotate(task.id, [closing])
    review_tasks.update(studio.services, study.batches(BatchKind.ROUND)[0].id)
    assert [(is_open(task), task.annotations) for task in again(study, first)] == [(False, ())] * ROUND


def test_closed_task_that_label_studio_opens_again_is_closed_again(studio: FakeStudio, study: Study) -> None:
    first = study.round_tasks()
    study.act(StudyEvent.REFINE)
    studio.settle()
    studio.client.annotate(first[0].id, [], was_cancelled=True)  # a skip opens it for others
    late = studio.client.annotate(first[1].id, verdict_result("good"))
    studio.settle()
    studio.client.delete_annotation(late)
    assert is_open(again(study, first)[1])
    studio.settle()
    assert not any(is_open(task) for task in again(study, first))
