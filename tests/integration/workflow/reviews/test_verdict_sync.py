"""Verdicts are stored as in Label Studio until the decision; later ones are stored and do not count."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from datagen.domain.inputs import ProjectKind
from datagen.entrypoints import bootstrap
from datagen.store.tables import BatchKind, InboxRow, OutboxKind, ShardRow, VerdictRow, WorkState
from datagen.workflow.events import reconciler
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.studies.open import open_study
from studio import ROUND, Studio, Study, said

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def kept(study: Study) -> list[tuple[str, list[str], str, bool]]:
    return [(str(row.opinion), row.reasons, row.comment, row.late) for row in study.verdicts()]


def test_a_verdict_follows_its_annotation_through_change_skip_and_deletion(studio: Studio, study: Study) -> None:
    study.review()
    first, second, third = study.judge(
        said("good"), said("bad", "too small", "wrong place", comment="hardly there"), said("bad")
    )
    studio.settle()
    assert kept(study) == [
        ("good", [], "", False),
        ("bad", ["too small", "wrong place"], "hardly there", False),
        ("bad", [], "", False),
    ]
    assert all(studio.server.email in row.reviewer for row in study.verdicts())

    studio.client.update_annotation(first, said("bad", "too strong"))
    studio.client.delete_annotation(second)
    study.change(third, was_cancelled=True)
    studio.settle()

    assert kept(study) == [("bad", ["too strong"], "", False)]
    assert "too strong (1)" in study.page()


def test_a_skipped_task_has_no_verdict_and_stays_to_be_reviewed(studio: Studio, study: Study) -> None:
    study.review()
    studio.client.annotate(study.round_tasks()[0].id, [], was_cancelled=True)
    studio.settle()
    assert kept(study) == []
    assert study.counts() == {"good": 0, "bad": 0, "still to review": 3}


def test_the_label_that_is_submitted_along_is_no_part_of_the_verdict(studio: Studio, study: Study) -> None:
    study.review()
    task = study.round_tasks()[0]
    label = [region for one in studio.client.predictions(task.id) for region in one["result"]]
    assert label
    studio.client.annotate(task.id, [*label, *said("good")])
    studio.settle()
    assert kept(study) == [("good", [], "", False)]


def test_two_reviewers_of_one_sample_both_count(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("good"))
    study.judge(said("bad", "edges show"))
    studio.settle()
    assert study.counts() == {"good": 1, "bad": 1, "still to review": 2}


def test_an_answer_without_good_or_bad_is_no_verdict(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("good")[1:], said("good") + said("bad"))
    studio.settle()
    assert kept(study) == []


def test_verdicts_after_the_decision_are_kept_but_do_not_count(studio: Studio, study: Study) -> None:
    study.review()
    in_time, changed_late, deleted_late = study.judge(
        said("bad", "too small"), said("bad", "too large"), said("bad", "edges show")
    )
    studio.settle()
    round_before = study.batches(BatchKind.ROUND)[-1]
    version = study.specs()[-1]
    tasks = study.round_tasks()
    study.decide("refine")

    studio.client.update_annotation(changed_late, said("good"))
    studio.client.delete_annotation(deleted_late)
    studio.client.annotate(tasks[0].id, said("good", comment="too late"))
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


def test_verdict_without_an_event_counts_in_the_decision(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("bad", "too small"), said("bad", "too small"), said("bad", "too small"))
    with studio.services.database.write() as session:  # as if the webhooks had been lost
        for event in study.events(ProjectKind.PREVIEWS):
            session.get_one(InboxRow, event.id).state = WorkState.CANCELLED
    studio.queues.redis.flushdb()

    study.decide("refine")

    assert any("3 of 3 verdicts say “too small”" in note for note in study.specs()[-1].notes)


def test_verdict_with_two_events_counts_once(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("good"))
    studio.settle()
    for _ in range(2):
        studio.replay(study.events(ProjectKind.PREVIEWS)[-1])
    assert kept(study) == [("good", [], "", False)]


def read_again(study: Study, *task_ids: int) -> None:
    """As an event of each of these tasks has it, one after the other."""
    for task_id in task_ids:
        verdict_sync.sync_tasks(study.studio.services, study.projects[ProjectKind.PREVIEWS], [task_id])


def test_verdict_on_a_copy_does_not_replace_the_verdict_on_the_task(studio: Studio, study: Study) -> None:
    study.review()
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, said=False)
    study.judge(said("good"))
    studio.settle()
    assert kept(study) == [("good", [], "", False)]

    read_again(study, copy, task.id, copy)
    assert kept(study) == [("good", [], "", False)]

    studio.client.annotate(copy, said("bad", "edges show"))
    studio.settle()
    read_again(study, task.id, copy, task.id)
    assert kept(study) == [("good", [], "", False), ("bad", ["edges show"], "", False)]
    assert study.counts() == {"good": 1, "bad": 1, "still to review": 2}


def test_a_verdict_on_a_copy_that_is_deleted_there_is_gone(studio: Studio, study: Study) -> None:
    study.review()
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, said=False)
    study.judge(said("good"))
    on_copy = studio.client.annotate(copy, said("bad", "edges show"))
    studio.settle()
    studio.client.delete_annotation(on_copy)
    studio.settle()
    assert kept(study) == [("good", [], "", False)]


def test_a_verdict_that_a_copy_brought_along_counts_once(studio: Studio, study: Study) -> None:
    study.review()
    [original] = study.judge(said("bad", "too small"))
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


def test_updated_verdict_of_a_copy_counts(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("bad", "too small"))
    studio.settle()
    [copy] = study.copy(ProjectKind.PREVIEWS, study.round_tasks()[0].id)
    [brought] = studio.client.task(copy, study.projects[ProjectKind.PREVIEWS]).annotations
    studio.client.update_annotation(brought.id, said("good"))
    studio.settle()
    assert study.counts() == {"good": 1, "bad": 1, "still to review": 2}


def test_a_verdict_that_is_moved_from_a_copy_to_the_task_is_kept(studio: Studio, study: Study) -> None:
    """“Remove Duplicated Tasks” of the Data Manager."""
    study.review()
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, said=False)
    study.judge(said("good"))
    studio.client.annotate(copy, said("bad", "edges show"))
    studio.settle()
    study.remove_duplicates(ProjectKind.PREVIEWS)
    studio.settle()
    assert kept(study) == [("good", [], "", False), ("bad", ["edges show"], "", False)]


def test_copy_in_another_study_does_not_count(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("good"))
    studio.settle()
    other = studio.open_study(inputs=False)
    task = study.round_tasks()[0]
    [elsewhere] = studio.client.import_tasks(other.projects[ProjectKind.PREVIEWS], [{"data": task.data}])
    studio.client.annotate(elsewhere, said("bad", "edges show"))
    studio.settle()
    assert kept(study) == [("good", [], "", False)]


def delete_tasks(study: Study, *task_ids: int) -> None:
    """In the Data Manager."""
    study.studio.client.delete_tasks(study.projects[ProjectKind.PREVIEWS], task_ids)


def lose_events(study: Study) -> None:
    """As if the webhooks of the Previews project had not arrived."""
    study.studio.drain_notifier()
    with study.studio.services.database.write() as session:
        for event in study.events(ProjectKind.PREVIEWS):
            session.get_one(InboxRow, event.id).state = WorkState.CANCELLED
    study.studio.queues.redis.flushdb()


def dispatch_again(study: Study) -> None:
    """The last check after publishing that took several attempts."""
    made = study.batches(BatchKind.ROUND)[-1]
    with study.studio.services.unit() as unit:
        for shard_id in unit.session.scalars(select(ShardRow.id).where(ShardRow.batch_id == made.id)):
            unit.add_to_outbox(study.id, OutboxKind.SAMPLES, shard_id)
    study.studio.settle()


def test_verdict_on_a_deleted_task_stops_counting_and_the_task_is_not_created_again(
    studio: Studio, study: Study
) -> None:
    study.review()
    study.judge(said("good"), said("bad", "too small"))
    studio.settle()
    first, _, third = study.round_tasks()
    delete_tasks(study, first.id, third.id)
    studio.settle()
    assert kept(study) == [("bad", ["too small"], "", False)]
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 0}
    assert "<b>2</b> deleted" in study.page()

    dispatch_again(study)
    assert len(study.round_tasks()) == 1
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 0}


def test_task_deleted_without_an_event_does_not_count_in_the_decision(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(*[said("bad", "too small")] * 3)
    studio.settle()
    delete_tasks(study, study.round_tasks()[0].id)
    lose_events(study)
    study.decide("refine")
    assert any("2 of 2 verdicts say “too small”" in note for note in study.specs()[-1].notes)


def test_decision_keeps_the_verdicts_of_tasks_deleted_afterwards(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(*[said("bad", "too small")] * 3)
    studio.settle()
    made, tasks = study.batches(BatchKind.ROUND)[-1], study.round_tasks()
    study.decide("refine")
    studio.client.annotate(tasks[0].id, said("good", comment="too late"))
    studio.settle()
    assert [row.late for row in study.verdicts_of(made)] == [False, False, False, True]

    delete_tasks(study, *(task.id for task in tasks))
    studio.settle()
    assert [row.late for row in study.verdicts_of(made)] == [False, False, False]
    with studio.rows() as session:
        assert len(verdict_sync.judged(session, made.id)) == 3


def test_of_a_task_and_its_copy_the_one_that_is_left_keeps_its_verdict(studio: Studio, study: Study) -> None:
    study.review()
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id, said=False)
    study.judge(said("good"))
    studio.client.annotate(copy, said("bad", "edges show"))
    studio.settle()
    delete_tasks(study, task.id)
    studio.settle()
    assert kept(study) == [("bad", ["edges show"], "", False)]
    assert study.counts() == {"good": 0, "bad": 1, "still to review": 2}


def test_a_deleted_task_that_is_imported_again_brings_its_verdict_back(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("bad", "too small"))
    studio.settle()
    task = study.round_tasks()[0]
    [copy] = study.copy(ProjectKind.PREVIEWS, task.id)
    delete_tasks(study, task.id, copy)
    studio.settle()
    assert study.counts() == {"good": 0, "bad": 0, "still to review": 2}
    [again] = studio.client.import_tasks(study.projects[ProjectKind.PREVIEWS], [{"data": task.data}])
    studio.client.annotate(again, said("good"))
    studio.settle()
    assert study.counts() == {"good": 1, "bad": 0, "still to review": 2}


def test_verdicts_that_an_older_version_noted_without_their_task_go_with_annotation_and_task(
    studio: Studio, study: Study
) -> None:
    """Workers of two versions run side by side while one takes the other's place."""
    study.review()
    first, _, _ = study.judge(said("good"), said("bad", "too small"), said("bad", "edges show"))
    studio.settle()
    with studio.services.database.write() as session:
        session.execute(update(VerdictRow).values(task_id=None))
    studio.client.delete_annotation(first)
    delete_tasks(study, study.round_tasks()[1].id)
    studio.settle()
    assert kept(study) == [("bad", ["edges show"], "", False)]


