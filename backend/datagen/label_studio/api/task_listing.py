"""Listing of tasks, page by page, with selected fields and filters.

Label Studio accepts a task or an annotation with half a surrogate pair, and then cannot send it. It answers 500 for
every page that contains such a task. Its id can still be listed, and other tasks can be selected by their ids. If a
page fails, it is therefore bisected until the unreadable tasks are found and the others are read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from datagen.errors import LabelStudioFault, LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.http import Connection
from datagen.label_studio.api.models import Task, stamp

#: Fields of a task that are requested, and fields of its annotations. The API applies one list to nested objects as
#: well.
_TASK_FIELDS = (
    "id",
    "data",
    "updated_at",
    "is_labeled",
    "total_predictions",
    "total_annotations",
    "cancelled_annotations",
)
_ANNOTATION_FIELDS = (
    "annotations",
    "result",
    "was_cancelled",
    "created_at",
    "completed_by",
    "created_username",
    "import_id",
    "updated_by",
)
#: Number of tasks in a page.
PAGE = 200
#: Maximum number of ids in a request. Ids are part of its URL, and web servers refuse a URL of more than 8 KB.
IDS_AT_A_TIME = 500
#: Maximum number of unreadable tasks in a listing; finding one takes about twenty requests.
MAX_UNREADABLE = 10
#: Number of tasks in a page of ids and update times only.
STAMPS_PAGE = 2000
_UNREADABLE = "Such a task holds text that is none (half a character); delete it and import it again without that."


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Query for the tasks of a project that match every given filter."""

    ids: Sequence[int] | None = None
    #: wanted value of ``data.batch``
    batch: str | None = None
    #: wanted value of ``data.datagen_key``
    key: str | None = None
    #: earliest time of creation or update, ISO 8601
    updated_since: str | None = None
    #: the id that every wanted id is larger than
    after: int = 0


def list_tasks(
    at: Connection,
    project_id: int,
    wanted: TaskQuery,
    *,
    annotations: bool,
    page_size: int,
    unreadable: list[int] | None = None,
) -> Iterator[Task]:
    """The tasks that match the query, sorted by id.

    Ids of tasks that Label Studio cannot send are added to ``unreadable``. Each page starts after the last id of the
    previous one, so that no task is missed if tasks are created or deleted during the listing.

    Raises:
        LabelStudioFault: There are unreadable tasks and ``unreadable`` is None, or more than MAX_UNREADABLE of them.
    """
    params = _params(project_id, annotations, page_size)
    if wanted.ids is None:
        yield from map(partial(Task.from_json, writer=at.user_id), _list(at, project_id, wanted, params, unreadable))
        return
    ids = sorted(set(wanted.ids))
    for start in range(0, len(ids), IDS_AT_A_TIME):
        part = replace(wanted, ids=ids[start : start + IDS_AT_A_TIME])
        yield from map(partial(Task.from_json, writer=at.user_id), _list(at, project_id, part, params, unreadable))


def list_stamps(at: Connection, project_id: int, wanted: TaskQuery) -> Iterator[tuple[int, str]]:
    """The ids and update times (see ``stamp``) of the tasks that match the query, sorted by id."""
    params = {"project": project_id, "page_size": STAMPS_PAGE, "include": "id,updated_at"}
    return ((int(task["id"]), stamp(task["updated_at"])) for task in _list(at, project_id, wanted, params))


def _list(
    at: Connection, project_id: int, wanted: TaskQuery, params: dict[str, Any], unreadable: list[int] | None = None
) -> Iterator[dict[str, Any]]:
    last = wanted.after
    while True:
        page_params = params | {"query": _as_text(_query(wanted, last))}
        subject = f"the tasks of project {project_id}"
        try:
            page = at.get("/api/tasks/", subject, page_params)["tasks"]
        except LabelStudioFault:
            # Label Studio can list ids, whatever the tasks contain
            ids = [int(task["id"]) for task in at.get("/api/tasks/", subject, page_params | {"include": "id"})["tasks"]]
            yield from _read_around(at, project_id, ids, params, unreadable)
        else:
            ids = [int(task["id"]) for task in page]
            yield from page
        last = max(ids, default=last)
        if len(ids) < params["page_size"]:
            return


