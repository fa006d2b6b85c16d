"""Listing tasks: which fields of them, which of them, page by page.

Label Studio takes text into a task or an annotation that it then cannot send (half a surrogate pair), and answers 500
to every page that such a task is on. Numbers can still be listed, and other tasks picked by their numbers: so a page
that fails is halved until the tasks that cannot be sent are known, and the others are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datagen.errors import LabelStudioFault, LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.http import Connection
from datagen.label_studio.api.models import Task, stamp

#: Fields of a task and, because the API applies the same list to what is nested, of its annotations.
_TASK_FIELDS = ("id", "data", "updated_at", "total_predictions", "total_annotations", "cancelled_annotations")
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
#: Tasks in a page.
PAGE = 200
#: Ids in one question: they stand in its address, and web servers refuse one of more than 8 KB.
IDS_AT_A_TIME = 500
#: Tasks of one listing that may be unreadable; each takes about twenty requests to find.
MOST_UNREADABLE = 10
#: Tasks in a page where only their numbers and when they were touched are asked for.
STAMPS_PAGE = 2000
_UNREADABLE = "Such a task holds text that is none (half a character); delete it and import it again without that."


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskQuery:
    """Which tasks of a project: those of which all that is given holds."""

    ids: Sequence[int] | None = None
    #: ``data.batch`` is this
    batch: str | None = None
    #: ``data.datagen_key`` is this
    key: str | None = None
    #: made or touched then or later, ISO 8601
    updated_since: str | None = None


def list_tasks(
    at: Connection,
    project_id: int,
    wanted: TaskQuery,
    *,
    annotations: bool,
    page_size: int,
    unreadable: list[int] | None = None,
) -> Iterator[Task]:
    """Tasks in the order of their ids; the ids of those that Label Studio cannot send are added to ``unreadable``.

    Pages begin after the last id seen, so that none is missed when tasks come and go meanwhile.

    Raises:
        LabelStudioFault: tasks cannot be sent, and ``unreadable`` is None, or they are more than MOST_UNREADABLE.
    """
    params = _params(project_id, annotations, page_size)
    if wanted.ids is None:
        yield from map(Task.from_json, _list(at, project_id, wanted, params, unreadable))
        return
    ids = sorted(set(wanted.ids))
    for start in range(0, len(ids), IDS_AT_A_TIME):
        some = replace(wanted, ids=ids[start : start + IDS_AT_A_TIME])
        yield from map(Task.from_json, _list(at, project_id, some, params, unreadable))


def list_stamps(at: Connection, project_id: int, wanted: TaskQuery) -> Iterator[tuple[int, str]]:
    """The numbers of tasks and when they were touched, see ``stamp``, in the order of the numbers."""
    params = {"project": project_id, "page_size": STAMPS_PAGE, "include": "id,updated_at"}
    return ((int(one["id"]), stamp(one["updated_at"])) for one in _list(at, project_id, wanted, params))


def _list(
    at: Connection, project_id: int, wanted: TaskQuery, params: dict[str, Any], unreadable: list[int] | None = None
) -> Iterator[dict[str, Any]]:
    last = 0
    while True:
        asked = params | {"query": _as_text(_query(wanted, last))}
        what = f"the tasks of project {project_id}"
        try:
            page = at.get("/api/tasks/", what, asked)["tasks"]
        except LabelStudioFault:
            # Label Studio sends numbers, whatever the tasks hold
            ids = [int(one["id"]) for one in at.get("/api/tasks/", what, asked | {"include": "id"})["tasks"]]
            yield from _read_around(at, project_id, ids, params, unreadable)
        else:
            ids = [int(one["id"]) for one in page]
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
    """The tasks that a tab shows, in its own order, and so by the pages' numbers; see ``list_tasks``."""
    params = _params(project_id, annotations, page_size) | {"view": view_id}
    number = 1
    while True:
        what = f"page {number} of the tasks in tab {view_id} of project {project_id}"
        asked = params | {"page": number}
        try:
            page = at.get("/api/tasks/", what, asked)
            tasks = page["tasks"]
        except LabelStudioMissing:
            if number == 1:
                raise
            return  # tasks were deleted meanwhile: there is no such page any more
        except LabelStudioFault:
            page = at.get("/api/tasks/", what, asked | {"include": "id"})
            ids = [int(one["id"]) for one in page["tasks"]]
            plainly = {name: value for name, value in params.items() if name != "view"}
            found = {int(one["id"]): one for one in _read_around(at, project_id, ids, plainly, unreadable)}
            tasks = [found[one] for one in ids if one in found]
        yield from map(Task.from_json, tasks)
        if number * page_size >= page["total"]:
            return
        number += 1


def _read_around(
    at: Connection, project_id: int, ids: Sequence[int], params: dict[str, Any], unreadable: list[int] | None
) -> Iterator[dict[str, Any]]:
    """Those of a page's tasks that Label Studio can send; see ``list_tasks`` for the others."""
    waiting = [list(ids)] if ids else []  # the part to be read next is the last
    while waiting:
        some = waiting.pop()
        what = f"task {some[0]} of project {project_id}" if len(some) == 1 else f"the tasks of project {project_id}"
        asked = params | {"query": _as_text(_query(TaskQuery(ids=some), 0))}
        page = at.get_once("/api/tasks/", what, asked)
        if page is None and len(some) == 1:
            page = at.get_once("/api/tasks/", what, asked)  # a passing fault must not be taken for the task's
        if page is not None:
            yield from page["tasks"]
        elif len(some) > 1:
            middle = len(some) // 2
            waiting += [some[middle:], some[:middle]]
        else:
            _note_unreadable(at, project_id, some[0], unreadable)


def _note_unreadable(at: Connection, project_id: int, task_id: int, unreadable: list[int] | None) -> None:
    named = f"task {task_id} of project {project_id}"
    if not at.is_up():
        raise LabelStudioUnavailable(f"Label Studio could not serve {named}, and fails its health check.")
    if unreadable is None:
        raise LabelStudioFault(f"Label Studio cannot send {named}. {_UNREADABLE}")
    unreadable.append(task_id)
    if len(unreadable) > MOST_UNREADABLE:
        named = f"{MOST_UNREADABLE} tasks of project {project_id}"
        some = ", ".join(map(str, sorted(unreadable)))
        raise LabelStudioFault(f"Label Studio cannot send more than {named}, among them {some}. {_UNREADABLE}")


def _as_text(query: dict[str, Any]) -> str:
    return json.dumps(query, separators=(",", ":"))


def _params(project_id: int, annotations: bool, page_size: int) -> dict[str, Any]:
    fields = _TASK_FIELDS + (_ANNOTATION_FIELDS if annotations else ())
    params: dict[str, Any] = {"project": project_id, "page_size": page_size, "include": ",".join(fields)}
    return params | {"fields": "all"} if annotations else params


def _query(wanted: TaskQuery, after: int) -> dict[str, Any]:
    """The Data Manager's query: items picked by id, and filters that all must hold."""
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
