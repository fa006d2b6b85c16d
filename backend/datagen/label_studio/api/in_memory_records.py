"""Records of the in-memory Label Studio: tasks and annotations, their JSON as the server sends it, filters of tabs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datagen.domain.foreign_text import read_json

#: The id of the user whose token the client has.
USER_ID = 1


@dataclass(kw_only=True)
class StoredAnnotation:
    """One annotation of a task."""

    id: int
    result: Any
    was_cancelled: bool
    created_at: str
    updated_at: str
    #: id of the original annotation, for an annotation that was imported with its task
    import_id: int | None = None
    #: the user who submitted or updated it; None for an imported annotation that was never updated
    updated_by: int | None = None
    #: the user who submitted it, and their e-mail address; None for an imported one, which is the token's user's
    submitted_by: int = USER_ID
    submitter: str | None = None

    def body(self, task: StoredTask, email: str) -> dict[str, Any]:
        """The annotation in the API's form."""
        return {
            "id": self.id,
            "result": self.result,
            "was_cancelled": self.was_cancelled,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "import_id": self.import_id,
            "completed_by": self.submitted_by,
            "created_username": f" {self.submitter or email}, {self.submitted_by}",
            "updated_by": self.updated_by,
            "task": task.id,
            "project": task.project_id,
        }


@dataclass(kw_only=True)
class StoredTask:
    """One task, with its annotations and predictions by their ids."""

    id: int
    project_id: int
    inner_id: int
    data: Any
    created_at: str
    updated_at: str
    annotations: dict[int, StoredAnnotation] = field(default_factory=dict)
    is_finished: bool = False
    #: predictions by their ids, in the API's form
    predictions: dict[int, dict[str, Any]] = field(default_factory=dict)

    @property
    def cancelled(self) -> int:
        """The number of annotations that are skips."""
        return sum(annotation.was_cancelled for annotation in self.annotations.values())

    @property
    def submitted(self) -> int:
        """The number of annotations that are not skips."""
        return len(self.annotations) - self.cancelled

    def count_annotations(self) -> None:
        """Set whether the task is finished; the server does the same after each change of the task's annotations."""
        self.is_finished = self.submitted > 0

    def body(self, email: str, *, annotations: bool) -> dict[str, Any]:
        """The task in the API's form."""
        body: dict[str, Any] = {
            "id": self.id,
            "inner_id": self.inner_id,
            "project": self.project_id,
            "data": self.data,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "is_labeled": self.is_finished,
            "total_annotations": self.submitted,
            "cancelled_annotations": self.cancelled,
            "total_predictions": len(self.predictions),
        }
        if annotations:
            body["annotations"] = [annotation.body(self, email) for annotation in self.annotations.values()]
        return body


def send(value: Any) -> Any:
    """A copy of a value after it was encoded for a request, as the client does.

    Raises:
        ValueError: JSON or UTF-8 cannot hold the value.
    """
    return json.loads(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())


def receive(body: Any) -> Any:
    """A copy of a body after it was decoded from a response, as the client does."""
    return read_json(json.dumps(body))


def can_send(body: Any) -> bool:
    """Whether Label Studio can encode a body. It cannot encode half a surrogate pair."""
    try:
        json.dumps(body, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def shown_in(task: StoredTask, view: Mapping[str, Any]) -> bool:
    """Whether a tab shows a task; ``view`` is the tab's data.

    Raises:
        NotImplementedError: The tab has a filter that Datagen does not use.
    """
    filters: Mapping[str, Any] = view.get("filters") or {}
    if filters.get("conjunction", "and") != "and":
        raise NotImplementedError(f"the fake has no filters combined with {filters['conjunction']!r}")
    return all(_matches(task, item) for item in filters.get("items", ()))


def ordered(tasks: Sequence[StoredTask], view: Mapping[str, Any]) -> list[StoredTask]:
    """The tasks in the order of a tab; ``view`` is the tab's data.

    Raises:
        NotImplementedError: The tab has an order that Datagen does not use.
    """
    order = list(view.get("ordering") or ["tasks:id"])
    if order not in (["tasks:id"], ["-tasks:id"]):
        raise NotImplementedError(f"the fake has no order by {order}")
    return sorted(tasks, key=lambda task: task.id, reverse=order == ["-tasks:id"])


def _matches(task: StoredTask, item: Mapping[str, Any]) -> bool:
    name = str(item["filter"]).removeprefix("filter:tasks:")
    wanted, actual = item["value"], _value(task, name)
    match item["operator"]:
        case "equal":
            return bool(actual == wanted)  # a number in the data never equals the filter's text
        case "contains":
            return str(wanted) in str(actual)
    raise NotImplementedError(f"the fake has no filter operator {item['operator']!r}")


def _value(task: StoredTask, name: str) -> Any:
    if name.startswith("data."):
        return task.data.get(name.removeprefix("data."))
    match name:
        case "total_annotations":
            return task.submitted
        case "cancelled_annotations":
            return task.cancelled
        case "annotations_results":  # Label Studio searches the text of the JSON
            return "".join(json.dumps(annotation.result) for annotation in task.annotations.values())
    raise NotImplementedError(f"the fake has no filter by {name!r}")
