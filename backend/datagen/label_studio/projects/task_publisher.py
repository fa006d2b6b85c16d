"""Idempotent creation of tasks. An interrupted run can be repeated without duplicates. No other code writes tasks.

Label Studio's imports are not idempotent and have no field for an external key. The key is therefore stored in the
task's data, and the existing tasks of a batch are read before any task is created. Requests are not retried here: the
outbox repeats the whole operation."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import structlog

from datagen.domain.wording import counted
from datagen.errors import LabelStudioError, LabelStudioUnavailable
from datagen.label_studio.api.models import Task
from datagen.label_studio.api.port import LabelStudioPort

log = structlog.get_logger()

#: Maximum number of tasks in an import request. Label Studio imports fastest at about this number (1,330 tasks a second
#: with predictions).
_MAX_TASKS = 1000
#: Maximum number of imports of a task. If Label Studio loses its predictions and annotations each time, they are then
#: added to the task.
_MAX_IMPORTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskDraft:
    """A task to be created. Its key must be unique among all tasks of its project, including deleted ones."""

    key: str
    #: values that the label config shows; ``datagen_key`` and ``batch`` are added to them
    data: Mapping[str, Any]
    predictions: Sequence[Mapping[str, Any]] = ()
    annotations: Sequence[Mapping[str, Any]] = field(default=())


def ensure_tasks(
    client: LabelStudioPort,
    project_id: int,
    batch: str,
    drafts: Sequence[TaskDraft],
    *,
    unreadable: list[int] | None = None,
    replace_incomplete: bool = False,
    with_data: bool = False,
    importing: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> dict[str, int]:
    """Ensure that each draft exists as exactly one task of ``batch``; return key → task id.

    Duplicates of a key (from an import that Label Studio ran twice) are reduced to one task. It is the one that a user
    annotated, or else the oldest one with the draft's predictions and annotations. The others are deleted unless a user
    annotated them too. The draft's own annotations do not count as a user's. Existing tasks are otherwise left
    unchanged, except that predictions which an import lost are added, and with ``with_data``.

    Label Studio on SQLite repeats an import that met a locked database. The repetition creates the tasks without
    predictions and annotations, because the first attempt has removed them from the request's data. With
    ``replace_incomplete``, such tasks are imported again and replaced, which takes a few requests in all. Use it for a
    project whose tasks are not answered. Without it, the predictions and annotations are added task by task, and no
    open task disappears. Each import runs inside the context ``importing``, because a locked database is most likely
    during another import.

    With ``with_data``, an existing task gets the data of its draft. Equal data is not written again, so that users who
    have the task open are not disturbed. Data that Label Studio cannot send is replaced.

    A task of the batch that Label Studio cannot send (see ``task_listing``) is left unchanged. Its id is added to
    ``unreadable``, and its draft is not created again.

    Raises:
        LabelStudioError and its subclasses: The work done so far is kept; another run completes it.
    """
    keys = {draft.key for draft in drafts}
    if len(keys) != len(drafts):
        raise ValueError("two drafts have the same key")
    wanted = {draft.key: draft for draft in drafts}
    existing, unsendable = _deduplicated_tasks(client, project_id, batch, wanted)
    if unreadable is not None:
        unreadable += unsendable
    unsendable_ids = _find_by_key(client, project_id, [key for key in wanted if key not in existing], unsendable)
    missing = [draft for draft in drafts if draft.key not in existing and draft.key not in unsendable_ids]
    if missing:
        imports = _MAX_IMPORTS if replace_incomplete else 1
        existing = _create(client, project_id, batch, wanted, missing, imports, importing)
    for key, draft in wanted.items():
        if key in existing:
            _ensure_predictions(client, existing[key], draft)
        if with_data:
            stored = existing[key].data if key in existing else None
            task_id = existing[key].id if key in existing else unsendable_ids[key]
            _ensure_data(client, project_id, task_id, stored, _body(draft, batch)["data"])
    return {key: existing[key].id if key in existing else unsendable_ids[key] for key in wanted}


def _create(
    client: LabelStudioPort,
    project_id: int,
    batch: str,
    wanted: Mapping[str, TaskDraft],
    missing: Sequence[TaskDraft],
    imports: int,
    importing: Callable[[], AbstractContextManager[object]],
) -> dict[str, Task]:
    """Create the ``missing`` drafts, which are some of the ``wanted`` ones; return all tasks of the batch by key.

    A task without its predictions or annotations is imported again, at most ``imports`` times in all. Its incomplete
    copy is a duplicate and is deleted. If annotations are still missing then, they are added task by task.
    """
    incomplete = missing
    for attempt in range(1, imports + 1):
        for start in range(0, len(incomplete), _MAX_TASKS):
            bodies = [_body(draft, batch) for draft in incomplete[start : start + _MAX_TASKS]]
            with importing():
                client.import_tasks(project_id, bodies)
        # the response of an import does not prove its result
        existing, _ = _deduplicated_tasks(client, project_id, batch, wanted)
        if lost := [draft.key for draft in missing if draft.key not in existing]:
            raise LabelStudioError(
                f"Label Studio lacks {counted(len(lost), 'task')} of {batch} after the import; run it again."
            )
        incomplete = [draft for draft in missing if not _is_complete(existing[draft.key], draft)]
        if not incomplete:
            break
        log.warning("publisher.labels_lost", project=project_id, batch=batch, tasks=len(incomplete), attempt=attempt)
    for draft in missing:
        _ensure_annotations(client, existing[draft.key], draft)
    return existing


def _ensure_data(
    client: LabelStudioPort, project_id: int, task_id: int, stored: Mapping[str, Any] | None, data: Mapping[str, Any]
) -> None:
    """Write the data to a task that has other data; ``stored`` is None if Label Studio cannot send the task's data.

    Raises:
        LabelStudioMissing: The task was deleted.
    """
    if stored == data:
        return
    try:
        client.update_task_data(task_id, data)
    except LabelStudioUnavailable:  # it may have stored the data, and failed to send the task's annotations
        if [task.data for task in client.tasks(project_id, ids=[task_id], annotations=False, unreadable=[])] != [data]:
            raise


def _ensure_predictions(client: LabelStudioPort, task: Task, draft: TaskDraft) -> None:
    """Write the draft's predictions to a task that has fewer of them; see ``ensure_tasks``."""
    if task.total_predictions < len(draft.predictions) and not _same(client.predictions(task.id), draft.predictions):
        log.warning("publisher.predictions_lost", task=task.id, key=draft.key)
        client.replace_predictions(task.id, draft.predictions)


