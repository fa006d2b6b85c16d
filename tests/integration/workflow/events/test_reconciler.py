"""The reconciler finds changes without webhooks, and reads only the tasks that changed."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from sqlalchemy import func, select, update

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyState
from datagen.imaging.codec import encode_png
from datagen.label_studio.api.client import LabelStudio
from datagen.store.tables import ProjectRow, now
from datagen.workflow.events.reconciler import OVERLAP, reconcile
from datagen.workflow.inputs.input_sync import collect
from studio import ANYWHERE, Studio, Study, asked, plate, polygon, said

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.fixture
def deaf(studio: Studio) -> Study:
    """A study under review without webhooks."""
    study = studio.open_study()
    studio.settle()
    study.review()
    look_at_all(studio)
    studio.settle()
    for project in study.projects.values():
        for webhook in studio.client.webhooks(project):
            studio.client.delete_webhook(webhook.id)
    return study


def look_at_all(studio: Studio) -> None:
    """Two polls: a project without new or deleted tasks is read every second time."""
    reconcile(studio.services)
    reconcile(studio.services)


def canvases(studio: Studio, study: Study) -> int:
    with studio.rows() as session:
        return collect(session, study.row()).count(Role.CANVAS)


def test_verdicts_made_changed_and_deleted_without_webhooks_are_found(studio: Studio, deaf: Study) -> None:
    first, second, _ = deaf.judge(said("good"), said("bad", "too small"), said("good"))
    studio.client.update_annotation(second, said("bad", "wrong place"))
    reconcile(studio.services)
    assert [(str(row.opinion), row.reasons) for row in deaf.verdicts()] == [
        ("good", []),
        ("bad", ["wrong place"]),
        ("good", []),
    ]
    studio.client.delete_annotation(first)
    reconcile(studio.services)
    assert len(deaf.verdicts()) == 2


def test_decision_made_without_webhooks_is_carried_out_once(studio: Studio, deaf: Study) -> None:
    studio.client.annotate(deaf.decision_tasks()[-1].id, asked("refine"))
    reconcile(studio.services)
    reconcile(studio.services)
    studio.settle()
    assert [spec.version for spec in deaf.specs()] == [1, 2]
    assert deaf.row().state is StudyState.REVIEWING


def test_an_open_decision_whose_task_was_deleted_unheard_gets_a_new_one(studio: Studio, deaf: Study) -> None:
    before = deaf.decision_tasks()
    studio.client.delete_tasks(deaf.projects[ProjectKind.DECISIONS], [before[-1].id])
    reconcile(studio.services)
    studio.settle()
    assert [task.data["datagen_key"] for task in deaf.decision_tasks()] == [task.data["datagen_key"] for task in before]
    deaf.decide("refine", settle=False)
    look_at_all(studio)
    assert [spec.version for spec in deaf.specs()] == [1, 2]


def test_inputs_added_and_deleted_without_webhooks_are_found(studio: Studio, deaf: Study) -> None:
    before = canvases(studio, deaf)
    (added,) = deaf.give(Role.CANVAS, [("late.png", encode_png(plate(555)), [polygon(ANYWHERE)])])
    reconcile(studio.services)
    studio.settle()
    assert canvases(studio, deaf) == before + 1
    studio.client.delete_tasks(deaf.projects[ProjectKind.CANVASES], [added])
    reconcile(studio.services)
    studio.settle()
    assert canvases(studio, deaf) == before


def test_second_poll_of_unchanged_projects_does_nothing(studio: Studio, deaf: Study) -> None:
    look_at_all(studio)
    assert studio.unfinished() == 0
    assert all(row.seen_until for row in deaf.project_rows() if row.kind is not ProjectKind.DATASET)


@pytest.mark.parametrize("long_ago", [False, True], ids=["just now", "long ago"])
def test_edit_that_changes_no_count_is_found_at_the_second_poll(studio: Studio, deaf: Study, long_ago: bool) -> None:
    first, _ = deaf.judge(said("good"), said("good"))
    look_at_all(studio)
    studio.settle()
    look_at_all(studio)  # the decision task was published again meanwhile
    if long_ago:
        with studio.services.database.write() as session:
            session.execute(update(ProjectRow).values(looked_at=now() - 2 * OVERLAP))
        look_at_all(studio)
        assert all(row.seen == "" for row in deaf.project_rows() if row.kind is not ProjectKind.DATASET)
    studio.client.update_annotation(first, said("bad", "wrong place"))
    look_at_all(studio)
    assert [str(row.opinion) for row in deaf.verdicts()] == ["bad", "good"]


def test_review_task_deleted_without_an_event_loses_its_verdict(studio: Studio, deaf: Study) -> None:
    deaf.judge(said("good"), said("bad", "too small"), said("good"))
    look_at_all(studio)
    studio.settle()
    assert deaf.counts() == {"good": 2, "bad": 1, "still to review": 0}
    studio.client.delete_tasks(deaf.projects[ProjectKind.PREVIEWS], [deaf.round_tasks()[0].id])
    reconcile(studio.services)
    studio.settle()
    assert deaf.counts() == {"good": 1, "bad": 1, "still to review": 0}
    assert "<b>1</b> deleted" in deaf.page()


def test_verdicts_moved_between_tasks_without_webhooks_are_kept(studio: Studio, deaf: Study) -> None:
    """“Remove Duplicated Tasks”: it touches no task that is left."""
    task = deaf.round_tasks()[0]
    [copy] = deaf.copy(ProjectKind.PREVIEWS, task.id, said=False)
    deaf.judge(said("good"))
    studio.client.annotate(copy, said("bad", "too small"))
    look_at_all(studio)
    deaf.remove_duplicates(ProjectKind.PREVIEWS)
    look_at_all(studio)
    assert sorted(str(row.opinion) for row in deaf.verdicts()) == ["bad", "good"]
    assert {row.task_id for row in deaf.verdicts()} == {deaf.round_tasks()[0].id}


def test_a_deleted_input_is_missed_though_a_skipped_one_is_there(studio: Studio, deaf: Study) -> None:
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


def test_a_project_that_is_gone_does_not_keep_the_others_from_being_looked_at(studio: Studio, deaf: Study) -> None:
    studio.client.delete_project(deaf.projects[ProjectKind.CONCEPTS])
    deaf.judge(said("good"))
    look_at_all(studio)
    assert [str(row.opinion) for row in deaf.verdicts()] == ["good"]


class Counting(httpx.BaseTransport):
    """The real network; what was asked for is noted."""

    def __init__(self) -> None:
        self.asked: list[httpx.URL] = []
        self.real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        return self.real.handle_request(request)

    def close(self) -> None:
        self.real.close()


def test_unchanged_study_costs_one_request_and_a_small_one_for_every_second_project(
    studio: Studio, deaf: Study
) -> None:
    deaf.judge(said("good"))
    look_at_all(studio)
    studio.settle()
    look_at_all(studio)
    with studio.rows() as session:
        projects = session.scalars(select(func.count()).where(ProjectRow.kind != ProjectKind.DATASET)).one()
    counting = Counting()
    client = LabelStudio(studio.server.url, studio.server.token, transport=counting)
    services = replace(studio.services, label_studio=client)
    for _ in range(2):
        reconcile(services)
    client.close()
    asked = [url for url in counting.asked if not url.path.endswith("/whoami")]
    listed = [url for url in asked if url.path == "/api/tasks/"]
    assert len(asked) - len(listed) == 2 * ((projects + 99) // 100)
    assert len(listed) <= projects + 1
    assert {url.params["include"] for url in listed} == {"id,updated_at"}
    looked = {int(url.params["project"]) for url in listed}
    assert looked >= {project for kind, project in deaf.projects.items() if kind is not ProjectKind.DATASET}
