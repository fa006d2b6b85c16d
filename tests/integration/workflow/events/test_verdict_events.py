"""Verdicts in a burst: the events that wait are served by one reading, and one event's fault is not another's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.errors import LabelStudioFault
from datagen.store.tables.base import WorkState
from datagen.store.tables.messages import InboxRow
from datagen.workflow.events import verdict_events, webhook_events
from studio import Studio, Study, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


class Readings:
    """Label Studio's client that notes which tasks each reading names, and may refuse to read several together."""

    def __init__(self, client: Any, *, refuses_several: bool = False) -> None:
        self._client, self._refuses = client, refuses_several
        self.ids: list[list[int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def tasks(self, project_id: int, **which: Any) -> Any:
        if "ids" in which:
            self.ids.append(sorted(which["ids"]))
            if self._refuses and len(which["ids"]) > 1:
                raise LabelStudioFault("Label Studio fails at these tasks")
        return self._client.tasks(project_id, **which)


def waiting(study: Study) -> list[InboxRow]:
    return [event for event in study.events(ProjectKind.PREVIEWS) if event.state is WorkState.PENDING]


def test_one_reading_serves_the_events_that_wait(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(verdict_result("good"), verdict_result("bad"), verdict_result("good"))
    first, *_ = waiting(study)
    readings = Readings(studio.client)
    webhook_events.handle(replace(studio.services, label_studio=readings), first.id)  # type: ignore[arg-type]
    assert readings.ids == [sorted(task.id for task in study.round_tasks())]
    assert waiting(study) == []
    assert [str(row.opinion) for row in study.verdicts()] == ["good", "bad", "good"]
    assert all(event.handled_at is not None for event in study.events(ProjectKind.PREVIEWS) if event.task_ids)


def test_an_event_is_read_alone_where_the_common_reading_is_refused(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(verdict_result("good"), verdict_result("bad"), verdict_result("good"))
    first, *others = waiting(study)
    readings = Readings(studio.client, refuses_several=True)
    webhook_events.handle(replace(studio.services, label_studio=readings), first.id)  # type: ignore[arg-type]
    assert readings.ids[-1] == first.task_ids
    assert [event.id for event in waiting(study)] == [event.id for event in others]
    assert [str(row.opinion) for row in study.verdicts()] == ["good"]


def test_an_event_that_another_worker_has_claimed_is_left_to_it(
    studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    study.review()
    study.judge(verdict_result("good"), verdict_result("bad"))
    first, second = waiting(study)
    sync = verdict_events.verdict_sync.sync_tasks

    def sync_while_another_claims(*arguments: Any) -> None:
        with studio.services.database.write() as session:
            session.get_one(InboxRow, second.id).state = WorkState.RUNNING
        sync(*arguments)

    monkeypatch.setattr(verdict_events.verdict_sync, "sync_tasks", sync_while_another_claims)
    webhook_events.handle(studio.services, first.id)
    with studio.rows() as session:
        assert session.get_one(InboxRow, second.id).state is WorkState.RUNNING
    assert len(study.verdicts()) == 2


def test_a_burst_is_served_in_bounded_parts(studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verdict_events, "MAX_TOGETHER", 1)
    study.review()
    study.judge(verdict_result("good"), verdict_result("bad"), verdict_result("good"))
    first, second, third = waiting(study)
    webhook_events.handle(studio.services, first.id)
    assert [event.id for event in waiting(study)] == [third.id]
    webhook_events.handle(studio.services, second.id)  # handled already
    webhook_events.handle(studio.services, third.id)
    assert len(study.verdicts()) == 3
