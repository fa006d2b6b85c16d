"""The dispatcher: each change is published once, in its newest form, without duplicates; refusals are reported."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.label_studio.api.client import LabelStudio
from datagen.queue.jobs import EVENTS, SYNTHESIS
from datagen.store.tables import BatchKind, DecisionRow, OutboxKind, OutboxRow, WorkState, now
from datagen.workflow.outbox.dispatcher import MAX_REFUSALS, dispatch
from datagen.workflow.studies.queries import describe
from stage.ports import free_port
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


class Watched(LabelStudio):
    """The real Label Studio; something happens right after a call that writes."""

    def __init__(self, studio: Studio, afterwards: Callable[[], None]) -> None:
        super().__init__(studio.server.url, studio.server.token)
        self._afterwards = afterwards
        self.writes = 0

    def update_task_data(self, task_id: int, data: Mapping[str, Any]) -> None:
        super().update_task_data(task_id, data)
        self.writes += 1
        self._afterwards()

    def import_tasks(self, project_id: int, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
        made = super().import_tasks(project_id, drafts)
        self._afterwards()
        return made


def change(studio: Studio, study: Study, problem: str) -> int:
    """Change what the newest decision task has to say; the outbox row."""
    with studio.services.unit() as unit:
        unit.session.get_one(DecisionRow, study.points()[-1].id).problem = problem
        unit.add_to_outbox(study.id, OutboxKind.DECISION, study.points()[-1].id)
    newest = (OutboxKind.DECISION, study.points()[-1].id)
    return next(row.id for row in study.outbox() if (row.kind, row.subject_id) == newest)


def row_of(studio: Studio, outbox_id: int) -> OutboxRow:
    with studio.rows() as session:
        return session.get_one(OutboxRow, outbox_id)


def make_due(studio: Studio, outbox_id: int) -> None:
    with studio.services.database.write() as session:
        session.get_one(OutboxRow, outbox_id).due_at = now()


def test_several_changes_are_published_once_in_their_last_form(studio: Studio, study: Study) -> None:
    studio.settle()
    client = Watched(studio, lambda: None)
    services = replace(studio.services, label_studio=client)
    for problem in ("first", "second", "third"):
        outbox_id = change(studio, study, problem)
    for _ in range(3):
        dispatch(services, outbox_id)
    client.close()
    assert client.writes == 1
    assert str(row_of(studio, outbox_id).state) == "done"
    assert "third" in study.page()


def test_change_during_publishing_is_published_again(studio: Studio, study: Study) -> None:
    studio.settle()
    changes = iter(["newest"])
    client = Watched(studio, lambda: [change(studio, study, one) for one in changes])  # type: ignore[func-returns-value]
    outbox_id = change(studio, study, "older")
    dispatch(replace(studio.services, label_studio=client), outbox_id)
    client.close()
    assert str(row_of(studio, outbox_id).state) == "pending"
    studio.settle()
    assert "newest" in study.page()
    change(studio, study, "")
    studio.settle()


def test_unchanged_values_are_not_written_again(studio: Studio, study: Study) -> None:
    studio.settle()
    client = Watched(studio, lambda: None)
    with studio.services.unit() as unit:
        unit.add_to_outbox(study.id, OutboxKind.DECISION, study.points()[-1].id)
    [outbox_id] = [row.id for row in study.outbox() if str(row.state) == "pending"]
    dispatch(replace(studio.services, label_studio=client), outbox_id)
    client.close()
    assert (client.writes, str(row_of(studio, outbox_id).state)) == (0, "done")


def test_a_publisher_killed_after_an_import_makes_no_twins(studio: Studio, study: Study) -> None:
    studio.settle()
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.work(EVENTS, SYNTHESIS)
    [outbox_id] = [row.id for row in study.outbox() if row.kind == OutboxKind.SAMPLES and str(row.state) == "pending"]

    def die() -> None:
        raise SystemExit

    client = Watched(studio, die)
    with pytest.raises(SystemExit):
        dispatch(replace(studio.services, label_studio=client), outbox_id)
    client.close()
    assert str(row_of(studio, outbox_id).state) == "running"
    make_due(studio, outbox_id)  # its lease ends
    studio.settle()

    assert [task.data["index"] for task in study.round_tasks()] == ["1", "2", "3"]
    kept = {row.task_id for row in study.samples_of(study.batches(BatchKind.ROUND)[-1])}
    assert kept == {task.id for task in study.round_tasks()}
    assert study.row().state == "reviewing"


def test_no_outbox_row_is_given_up_while_label_studio_is_unavailable(studio: Studio, study: Study) -> None:
    studio.settle()
    away = LabelStudio(f"http://127.0.0.1:{free_port()}", studio.server.token, read_attempts=1)
    outbox_id = change(studio, study, "said while it was away")
    for _ in range(MAX_REFUSALS + 2):
        make_due(studio, outbox_id)
        dispatch(replace(studio.services, label_studio=away), outbox_id)
    away.close()
    row = row_of(studio, outbox_id)
    assert str(row.state) == "pending"
    assert "cannot be reached" in row.error
    assert row.due_at > now()

    make_due(studio, outbox_id)
    studio.settle()
    assert "said while it was away" in study.page()
    assert row_of(studio, outbox_id).error == ""
    change(studio, study, "")
    studio.settle()


def test_a_refusal_that_repeats_is_given_up_and_its_reason_shown(studio: Studio) -> None:
    doomed = studio.open_study()
    studio.settle()
    doomed.decide("build preview", settle=False)
    studio.work(EVENTS, SYNTHESIS)
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