def _ensure_annotations(client: LabelStudioPort, task: Task, draft: TaskDraft) -> None:
    """Add the draft's annotations to a new task that lacks them; see ``ensure_tasks``."""
    if draft.annotations and not task.total_annotations:
        log.warning("publisher.annotations_lost", task=task.id, key=draft.key)
        for annotation in draft.annotations:
            client.annotate(task.id, annotation["result"])


def _is_complete(task: Task, draft: TaskDraft | None) -> bool:
    """Whether a task has at least as many predictions and annotations as its draft; true without a draft."""
    return draft is None or (
        task.total_predictions >= len(draft.predictions) and task.total_annotations >= len(draft.annotations)
    )


def _find_by_key(
    client: LabelStudioPort, project_id: int, keys: Sequence[str], task_ids: Sequence[int]
) -> dict[str, int]:
    """The ids of those tasks in ``task_ids`` that have one of these keys, as key → task id.

    Label Studio cannot send the data of these tasks, but it can filter by the data.
    """
    id_by_key: dict[str, int] = {}
    for key in keys if task_ids else ():
        with_key = {task_id for task_id, _ in client.stamps(project_id, key=key)}
        if matching := with_key.intersection(task_ids):
            id_by_key[key] = min(matching)
    return id_by_key


def _deduplicated_tasks(
    client: LabelStudioPort, project_id: int, batch: str, drafts: Mapping[str, TaskDraft]
) -> tuple[dict[str, Task], list[int]]:
    """The tasks of a batch by key, and the ids of tasks that Label Studio cannot send; see ``ensure_tasks``.

    Duplicates are deleted unless a user annotated them.
    """
    by_key: dict[str, list[Task]] = {}
    unsendable: list[int] = []
    for task in client.tasks(project_id, batch=batch, annotations=False, unreadable=unsendable):
        by_key.setdefault(str(task.data.get("datagen_key")), []).append(task)
    duplicates = [task.id for tasks in by_key.values() if len(tasks) > 1 for task in tasks]
    if not duplicates:
        return {key: tasks[0] for key, tasks in by_key.items()}, unsendable
    bad_annotations: list[int] = []  # unreadable because of an annotation: without annotations they were sent
    annotated = {
        task.id
        for task in client.tasks(project_id, ids=duplicates, unreadable=bad_annotations)
        if _is_annotated_by_user(task, drafts.get(str(task.data.get("datagen_key"))))
    }.union(bad_annotations)
    kept = {
        key: min(tasks, key=lambda task: (task.id not in annotated, not _is_complete(task, drafts.get(key)), task.id))
        for key, tasks in by_key.items()
    }
    client.delete_tasks(project_id, sorted(set(duplicates) - annotated - {task.id for task in kept.values()}))
    return kept, unsendable


def _body(draft: TaskDraft, batch: str) -> dict[str, Any]:
    body: dict[str, Any] = {
        "data": {**draft.data, "datagen_key": draft.key, "batch": batch},
        "predictions": [dict(prediction) for prediction in draft.predictions],
    }
    if draft.annotations:
        body["annotations"] = [dict(annotation) for annotation in draft.annotations]
    return body


def _is_annotated_by_user(task: Task, draft: TaskDraft | None) -> bool:
    """Whether a task has an annotation that did not come with its draft."""
    ours = [_comparable(annotation["result"]) for annotation in draft.annotations] if draft else []
    return any(
        annotation.was_cancelled or _comparable(annotation.result) not in ours for annotation in task.annotations
    )


def _comparable(result: Iterable[Mapping[str, Any]]) -> str:
    """The JSON of a result without its regions' ids, by which the contents of two results can be compared."""
    return json.dumps(
        [[entry.get(name) for name in ("from_name", "to_name", "type", "value")] for entry in result], sort_keys=True
    )


def _same(existing: Iterable[Mapping[str, Any]], wanted: Iterable[Mapping[str, Any]]) -> bool:
    def content(prediction: Mapping[str, Any]) -> tuple[Any, ...]:
        return (prediction.get("model_version"), prediction.get("score"), prediction.get("result"))

    return [content(prediction) for prediction in existing] == [content(prediction) for prediction in wanted]
