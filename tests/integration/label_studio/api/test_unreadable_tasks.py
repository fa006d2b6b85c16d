"""A task that Label Studio takes and cannot send hides no other, and is no sign that Label Studio is unavailable."""

from __future__ import annotations

import json
from collections.abc import Sequence

import httpx
import pytest

from datagen.errors import LabelStudioUnavailable
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project
from datagen.label_studio.projects.task_publisher import TaskDraft, ensure_tasks
from stage.label_studio_server import LabelStudio as Server

pytestmark = pytest.mark.integration


def poison(server: Server, project: Project, **data: str) -> list[int]:
    """Import tasks with a lone surrogate (half a character), which json.dumps escapes."""
    tasks = [{"data": {"image": "/data/upload/x.png", "datagen_key": "x\ud800y", **data}}]
    answer = httpx.post(
        f"{server.url}/api/projects/{project.id}/import",
        params={"return_task_ids": "true"},
        content=json.dumps(tasks),
        headers={"Authorization": f"Token {server.token}", "Content-Type": "application/json"},
        timeout=60,
    )
    return [int(task_id) for task_id in answer.raise_for_status().json()["task_ids"]]


def plain_tasks(client: LabelStudio, project: Project, many: int) -> list[int]:
    return client.import_tasks(project.id, [{"data": {"image": f"/data/upload/{n}.png"}} for n in range(many)])


@pytest.fixture
def mixed(client: LabelStudio, project: Project, label_studio: Server) -> tuple[list[int], list[int]]:
    """The ids of readable and of unreadable tasks of the project."""
    first = plain_tasks(client, project, 7)
    bad = poison(label_studio, project)
    return first + plain_tasks(client, project, 4), bad


def test_the_tasks_of_several_pages_are_read_beside_one_that_cannot_be_sent(
    client: LabelStudio, project: Project, mixed: tuple[list[int], list[int]]
) -> None:
    good, bad = mixed
    unreadable: list[int] = []
    assert [task.id for task in client.tasks(project.id, page_size=3, unreadable=unreadable)] == good
    assert unreadable == bad


def test_a_draft_whose_task_cannot_be_sent_is_not_made_a_second_time(
    client: LabelStudio, project: Project, label_studio: Server
) -> None:
    [bad] = poison(label_studio, project, datagen_key="b-1", batch="b", remark="so \ud800")
    drafts = [TaskDraft(key=f"b-{number}", data={"image": f"/{number}.png"}) for number in range(3)]
    unreadable: list[int] = []
    first = ensure_tasks(client, project.id, "b", drafts, unreadable=unreadable)
    assert unreadable == [bad]
    assert first["b-1"] == bad
    assert sorted(first.values()) == [number for number, _ in client.stamps(project.id)]
    assert ensure_tasks(client, project.id, "b", drafts) == first


class Failing(httpx.BaseTransport):
    """The real network, on which everything but listings of numbers fails: a Label Studio whose database is gone."""

    def __init__(self, but_for: Sequence[str]) -> None:
        self._real, self._but_for = httpx.HTTPTransport(), but_for

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if any(part in str(request.url) for part in self._but_for):
            return self._real.handle_request(request)
        return httpx.Response(500, request=request)

    def close(self) -> None:
        self._real.close()


def test_a_label_studio_that_fails_its_health_check_is_unavailable(label_studio: Server) -> None:
    client = LabelStudio(label_studio.url, label_studio.token, transport=Failing(["whoami"]), read_attempts=1)
    with pytest.raises(LabelStudioUnavailable, match="could not serve the tasks"):
        list(client.tasks(1, unreadable=[]))
    client.close()
