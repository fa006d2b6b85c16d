"""Publishing tasks to the in-memory Label Studio."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from datagen.errors import LabelStudioUnavailable
from datagen.label_studio.api.in_memory import InMemoryLabelStudio
from datagen.label_studio.projects.task_publisher import TaskDraft, ensure_tasks

BOX = {"id": "b", "from_name": "label", "to_name": "image", "type": "polygonlabels", "value": {"points": []}}
LABELLED = [
    TaskDraft(
        key=f"b-{n}",
        data={"image": f"/{n}.png"},
        predictions=[{"model_version": "datagen", "result": [BOX]}],
        annotations=[{"result": [BOX]}],
    )
    for n in range(50)
]
DRAFT = TaskDraft(key="decision-1-1", data={"html": "new"})
#: The data of the draft's task before an update.
OLD = {"html": "old", "datagen_key": DRAFT.key, "batch": DRAFT.key}


@pytest.fixture
def studio() -> InMemoryLabelStudio:
    return InMemoryLabelStudio()


def test_data_is_replaced_in_one_call_though_an_annotation_cannot_be_sent(studio: InMemoryLabelStudio) -> None:
    """Label Studio stores the data, and answers 500 because its answer would hold the annotation."""
    project = studio.create_project("one", {})
    task = {"data": OLD, "annotations": [{"result": [{"value": {"text": ["\ud800"]}}]}]}
    [task_id] = studio.import_json(project.id, json.dumps([task]))
    assert ensure_tasks(studio, project.id, DRAFT.key, [DRAFT], with_data=True) == {DRAFT.key: task_id}
    [stored] = studio.tasks(project.id, annotations=False)
    assert stored.data["html"] == "new"


def test_changed_data_is_written_with_one_listing_and_equal_data_is_not_written_again(
    studio: InMemoryLabelStudio,
) -> None:
    project = studio.create_project("one", {})
    studio.import_tasks(project.id, [{"data": OLD}])
    for writes in (1, 0):
        studio.requests.clear()
        ensure_tasks(studio, project.id, DRAFT.key, [DRAFT], with_data=True)
        assert Counter(name for name, _ in studio.requests) == Counter(page=1, update_task_data=writes)


def test_data_that_cannot_be_sent_is_replaced(studio: InMemoryLabelStudio) -> None:
    project = studio.create_project("one", {})
    [task_id] = studio.import_json(project.id, json.dumps([{"data": {**OLD, "html": "\ud800"}}]))
    assert ensure_tasks(studio, project.id, DRAFT.key, [DRAFT], with_data=True) == {DRAFT.key: task_id}
    [stored] = studio.tasks(project.id)
    assert stored.data == {**OLD, "html": "new"}


def test_outage_during_an_update_is_raised(studio: InMemoryLabelStudio) -> None:
    project = studio.create_project("one", {})
    studio.import_tasks(project.id, [{"data": OLD}])

    def end_after_the_reading(name: str) -> bool:
        studio.switch_off()
        return False

    studio.after_request = end_after_the_reading
    with pytest.raises(LabelStudioUnavailable, match="cannot be reached"):
        ensure_tasks(studio, project.id, DRAFT.key, [DRAFT], with_data=True)


class LossyLabelStudio(InMemoryLabelStudio):
    """Loses the predictions and annotations of its first imports, as a repeated import does on SQLite."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    def import_tasks(self, project_id: int, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
        """See ``LabelStudioPort``."""
        if self.losses:
            self.losses -= 1
            drafts = [{"data": draft["data"]} for draft in drafts]
        return super().import_tasks(project_id, drafts)


@pytest.mark.parametrize("losses", [1, 2])
def test_lost_labels_of_many_tasks_are_restored_in_a_few_requests(losses: int) -> None:
    studio = LossyLabelStudio(losses)
    project = studio.create_project("one", {})
    studio.create_view(project.id, {"title": "List"})
    studio.requests.clear()
    task_ids = ensure_tasks(studio, project.id, "b", LABELLED, replace_incomplete=True)
    assert len(studio.requests) <= 4 + 4 * losses
    stored = {task.id: task for task in studio.tasks(project.id)}
    assert stored.keys() == set(task_ids.values())
    assert {(len(task.annotations), task.total_predictions) for task in stored.values()} == {(1, 1)}
    assert len(stored) == len(LABELLED)
    # Label Studio deletes the tabs of a project with its last task
    assert [view.title for view in studio.views(project.id)] == ["List"]


def test_labels_that_are_lost_in_every_import_are_added_task_by_task() -> None:
    studio = LossyLabelStudio(1000)
    project = studio.create_project("one", {})
    ensure_tasks(studio, project.id, "b", LABELLED[:3], replace_incomplete=True)
    tasks = list(studio.tasks(project.id))
    assert [(len(task.annotations), len(studio.predictions(task.id))) for task in tasks] == [(1, 1)] * 3


def test_open_tasks_are_not_replaced_where_people_answer_them() -> None:
    studio = LossyLabelStudio(1)
    project = studio.create_project("one", {})
    drafts = [TaskDraft(key=draft.key, data=draft.data, predictions=draft.predictions) for draft in LABELLED[:2]]
    task_ids = ensure_tasks(studio, project.id, "b", drafts)
    assert list(task_ids.values()) == [1, 2]
    assert [len(studio.predictions(task_id)) for task_id in task_ids.values()] == [1, 1]
    assert Counter(name for name, _ in studio.requests)["delete_tasks"] == 0