def list_tab(
    at: Connection,
    project_id: int,
    view_id: int,
    *,
    annotations: bool,
    page_size: int,
    unreadable: list[int] | None = None,
) -> Iterator[Task]:
    """The tasks of a tab, in its order. Therefore the pages are requested by number; otherwise as in ``list_tasks``."""
    params = _params(project_id, annotations, page_size) | {"view": view_id}
    number = 1
    while True:
        subject = f"page {number} of the tasks in tab {view_id} of project {project_id}"
        page_params = params | {"page": number}
        try:
            page = at.get("/api/tasks/", subject, page_params)
            tasks = page["tasks"]
        except LabelStudioMissing:
            if number == 1:
                raise
            return  # tasks were deleted during the listing: the page no longer exists
        except LabelStudioFault:
            page = at.get("/api/tasks/", subject, page_params | {"include": "id"})
            ids = [int(task["id"]) for task in page["tasks"]]
            params_without_view = {name: value for name, value in params.items() if name != "view"}
            readable = _read_around(at, project_id, ids, params_without_view, unreadable)
            by_id = {int(task["id"]): task for task in readable}
            tasks = [by_id[task_id] for task_id in ids if task_id in by_id]
        yield from map(partial(Task.from_json, writer=at.user_id), tasks)
        if number * page_size >= page["total"]:
            return
        number += 1


def _read_around(
    at: Connection, project_id: int, ids: Sequence[int], params: dict[str, Any], unreadable: list[int] | None
) -> Iterator[dict[str, Any]]:
    """The tasks with these ids that Label Studio can send; the ids of the others are added to ``unreadable``.

    ``ids`` are those of a page that failed.
    """
    pending = [list(ids)] if ids else []  # a stack: the next part is the last element
    while pending:
        part = pending.pop()
        subject = f"task {part[0]} of project {project_id}" if len(part) == 1 else f"the tasks of project {project_id}"
        part_params = params | {"query": _as_text(_query(TaskQuery(ids=part), 0))}
        page = at.get_once("/api/tasks/", subject, part_params)
        if page is None and len(part) == 1:
            # a transient fault must not mark the task unreadable
            page = at.get_once("/api/tasks/", subject, part_params)
        if page is not None:
            yield from page["tasks"]
        elif len(part) > 1:
            middle = len(part) // 2
            pending += [part[middle:], part[:middle]]
        else:
            if not at.is_up():
                raise LabelStudioUnavailable(f"Label Studio could not serve {subject}, and fails its health check.")
            note_unreadable(project_id, part[0], unreadable)


def note_unreadable(project_id: int, task_id: int, unreadable: list[int] | None) -> None:
    """Add the id of a task that Label Studio cannot send to ``unreadable``.

    Raises:
        LabelStudioFault: ``unreadable`` is None, or now contains more than MAX_UNREADABLE ids.
    """
    if unreadable is None:
        raise LabelStudioFault(f"Label Studio cannot send task {task_id} of project {project_id}. {_UNREADABLE}")
    unreadable.append(task_id)
    if len(unreadable) > MAX_UNREADABLE:
        named = f"{MAX_UNREADABLE} tasks of project {project_id}"
        listed = ", ".join(map(str, sorted(unreadable)))
        raise LabelStudioFault(f"Label Studio cannot send more than {named}, among them {listed}. {_UNREADABLE}")


def _as_text(query: dict[str, Any]) -> str:
    return json.dumps(query, separators=(",", ":"))


def _params(project_id: int, annotations: bool, page_size: int) -> dict[str, Any]:
    fields = _TASK_FIELDS + (_ANNOTATION_FIELDS if annotations else ())
    params: dict[str, Any] = {"project": project_id, "page_size": page_size, "include": ",".join(fields)}
    return params | {"fields": "all"} if annotations else params


def _query(wanted: TaskQuery, after: int) -> dict[str, Any]:
    """A query in the form of the Data Manager: the selected ids, and filters combined with “and”.

    ``after`` excludes tasks up to this id; 0 excludes none.
    """
    filters: list[dict[str, Any]] = []
    if after:
        filters.append(_filter("id", "greater", "Number", after))
    if wanted.batch is not None:
        filters.append(_filter("data.batch", "equal", "String", wanted.batch))
    if wanted.key is not None:
        filters.append(_filter("data.datagen_key", "equal", "String", wanted.key))
    if wanted.updated_since is not None:
        filters.append(_filter("updated_at", "greater_or_equal", "Datetime", stamp(wanted.updated_since)))
    query: dict[str, Any] = {"filters": {"conjunction": "and", "items": filters}} if filters else {}
    if wanted.ids is not None:
        query["selectedItems"] = {"all": False, "included": list(wanted.ids)}
    return query


def _filter(field: str, operator: str, kind: str, value: object) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}
