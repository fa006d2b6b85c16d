"""Parser of Label Studio's webhook bodies: an action, a project, ids.

An event only shows that something changed. The current state is read from Label Studio's API later. No other content of
a body is kept, because Label Studio includes the project's token and passwords in it."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.errors import InputProblem

#: Actions that a project's webhook is registered for. ``doctor`` uses PROJECT_UPDATED to check a delivery.
#: LABEL_LINK_CREATED is missing, because Label Studio 1.23 fails to create labels while a webhook subscribes to it.
ACTIONS = (
    "TASKS_CREATED",
    "TASKS_DELETED",
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "PROJECT_UPDATED",
)
#: Action of “Start Training” in a project's menu; the ML-backend connection sends it.
START_TRAINING = "START_TRAINING"
#: Metric label of every unknown action, so that received data does not increase the number of metric series.
OTHER_ACTION = "other"


def figure_name(action: str) -> str:
    """The metric label for an event's action."""
    return action if action in (*ACTIONS, START_TRAINING) else OTHER_ACTION


#: Largest number of characters of an action that are kept. Any action is accepted, for compatibility with a newer Label
#: Studio.
LONGEST_ACTION = 40
#: Largest number of characters of a timestamp that are kept.
_MAX_CHARS = 64
#: Largest id that is accepted; a database column holds no larger one.
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """The parts of a webhook body that are kept."""

    action: str
    project_id: int
    task_ids: tuple[int, ...] = ()
    annotation_ids: tuple[int, ...] = ()
    #: SHA-256 (hex) of the event. It is equal for a repeated delivery, and different after another update of an
    #: annotation. Two clicks on “Start Training” have equal bodies; so have two deletions of the same id if it was
    #: reused in between. The fingerprint of these actions is therefore different each time a body is parsed.
    fingerprint: str

    @staticmethod
    def parse(body: bytes | str | Mapping[str, Any]) -> WebhookEvent:
        """The event in the body of a webhook.

        Raises:
            InputProblem: The body is empty, is not JSON, or is not a webhook body of Label Studio.
        """
        payload = body if isinstance(body, Mapping) else _json(body)
        action = payload.get("action")
        if not isinstance(action, str) or not action.strip():
            raise InputProblem("the webhook's body names no action; it is not one of Label Studio's.")
        project = payload.get("project")
        project_id = _id(project.get("id") if isinstance(project, Mapping) else project)
        if project_id is None:
            raise InputProblem("the webhook's body names no project; switch “Send payload” on for the webhook.")
        annotations = _listed(payload.get("annotation")) + _listed(payload.get("annotations"))
        tasks = _listed(payload.get("task")) + _listed(payload.get("tasks"))
        action = plain(action).strip()[:LONGEST_ACTION]
        task_ids = _ids(
            [*tasks, *(entry["task"] for entry in annotations if isinstance(entry, Mapping) and "task" in entry)]
        )
        annotation_ids = _ids(annotations)
        return WebhookEvent(
            action=action,
            project_id=project_id,
            task_ids=task_ids,
            annotation_ids=annotation_ids,
            fingerprint=_digest(
                secrets.token_hex(8) if action == START_TRAINING or action.endswith("_DELETED") else "",
                action,
                project_id,
                task_ids,
                annotation_ids,
                _stamps(annotations or tasks or [project]),
            ),
        )


def _json(body: bytes | str) -> Mapping[str, Any]:
    if not body.strip():
        raise InputProblem("the webhook's body is empty; switch “Send payload” on for the webhook.")
    try:
        payload = json.loads(
            body
        )  # not sanitized as a whole: the only kept text, the action, is sanitized in ``parse``
    except (ValueError, RecursionError):
        raise InputProblem("the webhook's body is not JSON; it is not one of Label Studio's.") from None
    if not isinstance(payload, Mapping):
        raise InputProblem("the webhook's body is no JSON object; it is not one of Label Studio's.")
    return payload


def _listed(value: Any) -> list[Any]:
    """A value of Label Studio as a list: None becomes an empty list, and a single object becomes a list of one."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _ids(entries: Iterable[Any]) -> tuple[int, ...]:
    """The sorted ids in a list of objects or ids, without duplicates."""
    ids = (_id(entry.get("id") if isinstance(entry, Mapping) else entry) for entry in entries)
    return tuple(sorted({id_ for id_ in ids if id_ is not None}))


def _id(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_ID else None


def _stamps(entries: Iterable[Any]) -> list[str]:
    """The ``updated_at`` values of a list of objects.

    They are needed because an id alone may name different tasks over time: Label Studio on SQLite reuses the ids of its
    newest tasks after their deletion.
    """
    return sorted(str(entry.get("updated_at"))[:_MAX_CHARS] for entry in entries if isinstance(entry, Mapping))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()
