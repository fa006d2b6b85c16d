"""The tasks of another Label Studio project as items, with the label config that says which picture a tag shows."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from datagen.errors import LabelStudioUnavailable
from datagen.label_studio.client import LabelStudio
from datagen.label_studio.listing import PAGE
from datagen.label_studio.records import Task
from datagen.workflow.importing.items import Reading
from datagen.workflow.importing.label_studio_tasks import RawTask, add_tasks

#: Tasks that Label Studio cannot serve, before the server itself is taken for the fault.
_MOST_LOST = 20


def read_project(client: LabelStudio, project_id: int, view_id: int | None, reading: Reading) -> None:
    """Add the pictures of a project, or of one of its tabs, with what was drawn on them.

    Raises:
        LabelStudioMissing: there is no such project or tab.
    """
    config = object_tags(str(client.project(project_id).options.get("label_config") or ""))
    tasks = (
        RawTask(
            where=f"task {task.id}",
            data=dict(task.data),
            annotations=[
                {
                    "id": annotation.id,
                    "result": [*annotation.result, *["unreadable"] * annotation.unreadable],
                    "was_cancelled": annotation.was_cancelled,
                    "updated_at": annotation.updated_at,
                    "created_at": annotation.created_at,
                }
                for annotation in task.annotations
            ],
            predictions=task.total_predictions,
        )
        for task in _tasks(client, project_id, view_id, reading)
    )
    add_tasks(tasks, reading, config)


def _tasks(client: LabelStudio, project_id: int, view_id: int | None, reading: Reading) -> list[Task]:
    """The tasks of a project; one that Label Studio itself cannot serve is told, and the others are read.

    Label Studio takes half a character (a lone surrogate) in a task, and then answers 500 to every list with it.
    """
    try:
        return list(client.tasks(project_id, view_id=view_id))
    except LabelStudioUnavailable:
        if view_id is not None:
            raise
    ids = [task_id for task_id, _ in client.stamps(project_id)]
    found, lost = _halved(client, project_id, ids)
    for task_id in lost:
        reading.tell(f"task {task_id}", "Label Studio cannot serve it (it holds half a character); delete or mend it")
    return found


def _halved(client: LabelStudio, project_id: int, ids: Sequence[int]) -> tuple[list[Task], list[int]]:
    """The tasks of these ids that can be served, and the ids of those that cannot.

    Raises:
        LabelStudioUnavailable: too many of them cannot, so the server is the fault.
    """
    found: list[Task] = []
    lost: list[int] = []
    waiting = [list(ids[start : start + PAGE]) for start in range(0, len(ids), PAGE)]
    while waiting:
        some = waiting.pop(0)
        try:
            found += client.tasks(project_id, ids=some)
        except LabelStudioUnavailable:
            if len(some) > 1:
                waiting[:0] = [some[: len(some) // 2], some[len(some) // 2 :]]
                continue
            lost += some
            if len(lost) > _MOST_LOST:
                raise
    return found, lost


def object_tags(label_config: str) -> dict[str, str]:
    """The key of the data that each object tag of a label config shows, by the tag's name; empty for one without."""
    try:
        root = fromstring(label_config)
    except (ParseError, DefusedXmlException, ValueError):
        return {}
    found = {}
    for tag in root.iter():
        value = tag.get("value") or tag.get("valueList") or ""
        if value.startswith("$") and (name := tag.get("name")):
            found[name] = value[1:]
    return found
