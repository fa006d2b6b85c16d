"""The reconciler finds what webhooks did not tell, and asks only for what was touched."""

from __future__ import annotations

import pytest

from datagen.domain.inputs import Desk, Role
from datagen.domain.lifecycle import StudyState
from datagen.store.decode import encode_png
from datagen.workflow.inputs import collect
from datagen.workflow.reconciling import reconcile
from studio import ANYWHERE, Studio, Study, asked, plate, polygon, said

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.fixture
def deaf(studio: Studio) -> Study:
    """A study under review of which no webhook tells any more."""
    study = studio.open_study()
    studio.settle()
    study.review()
    reconcile(studio.workshop)
    studio.settle()
    for project in study.projects.values():
        for webhook in studio.client.webhooks(project):
            studio.client.delete_webhook(webhook.id)
    return study


def canvases(studio: Studio, study: Study) -> int:
    with studio.rows() as session:
        return collect(session, study.row()).count(Role.CANVAS)


def test_verdicts_made_changed_and_deleted_while_nobody_listened_are_found(studio: Studio, deaf: Study) -> None:
    first, second, _ = deaf.judge(said("good"), said("bad", "too small"), said("good"))
    studio.client.update_annotation(second, said("bad", "wrong place"))
    reconcile(studio.workshop)
    assert [(str(row.opinion), row.reasons) for row in deaf.verdicts()] == [
        ("good", []),
        ("bad", ["wrong place"]),
        ("good", []),
    ]
    studio.client.delete_annotation(first)
    reconcile(studio.workshop)
    assert len(deaf.verdicts()) == 2


def test_a_decision_made_while_nobody_listened_is_acted_on_once(studio: Studio, deaf: Study) -> None:
    studio.client.annotate(deaf.decision_tasks()[-1].id, asked("refine"))
    reconcile(studio.workshop)
    reconcile(studio.workshop)
    studio.settle()
    assert [spec.version for spec in deaf.specs()] == [1, 2]
    assert deaf.row().state is StudyState.REVIEWING


def test_inputs_added_and_deleted_while_nobody_listened_are_found(studio: Studio, deaf: Study) -> None:
    before = canvases(studio, deaf)
    (added,) = deaf.give(Role.CANVAS, [("late.png", encode_png(plate(555)), [polygon(ANYWHERE)])])
    reconcile(studio.workshop)
    studio.settle()
    assert canvases(studio, deaf) == before + 1
    studio.client.delete_tasks(deaf.projects[Desk.CANVASES], [added])
    reconcile(studio.workshop)
    studio.settle()
    assert canvases(studio, deaf) == before


def test_a_second_look_at_what_did_not_change_has_nothing_to_do(studio: Studio, deaf: Study) -> None:
    reconcile(studio.workshop)
    assert studio.unfinished() == 0
    assert all(row.seen_until for row in deaf.desk_rows() if row.desk is not Desk.DATASET)
