"""Label Studio is unavailable for a while: the outbox is published once, when it is back."""

from __future__ import annotations

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.store.tables.base import OutboxKind, WorkState
from datagen.store.tables.messages import OutboxRow
from plant import Plant, approved, assert_nothing_twice_nothing_missing, shards
from stage.gateway import Answer, Forward, Passing
from studio import Study, verdict_result

pytestmark = pytest.mark.integration


def test_while_tasks_are_published(plant: Plant, reviewed: Study) -> None:
    """Label Studio is killed if the suite started it; if a developer provides it, it is made unreachable."""
    reviewed.act(StudyEvent.APPROVE, count=6)
    if plant.owns_label_studio:
        plant.kill_label_studio()
    plant.to_label_studio.meddler = lambda _passing, _forward: None
    plant.until(lambda: str(shards(reviewed, approved(reviewed))[0].state) == "done", "The rendering")
    plant.until(lambda: _postponed(reviewed), "The first try to tell")
    assert str(approved(reviewed).state) == "running"

    plant.undisturbed()
    plant.ensure_label_studio()
    plant.until(lambda: str(approved(reviewed).state) == "done", "The end of the run")
    plant.until_settled()
    assert_nothing_twice_nothing_missing(reviewed)
    assert not any(row.state == WorkState.FAILED for row in reviewed.outbox())


def test_a_deleted_project_keeps_no_other_from_being_reconciled(plant: Plant, reviewed: Study) -> None:
    gone = f"project={reviewed.projects[ProjectKind.CONCEPTS]}&"

    def one_gone(passing: Passing, forward: Forward) -> Answer | None:
        return Answer(404, body=b"{}") if gone in f"{passing.path}&" else forward()

    plant.to_label_studio.meddler = one_gone
    plant.to_web.meddler = lambda passing, forward: Answer(200) if passing.path == "/webhook" else forward()
    reviewed.judge(verdict_result("bad", "wrong place"))
    plant.until(lambda: [row.reasons for row in reviewed.verdicts()] == [["wrong place"]], "The verdict")


def _postponed(study: Study) -> list[OutboxRow]:
    return [
        row for row in study.outbox() if row.kind == OutboxKind.SAMPLES and row.state == WorkState.PENDING and row.error
    ]
