"""What a webhook of Label Studio's says: an action, a project, ids. A hint: the truth is asked for later.

Of a body nothing else is kept: Label Studio puts the project's token and passwords into it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.errors import InputProblem

#: What a project's webhook is registered for. PROJECT_UPDATED is how ``doctor`` sees a delivery; LABEL_LINK_CREATED is
#: left out because Label Studio 1.23 fails to make labels while someone listens for it.
ACTIONS = (
    "TASKS_CREATED",
    "TASKS_DELETED",
    "ANNOTATION_CREATED",
    "ANNOTATIONS_CREATED",
    "ANNOTATION_UPDATED",
    "ANNOTATIONS_DELETED",
    "PROJECT_UPDATED",
)
#: “Start Training” in a project's menu; comes from the ML-backend connection.
START_TRAINING = "START_TRAINING"
#: What an action is called in figures if it is none of those we know: a figure must not grow with what others send.
OTHER_ACTION = "other"


def figure_name(action: str) -> str:
    """What an event's action is called in figures."""
    return action if action in (*ACTIONS, START_TRAINING) else OTHER_ACTION


#: Any action is accepted as a word, so that a newer Label Studio does no harm; not more than this is kept of it.
LONGEST_ACTION = 40
#: … and of a time.
_MOST_CHARS = 64
#: No real id is larger, and no database column holds one.
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEvent:
    """What happened, as far as it was told."""

    action: str
    project_id: int
    task_ids: tuple[int, ...] = ()
    annotation_ids: tuple[int, ...] = ()
    #: SHA-256 (hex) of what happened: the same when the same delivery comes twice, another when an annotation was
    #: updated again. Two clicks on “Start Training” look alike, and so do two deletions where an id was given out
    #: again in between, so each reading of one has a fingerprint of its own.
    fingerprint: str

    @staticmethod
    def parse(body: bytes | str | Mapping[str, Any]) -> WebhookEvent:
        """Read a webhook's body.

        Raises:
            InputProblem: it is empty, no JSON, or no webhook of Label Studio's.
        """
        said = body if isinstance(body, Mapping) else _json(body)
        action = said.get("action")
        if not isinstance(action, str) or not action.strip():
            raise InputProblem("the webhook's body names no action; it is not one of Label Studio's.")
        project = said.get("project")
        project_id = _id(project.get("id") if isinstance(project, Mapping) else project)
        if project_id is None:
            raise InputProblem("the webhook's body names no project; switch “Send payload” on for the webhook.")
        annotations = _listed(said.get("annotation")) + _listed(said.get("annotations"))
        tasks = _listed(said.get("task")) + _listed(said.get("tasks"))
        action = plain(action).strip()[:LONGEST_ACTION]
        task_ids = _ids([*tasks, *(one["task"] for one in annotations if isinstance(one, Mapping) and "task" in one)])
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
        said = json.loads(body)  # not walked through: the one text that is kept of it is made plain above
    except (ValueError, RecursionError):
        raise InputProblem("the webhook's body is not JSON; it is not one of Label Studio's.") from None
    if not isinstance(said, Mapping):
        raise InputProblem("the webhook's body is no JSON object; it is not one of Label Studio's.")
    return said


def _listed(value: Any) -> list[Any]:
    """One thing or several, as Label Studio sends either; None for nothing."""
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _ids(things: Iterable[Any]) -> tuple[int, ...]:
    """The ids of objects or bare ids, each once, in order of size."""
    found = (_id(one.get("id") if isinstance(one, Mapping) else one) for one in things)
    return tuple(sorted({one for one in found if one is not None}))


def _id(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _LARGEST_ID else None


def _stamps(things: Iterable[Any]) -> list[str]:
    """When each thing last changed, where that is told.

    An id alone can come twice: Label Studio on SQLite gives the ids of its newest tasks again once those are deleted.
    """
    return sorted(str(one.get("updated_at"))[:_MOST_CHARS] for one in things if isinstance(one, Mapping))


def _digest(*what: Any) -> str:
    return hashlib.sha256(json.dumps(what, separators=(",", ":")).encode()).hexdigest()
