"""Verdict rows equal the annotations in Label Studio until the decision; later verdicts are kept and do not count."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind, OutboxKind
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.events import reconciler
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.studies.open import open_study
from fake_studio import ACCESS, ENGINE, FakeStudio
from studio import ROUND, Study, verdict_result


def kept(study: Study) -> list[tuple[str, list[str], str, bool]]:
    return [(str(row.opinion), row.reasons, row.comment, row.late) for row in study.verdicts()]


def read_again(study: Study, *task_ids: int) -> None:
    """Synchronize the verdicts of each task, as an event of the task does, one after the other."""
    for task_id in task_ids:
        verdict_sync.sync_tasks(study.studio.services, study.projects[ProjectKind.PREVIEWS], [task_id])


def delete_tasks(study: Study, *task_ids: int) -> None:
    """Delete tasks of Previews in the Data Manager."""
    study.studio.client.delete_tasks(study.projects[ProjectKind.PREVIEWS], task_ids)


def tell_again(study: Study) -> None:
    """Publish the round's samples again, as after a publication that needed several attempts."""
    preview_round = study.batches(BatchKind.ROUND)[-1]
    with study.studio.services.unit() as unit:
        for shard_id in unit.session.scalars(select(ShardRow.id).where(ShardRow.batch_id == preview_round.id)):
            unit.add_to_outbox(study.id, OutboxKind.SAMPLES, shard_id)
    study.studio.settle()


@pytest.fixture
def namesake(studio: FakeStudio, study: Study) -> tuple[Study, int]:
    """A study under review, and an annotation there whose number an old verdict of another study has.

    As after Label Studio came back from a backup: the numbers given out since then are given out again.
    """
    old = studio.open_study()
    studio.settle()
    old.review()
    old.judge(verdict_result("bad", "edges show"))
    studio.settle()
    study.review()
    [number] = study.judge(verdict_result("good"))
    with studio.services.database.write() as session:
        before = old.verdicts()[0].annotation_id
        session.execute(update(VerdictRow).where(VerdictRow.annotation_id == before).values(annotation_id=number))
    return old, number


def test_skipped_task_has_no_verdict_and_stays_to_be_reviewed(studio: FakeStudio, study: Study) -> None:
    studio.client.annotate(study.round_tasks()[0].id, [], was_cancelled=True)
    studio.settle()
    assert kept(study) == []
    assert study.counts() == {"good": 0, "bad": 0, "still to review": 3}


def test_label_submitted_with_a_verdict_is_no_part_of_it(studio: FakeStudio, study: Study) -> None:
    task = study.round_tasks()[0]
    label = [region for predicted in studio.client.predictions(task.id) for region in predicted["result"]]
    assert label
    studio.client.annotate(task.id, [*label, *verdict_result("good")])
    studio.settle()
    assert kept(study) == [("good", [], "", False)]


