"""The reconciler finds the changes whose webhooks were lost."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyState
from datagen.imaging.png_encoder import encode_png
from datagen.store.tables.base import now
from datagen.store.tables.studies import ProjectRow
from datagen.workflow.events.reconciler import OVERLAP, reconcile
from datagen.workflow.inputs.input_sync import collect
from fake_studio import FakeStudio
from studio import ANYWHERE, Study, asked, plate, polygon, verdict_result


@pytest.fixture
def deaf(studio: FakeStudio, study: Study) -> Study:
    """A study under review whose webhooks no longer arrive."""
    look_at_all(studio)
    studio.settle()
    studio.hears = False
    return study


def look_at_all(studio: FakeStudio) -> None:
    """Run the reconciler twice: a project without new or deleted tasks is read every second time."""
    reconcile(studio.services)
    reconcile(studio.services)


def canvases(studio: FakeStudio, study: Study) -> int:
    with studio.rows() as session:
        return collect(session, study.row()).count(Role.CANVAS)


def test_lost_decision_is_acted_on_once(studio: FakeStudio, deaf: Study) -> None:
    studio.client.annotate(deaf.decision_tasks()[-1].id, asked("refine"))
    reconcile(studio.services)
    reconcile(studio.services)
    studio.settle()
    assert [spec.version for spec in deaf.specs()] == [1, 2]
    assert deaf.row().state is StudyState.REVIEWING


def test_open_decision_whose_task_was_deleted_gets_a_new_task(studio: FakeStudio, deaf: Study) -> None:
    before = deaf.decision_tasks()
    studio.client.delete_tasks(deaf.projects[ProjectKind.DECISIONS], [before[-1].id])
    reconcile(studio.services)
    studio.settle()
    assert [task.data["datagen_key"] for task in deaf.decision_tasks()] == [task.data["datagen_key"] for task in before]
    deaf.decide("refine", settle=False)
    look_at_all(studio)
    assert [spec.version for spec in deaf.specs()] == [1, 2]


def test_added_and_deleted_inputs_are_found(studio: FakeStudio, deaf: Study) -> None:
    before = canvases(studio, deaf)
    (added,) = deaf.give(Role.CANVAS, [("late.png", encode_png(plate(555)), [polygon(ANYWHERE)])])
    reconcile(studio.services)
    studio.settle()
    assert canvases(studio, deaf) == before + 1
    studio.client.delete_tasks(deaf.projects[ProjectKind.CANVASES], [added])
    reconcile(studio.services)
    studio.settle()
    assert canvases(studio, deaf) == before


def test_second_pass_without_changes_has_nothing_to_do(studio: FakeStudio, deaf: Study) -> None:
    look_at_all(studio)
    assert studio.unfinished() == 0
    assert all(row.seen_until for row in deaf.project_rows() if row.kind is not ProjectKind.DATASET)


@pytest.mark.parametrize("long_ago", [False, True], ids=["just now", "long ago"])
def test_edit_that_changes_no_count_is_found_in_the_second_pass(
    studio: FakeStudio, deaf: Study, long_ago: bool
) -> None:
    first, _ = deaf.judge(verdict_result("good"), verdict_result("good"))
    look_at_all(studio)
    studio.settle()
    look_at_all(studio)  # the decision task was told anew meanwhile
    if long_ago:
        with studio.services.database.write() as session:
            session.execute(update(ProjectRow).values(looked_at=now() - 2 * OVERLAP))
        look_at_all(studio)
        assert all(row.seen == "" for row in deaf.project_rows() if row.kind is not ProjectKind.DATASET)
    studio.client.update_annotation(first, verdict_result("bad", "wrong place"))
    look_at_all(studio)
    assert [str(row.opinion) for row in deaf.verdicts()] == ["bad", "good"]


def test_deleted_review_task_takes_its_verdict_along(studio: FakeStudio, deaf: Study) -> None:
    deaf.judge(verdict_result("good"), verdict_result("bad", "too small"), verdict_result("good"))
    look_at_all(studio)
    studio.settle()
    assert deaf.counts() == {"good": 2, "bad": 1, "still to review": 0}
    studio.client.delete_tasks(deaf.projects[ProjectKind.PREVIEWS], [deaf.round_tasks()[0].id])
    reconcile(studio.services)
    studio.settle()
    assert deaf.counts() == {"good": 1, "bad": 1, "still to review": 0}
    assert "<b>1</b> deleted" in deaf.page()


def test_deleted_input_is_noticed_beside_a_skipped_one(studio: FakeStudio, deaf: Study) -> None:
    before = canvases(studio, deaf)
    [skipped] = deaf.give(Role.CANVAS, [("skipped.png", encode_png(plate(556)), [])])
    studio.client.annotate(skipped, [], was_cancelled=True)
    look_at_all(studio)
    studio.settle()
    assert canvases(studio, deaf) == before
    studio.client.delete_tasks(deaf.projects[ProjectKind.CANVASES], [deaf.tasks(ProjectKind.CANVASES)[0].id])
    reconcile(studio.services)
    studio.settle()
    assert canvases(studio, deaf) == before - 1


def test_deleted_project_does_not_prevent_checks_of_the_others(studio: FakeStudio, deaf: Study) -> None:
    studio.client.delete_project(deaf.projects[ProjectKind.CONCEPTS])
    deaf.judge(verdict_result("good"))
    look_at_all(studio)
    assert [str(row.opinion) for row in deaf.verdicts()] == ["good"]
