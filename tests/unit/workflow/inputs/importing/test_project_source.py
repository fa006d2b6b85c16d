"""Tasks of another project are read page by page, up to the number of pictures that one command reads."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Task
from datagen.workflow.inputs.importing import label_studio_tasks
from datagen.workflow.inputs.importing.items import Reading
from datagen.workflow.inputs.importing.project_source import read_project


class Endless:
    """A project with one task that cannot be sent, and an endless list of other tasks."""

    sent = 0

    def project(self, project_id: int) -> Any:
        return SimpleNamespace(options={})

    def tasks(
        self, project_id: int, *, view_id: int | None, ids: list[int] | None, unreadable: list[int]
    ) -> Iterator[Task]:
        unreadable.append(7)
        while True:
            self.sent += 1
            yield Task(id=self.sent, data={"image": f"{self.sent}.png"})


def test_a_project_is_listed_no_further_than_pictures_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """All its tasks were in memory before they were counted."""
    monkeypatch.setattr(label_studio_tasks, "MAX_ITEMS", 3)
    client, reading = Endless(), Reading()
    read_project(cast(LabelStudio, client), 1, None, reading)
    assert (len(reading.items), client.sent) == (3, 4)
    assert [problem.item for problem in reading.problems] == ["task 7", "task 4"]
    assert "more than 3 pictures are not read at once" in reading.problems[1].reason