def test_two_verdicts_on_one_sample_both_count(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"))
    study.judge(verdict_result("bad", "edges show"))
    studio.settle()
    assert study.counts() == {"good": 1, "bad": 1, "still to review": 2}


def test_answer_without_good_or_bad_is_no_verdict(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good")[1:], verdict_result("good") + verdict_result("bad"))
    studio.settle()
    assert kept(study) == []


def test_verdicts_after_the_decision_are_kept_and_do_not_count(studio: FakeStudio, study: Study) -> None:
    in_time, changed_late, deleted_late = study.judge(
        verdict_result("bad", "too small"), verdict_result("bad", "too large"), verdict_result("bad", "edges show")
    )
    studio.settle()
    round_before = study.batches(BatchKind.ROUND)[-1]
    version = study.specs()[-1]
    tasks = study.round_tasks()
    study.decide("refine")

    studio.client.update_annotation(changed_late, verdict_result("good"))
    studio.client.delete_annotation(deleted_late)
    studio.client.annotate(tasks[0].id, verdict_result("good", comment="too late"))
    studio.settle()

    rows = study.verdicts_of(round_before)
    assert [(row.annotation_id, str(row.opinion), row.late) for row in rows][:3] == [
        (in_time, "bad", False),
        (changed_late, "bad", False),
        (deleted_late, "bad", False),
    ]
    assert [(str(row.opinion), row.comment, row.late) for row in rows[3:]] == [("good", "too late", True)]
    with studio.rows() as session:
        assert len(verdict_sync.judged(session, round_before.id)) == 3
    assert study.specs()[-1].parent_id == version.id


def test_verdict_whose_event_was_lost_counts_in_the_decision(studio: FakeStudio, study: Study) -> None:
    study.judge(
        verdict_result("bad", "too small"), verdict_result("bad", "too small"), verdict_result("bad", "too small")
    )
    studio.lose_events()

    study.decide("refine")

    assert any("3 of 3 verdicts say “too small”" in note for note in study.specs()[-1].notes)


def test_verdict_whose_event_arrives_twice_counts_once(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"))
    studio.settle()
    for _ in range(2):
        studio.replay(study.events(ProjectKind.PREVIEWS)[-1])
    assert kept(study) == [("good", [], "", False)]


def test_verdicts_on_a_task_and_on_its_copy_both_count(studio: FakeStudio, study: Study) -> None:
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, with_annotations=False)
    study.judge(verdict_result("good"))
    studio.settle()
    assert kept(study) == [("good", [], "", False)]

    read_again(study, copy, task.id, copy)
    assert kept(study) == [("good", [], "", False)]

    studio.client.annotate(copy, verdict_result("bad", "edges show"))
    studio.settle()
    read_again(study, task.id, copy, task.id)
    assert kept(study) == [("good", [], "", False), ("bad", ["edges show"], "", False)]
    assert study.counts() == {"good": 1, "bad": 1, "still to review": 2}


def test_verdict_deleted_on_a_copy_is_deleted(studio: FakeStudio, study: Study) -> None:
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, with_annotations=False)
    study.judge(verdict_result("good"))
    on_copy = studio.client.annotate(copy, verdict_result("bad", "edges show"))
    studio.settle()
    studio.client.delete_annotation(on_copy)
    studio.settle()
    assert kept(study) == [("good", [], "", False)]


def test_verdict_inherited_by_copies_counts_once(studio: FakeStudio, study: Study) -> None:
    [original] = study.judge(verdict_result("bad", "too small"))
    studio.settle()
    task = study.round_tasks()[0]
    copies = study.copy(ProjectKind.PREVIEWS, task.id) + study.copy(ProjectKind.PREVIEWS, task.id)
    read_again(study, *copies)
    studio.settle()
    assert len(kept(study)) == 3
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 2}
    with studio.rows() as session:
        assert len(verdict_sync.judged(session, study.batches(BatchKind.ROUND)[-1].id)) == 1

    studio.client.delete_annotation(original)
    studio.settle()
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 2}  # of the copies one, still


def test_inherited_verdict_counts_from_its_first_update_on(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("bad", "too small"))
    studio.settle()
    [copy] = study.copy(ProjectKind.PREVIEWS, study.round_tasks()[0].id)
    [brought] = studio.client.task(copy, study.projects[ProjectKind.PREVIEWS]).annotations
    studio.client.update_annotation(brought.id, verdict_result("good"))
    studio.settle()
    assert study.counts() == {"good": 1, "bad": 1, "still to review": 2}


def test_copy_in_another_study_has_no_verdict_on_the_sample(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"))
    studio.settle()
    other = studio.open_study(inputs=False)
    task = study.round_tasks()[0]
    [elsewhere] = studio.client.import_tasks(other.projects[ProjectKind.PREVIEWS], [{"data": task.data}])
    studio.client.annotate(elsewhere, verdict_result("bad", "edges show"))
    studio.settle()
    assert kept(study) == [("good", [], "", False)]


def test_deleted_review_task_is_not_created_again_and_its_verdict_does_not_count(
    studio: FakeStudio, study: Study
) -> None:
    study.judge(verdict_result("good"), verdict_result("bad", "too small"))
    studio.settle()
    first, _, third = study.round_tasks()
    delete_tasks(study, first.id, third.id)
    studio.settle()
    assert kept(study) == [("bad", ["too small"], "", False)]
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 0}
    assert "<b>2</b> deleted" in study.page()

    tell_again(study)
    assert len(study.round_tasks()) == 1
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 0}


def test_deleted_review_task_whose_event_was_lost_does_not_count_in_the_decision(
    studio: FakeStudio, study: Study
) -> None:
    study.judge(*[verdict_result("bad", "too small")] * 3)
    studio.settle()
    delete_tasks(study, study.round_tasks()[0].id)
    studio.lose_events()
    study.decide("refine")
    assert any("2 of 2 verdicts say “too small”" in note for note in study.specs()[-1].notes)


