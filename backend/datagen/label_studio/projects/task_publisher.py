"""The only code that writes tasks: what must be there is there once, however often it is killed and run again.

Label Studio's imports are not idempotent and know no key of ours, so our key lives in the task's data, and what exists
of a batch is looked up before anything is made. Nothing here is retried: the outbox runs the whole again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from datagen.domain.wording import counted
from datagen.errors import LabelStudioError
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Task

log = structlog.get_logger()

#: Label Studio imports fastest at about this many tasks a request (1,330/s with predictions).
_MOST_TASKS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """A task that is to exist: its key is unique among all tasks of its project, for ever."""

    key: str
    #: what the label config shows; ``datagen_key`` and ``batch`` are added
    data: Mapping[str, Any]
    predictions: Sequence[Mapping[str, Any]] = ()
    annotations: Sequence[Mapping[str, Any]] = field(default=())


def ensure_tasks(
    client: LabelStudio,
    project_id: int,
    batch: str,
    drafts: Sequence[TaskDraft],
    *,
    unreadable: list[int] | None = None,
) -> dict[str, int]:
    """See that each draft exists as exactly one task of ``batch``; key → task id.

    One task of a key is kept: of twins (an import that Label Studio ran twice) the one that somebody annotated, else
    the oldest; the others are deleted unless somebody annotated them too. Annotations that came with the draft are
    nobody's. What is there is left as it is, but for predictions that an import lost on its way.

    A task of the batch that Label Studio cannot send (see ``listing``) is left as it is, and its id added to
    ``unreadable``; the draft that it was made from is not made a second time.

    Raises:
        LabelStudioError and its kinds: what was done so far stays, and running it again ends it.
    """
    keys = {draft.key for draft in drafts}
    if len(keys) != len(drafts):
        raise ValueError("two drafts have the same key")
    wanted = {draft.key: draft for draft in drafts}
    there, left_out = _keep_one_each(client, project_id, batch, wanted)
    if unreadable is not None:
        unreadable += left_out
    unseen = _find_by_key(client, project_id, [key for key in wanted if key not in there], left_out)
    missing = [draft for draft in drafts if draft.key not in there and draft.key not in unseen]
    for start in range(0, len(missing), _MOST_TASKS):
        client.import_tasks(project_id, [_body(draft, batch) for draft in missing[start : start + _MOST_TASKS]])
    if missing:  # what an import answered is no proof of what it did
        there, _ = _keep_one_each(client, project_id, batch, wanted)
        if gone := [draft.key for draft in missing if draft.key not in there]:
            raise LabelStudioError(
                f"Label Studio lacks {counted(len(gone), 'task')} of {batch} after the import; run it again."
            )
        for draft in missing:
            _ensure_annotations(client, there[draft.key], draft)
    for key, draft in wanted.items():
        if key in there:
            _ensure_predictions(client, there[key], draft)
    return {key: there[key].id if key in there else unseen[key] for key in wanted}


def ensure_task_data(
    client: LabelStudio,
    task_id: int,
    data: Mapping[str, Any],
    predictions: Sequence[Mapping[str, Any]] | None = None,
) -> None:
    """See that a task's data (``datagen_key`` and ``batch`` kept) and, where given, its predictions are these.

    What is so already is not written again, so nobody who has the task open is disturbed.

    Raises:
        LabelStudioMissing: somebody deleted the task.
    """
    task = client.task(task_id)
    wanted = {name: task.data[name] for name in ("datagen_key", "batch") if name in task.data} | dict(data)
    if task.data != wanted:
        client.update_task_data(task_id, wanted)
    if predictions is not None and not _same(client.predictions(task_id), predictions):
        client.replace_predictions(task_id, predictions)


def _ensure_predictions(client: LabelStudio, task: Task, draft: TaskDraft) -> None:
    """Give a task its predictions, if it lacks them.

    Label Studio on SQLite runs a request again that met a locked database, and an import that is run again makes its
    tasks without their predictions and annotations: the first run had taken them out of the request's data.
    """
    if task.total_predictions < len(draft.predictions) and not _same(client.predictions(task.id), draft.predictions):
        log.warning("publisher.predictions_lost", task=task.id, key=draft.key)
        client.replace_predictions(task.id, draft.predictions)


def _ensure_annotations(client: LabelStudio, task: Task, draft: TaskDraft) -> None:
    """Give a task that was just made its annotations, if it lacks them; see ``_ensure_predictions``."""
    if draft.annotations and not task.total_annotations:
        log.warning("publisher.annotations_lost", task=task.id, key=draft.key)
        for annotation in draft.annotations:
            client.annotate(task.id, annotation["result"])


def _find_by_key(client: LabelStudio, project_id: int, keys: Sequence[str], task_ids: Sequence[int]) -> dict[str, int]:
    """Which of these tasks have these keys; key → task id.

    Label Studio cannot send what the tasks hold, but can filter by it.
    """
    found: dict[str, int] = {}
    for key in keys if task_ids else ():
        with_key = {task_id for task_id, _ in client.stamps(project_id, key=key)}
        if of_these := with_key.intersection(task_ids):
            found[key] = min(of_these)
    return found


def _keep_one_each(
    client: LabelStudio, project_id: int, batch: str, drafts: Mapping[str, TaskDraft]
) -> tuple[dict[str, Task], list[int]]:
    """The tasks of a batch by their key, and the ids of those that Label Studio cannot send.

    Twins that nobody annotated are deleted.
    """
    found: dict[str, list[Task]] = {}
    left_out: list[int] = []
    for task in client.tasks(project_id, batch=batch, annotations=False, unreadable=left_out):
        found.setdefault(str(task.data.get("datagen_key")), []).append(task)
    twins = [task.id for tasks in found.values() if len(tasks) > 1 for task in tasks]
    if not twins:
        return {key: tasks[0] for key, tasks in found.items()}, left_out
    unsendable: list[int] = []  # because of an annotation: without annotations they were sent
    annotated = {
        task.id
        for task in client.tasks(project_id, ids=twins, unreadable=unsendable)
        if _somebody_annotated(task, drafts.get(str(task.data.get("datagen_key"))))
    }.union(unsendable)
    kept = {key: min(tasks, key=lambda one: (one.id not in annotated, one.id)) for key, tasks in found.items()}
    client.delete_tasks(project_id, sorted(set(twins) - annotated - {task.id for task in kept.values()}))
    return kept, left_out


def _body(draft: TaskDraft, batch: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "data": {**draft.data, "datagen_key": draft.key, "batch": batch},
        "predictions": [dict(one) for one in draft.predictions],
    }
    if draft.annotations:
        body["annotations"] = [dict(one) for one in draft.annotations]
    return body


def _somebody_annotated(task: Task, draft: TaskDraft | None) -> bool:
    """Whether a task has an annotation that did not come with its draft."""
    ours = [_drawn(annotation["result"]) for annotation in draft.annotations] if draft else []
    return any(one.was_cancelled or _drawn(one.result) not in ours for one in task.annotations)


def _drawn(result: Iterable[Mapping[str, Any]]) -> str:
    """What a result says, in a form that can be compared: JSON, without the ids of its regions."""
    return json.dumps(
        [[entry.get(name) for name in ("from_name", "to_name", "type", "value")] for entry in result], sort_keys=True
    )


def _same(there: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> bool:
    def told(one: Mapping[str, Any]) -> tuple[Any, ...]:
        return (one.get("model_version"), one.get("score"), one.get("result"))

    return [told(one) for one in there] == [told(one) for one in wanted]
