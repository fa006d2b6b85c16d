"""The reconciler on a real Label Studio: its times and counts, and the cost of a pass without changes."""

from __future__ import annotations

from dataclasses import replace

import httpx
import pytest
from sqlalchemy import func, select

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.client import LabelStudio
from datagen.store.tables.studies import ProjectRow
from datagen.workflow.events.reconciler import reconcile
from studio import Studio, Study, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.fixture
def deaf(studio: Studio) -> Study:
    """A study under review whose webhooks are removed."""
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
    """Run the reconciler twice: a project without new or deleted tasks is read every second time."""
    reconcile(studio.services)
    reconcile(studio.services)


def test_verdicts_made_changed_and_deleted_while_no_webhook_arrived_are_found(studio: Studio, deaf: Study) -> None:
    first, second, _ = deaf.judge(verdict_result("good"), verdict_result("bad", "too small"), verdict_result("good"))
    studio.client.update_annotation(second, verdict_result("bad", "wrong place"))
    reconcile(studio.services)
    assert [(str(row.opinion), row.reasons) for row in deaf.verdicts()] == [
        ("good", []),
        ("bad", ["wrong place"]),
        ("good", []),
    ]
    studio.client.delete_annotation(first)
    reconcile(studio.services)
    assert len(deaf.verdicts()) == 2


def test_verdicts_that_were_moved_from_task_to_task_while_no_webhook_arrived_are_kept(
    studio: Studio, deaf: Study
) -> None:
    """“Remove Duplicated Tasks”: it touches no task that is left."""
    task = deaf.round_tasks()[0]
    [copy] = deaf.copy(ProjectKind.PREVIEWS, task.id, with_annotations=False)
    deaf.judge(verdict_result("good"))
    studio.client.annotate(copy, verdict_result("bad", "too small"))
    look_at_all(studio)
    deaf.remove_duplicates(ProjectKind.PREVIEWS)
    look_at_all(studio)
    assert sorted(str(row.opinion) for row in deaf.verdicts()) == ["bad", "good"]
    assert {row.task_id for row in deaf.verdicts()} == {deaf.round_tasks()[0].id}


class Counting(httpx.BaseTransport):
    """The real network; ``asked`` has the addresses of all requests."""

    def __init__(self) -> None:
        self.asked: list[httpx.URL] = []
        self.real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        return self.real.handle_request(request)

    def close(self) -> None:
        self.real.close()


def test_what_did_not_change_costs_one_request_and_a_small_one_for_every_second_desk(
    studio: Studio, deaf: Study
) -> None:
    deaf.judge(verdict_result("good"))
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
