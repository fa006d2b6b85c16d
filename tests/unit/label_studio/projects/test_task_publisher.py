"""Publishing tasks to the in-memory Label Studio."""

from __future__ import annotations

import json

import pytest

from datagen.errors import LabelStudioUnavailable
from datagen.label_studio.api.in_memory import InMemoryLabelStudio
from datagen.label_studio.projects.task_publisher import TaskDraft, ensure_task_data

DRAFT = TaskDraft(key="decision-1-1", data={"html": "new"})


@pytest.fixture
def studio() -> InMemoryLabelStudio:
    return InMemoryLabelStudio()


def test_data_is_replaced_in_one_call_though_an_annotation_cannot_be_sent(studio: InMemoryLabelStudio) -> None:
    """Label Studio stores the data, and answers 500 because its answer would hold the annotation."""
    project = studio.create_project("one", {})
    task = {"data": {"html": "old"}, "annotations": [{"result": [{"value": {"text": ["\ud800"]}}]}]}
    [task_id] = studio.import_json(project.id, json.dumps([task]))
    ensure_task_data(studio, project.id, task_id, "decision-1-1", DRAFT)
    [stored] = studio.tasks(project.id, annotations=False)
    assert stored.data["html"] == "new"


def test_outage_during_an_update_is_raised(studio: InMemoryLabelStudio) -> None:
    project = studio.create_project("one", {})
    [task_id] = studio.import_tasks(project.id, [{"data": {"html": "old"}}])

    def end_after_the_reading(name: str) -> bool:
        studio.switch_off()
        return False

    studio.after_request = end_after_the_reading
    with pytest.raises(LabelStudioUnavailable, match="cannot be reached"):
        ensure_task_data(studio, project.id, task_id, "decision-1-1", DRAFT)