def test_a_previews_project_that_is_made_anew_gets_the_open_round_and_no_verdict_is_lost(studio: Studio) -> None:
    study = studio.open_study()
    studio.settle()
    study.review()
    study.judge(*[said("bad", "too small")] * 2)
    studio.settle()
    studio.client.delete_project(study.projects[ProjectKind.PREVIEWS])
    made = open_study(
        studio.services,
        study.name,
        ["pit"],
        bootstrap.connection_of(studio.settings),
        engine="composite",
        preview_size=ROUND,
    )
    study.projects = made.projects
    studio.settle()
    assert len(study.round_tasks()) == ROUND
    assert study.counts() == {"good": 0, "bad": 2, "still to review": 1}

    studio.client.annotate(study.round_tasks()[2].id, said("bad", "too small"))
    studio.settle()
    study.decide("refine")
    assert any("3 of 3 verdicts say “too small”" in note for note in study.specs()[-1].notes)


@pytest.fixture
def namesake(studio: Studio, study: Study) -> tuple[Study, int]:
    """A study under review, and an annotation whose id is stored in an old verdict of another study.

    As after Label Studio came back from a backup: the numbers given out since then are given out again.
    """
    old = studio.open_study()
    studio.settle()
    old.review()
    old.judge(said("bad", "edges show"))
    studio.settle()
    study.review()
    [number] = study.judge(said("good"))
    with studio.services.database.write() as session:
        before = old.verdicts()[0].annotation_id
        session.execute(update(VerdictRow).where(VerdictRow.annotation_id == before).values(annotation_id=number))
    return old, number


@pytest.mark.parametrize("found_by", ["its event", "the reconciler"])
def test_annotation_id_reused_in_another_study_is_another_verdict(
    studio: Studio, study: Study, namesake: tuple[Study, int], found_by: str
) -> None:
    old, number = namesake
    if found_by == "the reconciler":
        reconciler.reconcile(studio.services)
    studio.settle()
    assert kept(study) == [("good", [], "", False)]
    assert kept(old) == [("bad", ["edges show"], "", False)]

    studio.client.update_annotation(number, said("bad", "too small"))
    studio.settle()
    assert kept(study) == [("bad", ["too small"], "", False)]
    assert kept(old) == [("bad", ["edges show"], "", False)]

    studio.client.delete_annotation(number)
    studio.settle()
    assert kept(study) == []
    assert kept(old) == [("bad", ["edges show"], "", False)]


def test_decided_round_is_not_offered_for_review(study: Study) -> None:
    study.review()
    assert "review them</a>: tab <b>To review now</b>, then <b>Label Tasks As Displayed</b>" in study.page()
    study.decide("refine")
    assert "not reviewed" in study.page(-2)
    assert "review them" not in study.page(-2)
    assert "review them" in study.page()
