"""Tasks of another Label Studio project as items. Its label config shows which picture a region belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from xml.etree.ElementTree import ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from datagen.label_studio.api.models import Task
from datagen.label_studio.api.port import LabelStudioPort
from datagen.workflow.inputs.importing.items import Reading
from datagen.workflow.inputs.importing.label_studio_tasks import RawTask, add_tasks


def read_project(
    client: LabelStudioPort,
    project_id: int,
    view_id: int | None,
    reading: Reading,
    task_ids: Sequence[int] | None = None,
) -> None:
    """Add the pictures of a project, of one of its tabs, or of some of its tasks, with their drawings.

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
        for task in _tasks(client, project_id, view_id, task_ids, reading)
    )
    add_tasks(tasks, reading, config)


def _tasks(
    client: LabelStudioPort, project_id: int, view_id: int | None, task_ids: Sequence[int] | None, reading: Reading
) -> Iterator[Task]:
    """Yield the tasks of a project, page by page. Tasks that Label Studio cannot send are reported and skipped.

    Raises:
        LabelStudioFault: too many tasks cannot be sent.
    """
    unreadable: list[int] = []
    reported_count = 0
    for task in chain(client.tasks(project_id, view_id=view_id, ids=task_ids, unreadable=unreadable), [None]):
        for task_id in unreadable[reported_count:]:
            reading.report(
                f"task {task_id}", "Label Studio cannot send it (it holds half a character); delete or mend it"
            )
        reported_count = len(unreadable)
        if task is not None:
            yield task


def object_tags(label_config: str) -> dict[str, str]:
    """Return name of an object tag → key of the task's data that the tag shows, for all object tags of a label config.

    The result is empty if the label config cannot be parsed.
    """
    try:
        root = fromstring(label_config)
    except (ParseError, DefusedXmlException, ValueError):
        return {}
    keys_by_tag = {}
    for tag in root.iter():
        value = tag.get("value") or tag.get("valueList") or ""
        if value.startswith("$") and (name := tag.get("name")):
            keys_by_tag[name] = value[1:]
    return keys_by_tag