def test_verdicts_a_decision_is_based_on_outlive_their_tasks(studio: FakeStudio, study: Study) -> None:
    study.judge(*[verdict_result("bad", "too small")] * 3)
    studio.settle()
    preview_round, tasks = study.batches(BatchKind.ROUND)[-1], study.round_tasks()
    study.decide("refine")
    studio.client.annotate(tasks[0].id, verdict_result("good", comment="too late"))
    studio.settle()
    assert [row.late for row in study.verdicts_of(preview_round)] == [False, False, False, True]

    delete_tasks(study, *(task.id for task in tasks))
    studio.settle()
    assert [row.late for row in study.verdicts_of(preview_round)] == [False, False, False]
    with studio.rows() as session:
        assert len(verdict_sync.judged(session, preview_round.id)) == 3


def test_copy_keeps_its_verdict_when_the_original_is_deleted(studio: FakeStudio, study: Study) -> None:
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, with_annotations=False)
    study.judge(verdict_result("good"))
    studio.client.annotate(copy, verdict_result("bad", "edges show"))
    studio.settle()
    delete_tasks(study, task.id)
    studio.settle()
    assert kept(study) == [("bad", ["edges show"], "", False)]
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 2}


def test_deleted_review_task_that_is_imported_again_counts_again(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("bad", "too small"))
    studio.settle()
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id)
    delete_tasks(study, task.id, copy)
    studio.settle()
    assert study.counts() == {"good": 0, "bad": 0, "still to review": 2}
    [again] = studio.client.import_tasks(study.projects[ProjectKind.PREVIEWS], [{"data": task.data}])
    studio.client.annotate(again, verdict_result("good"))
    studio.settle()
    assert study.counts() == {"good": 1, "bad": 0, "still to review": 2}


def test_verdicts_stored_without_a_task_are_deleted_with_their_annotation_or_task(
    studio: FakeStudio, study: Study
) -> None:
    """Workers of two versions run side by side while one takes the other's place."""
    first, _, _ = study.judge(
        verdict_result("good"), verdict_result("bad", "too small"), verdict_result("bad", "edges show")
    )
    studio.settle()
    with studio.services.database.write() as session:
        session.execute(update(VerdictRow).values(task_id=None))
    studio.client.delete_annotation(first)
    delete_tasks(study, study.round_tasks()[1].id)
    studio.settle()
    assert kept(study) == [("bad", ["edges show"], "", False)]


def test_new_previews_project_gets_the_open_round_and_keeps_its_verdicts(studio: FakeStudio, study: Study) -> None:
    study.judge(*[verdict_result("bad", "too small")] * 2)
    studio.settle()
    studio.client.delete_project(study.projects[ProjectKind.PREVIEWS])
    provisioned = open_study(
        studio.services,
        study.name,
        ["pit"],
        ACCESS,
        engine=ENGINE,
        preview_size=ROUND,
    )
    study.projects = provisioned.projects
    studio.settle()
    assert len(study.round_tasks()) == ROUND
    assert study.counts() == {"good": 0, "bad": 2, "still to review": 1}

    studio.client.annotate(study.round_tasks()[2].id, verdict_result("bad", "too small"))
    studio.settle()
    study.decide("refine")
    assert any("3 of 3 verdicts say “too small”" in note for note in study.specs()[-1].notes)


@pytest.mark.parametrize("found_by", ["its event", "the reconciler"])
def test_reused_annotation_id_in_another_study_is_another_verdict(
    studio: FakeStudio, study: Study, namesake: tuple[Study, int], found_by: str
) -> None:
    old, number = namesake
    if found_by == "the reconciler":
        reconciler.reconcile(studio.services)
    studio.settle()
    assert kept(study) == [("good", [], "", False)]
    assert kept(old) == [("bad", ["edges show"], "", False)]

    studio.client.update_annotation(number, verdict_result("bad", "too small"))
    studio.settle()
    assert kept(study) == [("bad", ["too small"], "", False)]
    assert kept(old) == [("bad", ["edges show"], "", False)]

    studio.client.delete_annotation(number)
    studio.settle()
    assert kept(study) == []
    assert kept(old) == [("bad", ["edges show"], "", False)]


def test_decided_round_is_not_offered_for_review(study: Study) -> None:
    assert "review them</a>: tab <b>To review now</b>, then <b>Label Tasks As Displayed</b>" in study.page()
    study.decide("refine")
    assert "not reviewed" in study.page(-2)
    assert "review them" not in study.page(-2)
    assert "review them" in study.page()
