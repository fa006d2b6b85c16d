"""Listing tasks: which fields of them, which of them, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from datagen.errors import LabelStudioMissing
from datagen.label_studio.connection import Connection
from datagen.label_studio.records import Task, stamp

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
#: Tasks in a page where only their numbers and when they were touched are asked for.
STAMPS_PAGE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which tasks of a project: those of which all that is given holds."""

    ids: Sequence[int] | None = None
    #: ``data.batch`` is this
    batch: str | None = None
    #: made or touched then or later, ISO 8601
    updated_since: str | None = None


def list_tasks(at: Connection, project_id: int, wanted: Wanted, *, annotations: bool, page_size: int) -> Iterator[Task]:
    """Tasks in the order of their ids.

    Pages begin after the last id seen, so that none is missed when tasks come and go meanwhile.
    """
    params = _params(project_id, annotations, page_size)
    if wanted.ids is None:
        yield from map(Task.from_json, _list(at, project_id, wanted, params))
        return
    ids = sorted(set(wanted.ids))
    for start in range(0, len(ids), IDS_AT_A_TIME):
        some = replace(wanted, ids=ids[start : start + IDS_AT_A_TIME])
        yield from map(Task.from_json, _list(at, project_id, some, params))


def list_stamps(at: Connection, project_id: int, wanted: Wanted) -> Iterator[tuple[int, str]]:
    """The numbers of tasks and when they were touched, see ``stamp``, in the order of the numbers."""
    params = {"project": project_id, "page_size": STAMPS_PAGE, "include": "id,updated_at"}
    return ((int(one["id"]), stamp(one["updated_at"])) for one in _list(at, project_id, wanted, params))


def _list(at: Connection, project_id: int, wanted: Wanted, params: dict[str, Any]) -> Iterator[dict[str, Any]]:
    last = 0
    while True:
        query = json.dumps(_query(wanted, last), separators=(",", ":"))
        page = at.get("/api/tasks/", f"the tasks of project {project_id}", params | {"query": query})["tasks"]
        for one in page:
            last = max(last, int(one["id"]))
            yield one
        if len(page) < params["page_size"]:
            return


def list_tab(at: Connection, project_id: int, view_id: int, *, annotations: bool, page_size: int) -> Iterator[Task]:
    """The tasks that a tab shows, in its own order, and so by the pages' numbers."""
    params = _params(project_id, annotations, page_size) | {"view": view_id}
    number = 1
    while True:
        what = f"page {number} of the tasks in tab {view_id} of project {project_id}"
        try:
            page = at.get("/api/tasks/", what, params | {"page": number})
        except LabelStudioMissing:
            if number == 1:
                raise
            return  # tasks were deleted meanwhile: there is no such page any more
        yield from (Task.from_json(one) for one in page["tasks"])
        if number * page_size >= page["total"]:
            return
        number += 1


def _params(project_id: int, annotations: bool, page_size: int) -> dict[str, Any]:
    fields = _TASK_FIELDS + (_ANNOTATION_FIELDS if annotations else ())
    params: dict[str, Any] = {"project": project_id, "page_size": page_size, "include": ",".join(fields)}
    return params | {"fields": "all"} if annotations else params


def _query(wanted: Wanted, after: int) -> dict[str, Any]:
    """The Data Manager's query: items picked by id, and filters that all must hold."""
    filters: list[dict[str, Any]] = []
    if after:
        filters.append(_filter("id", "greater", "Number", after))
    if wanted.batch is not None:
        filters.append(_filter("data.batch", "equal", "String", wanted.batch))
    if wanted.updated_since is not None:
        filters.append(_filter("updated_at", "greater_or_equal", "Datetime", stamp(wanted.updated_since)))
    query: dict[str, Any] = {"filters": {"conjunction": "and", "items": filters}} if filters else {}
    if wanted.ids is not None:
        query["selectedItems"] = {"all": False, "included": list(wanted.ids)}
    return query


def _filter(field: str, operator: str, kind: str, value: object) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}
