"""What Label Studio holds, as plain values: tasks with their annotations, projects, webhooks, tabs, backends.

Read tolerantly: only what we use is taken, and what may be missing has a default. Text is plain by then: see
``Connection``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datagen.label_studio.api.nested_results import flattened

#: Characters of a person's name and address that are kept; a column holds no more.
LONGEST_NAME = 200
#: A region or an answer as Label Studio keeps it; see ``regions`` and ``answers`` for its meaning.
Result = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """What one person submitted for a task (or skipped: ``was_cancelled``)."""

    id: int
    result: Result
    was_cancelled: bool
    #: name and e-mail of who submitted it, or ``user N``; of one that somebody else updated since, that person
    completed_by: str
    #: see ``stamp``; changes with every update
    updated_at: str
    created_at: str
    #: the number of the annotation that this is an untouched copy of: it came along when its task was imported from an
    #: export. Who updates a copy has said something, and it is a copy no longer.
    copied_from: int | None = None
    #: entries of the result that are no objects, so that nothing can be read of them
    unreadable: int = 0

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Annotation:
        """From the API's form, or a webhook's."""
        entries = list(flattened(body.get("result")))
        result = tuple(entry for entry in entries if isinstance(entry, dict))
        return Annotation(
            id=int(body["id"]),
            result=result,
            unreadable=len(entries) - len(result),
            was_cancelled=bool(body.get("was_cancelled")),
            completed_by=_who(body)[:LONGEST_NAME],
            updated_at=stamp(body.get("updated_at")),
            created_at=stamp(body.get("created_at")),
            copied_from=_copied_from(body),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task with its annotations; skipped ones are among them."""

    id: int
    data: dict[str, Any]
    annotations: tuple[Annotation, ...] = ()
    #: how many Label Studio counts; without being asked for what they say
    total_predictions: int = 0
    #: skipped ones included
    total_annotations: int = 0
    #: see ``stamp``; also changes when an annotation is made, changed or deleted
    updated_at: str = ""

    @property
    def newest(self) -> Annotation | None:
        """The annotation that counts: the one submitted or updated last that is no skip."""
        counted = [one for one in self.annotations if not one.was_cancelled]
        return max(counted, key=lambda one: (one.updated_at, one.id), default=None)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Task:
        """From the API's form."""
        annotations = (Annotation.from_json(one) for one in _listed(body.get("annotations")))
        data = body.get("data")
        return Task(
            id=int(body["id"]),
            data=data if isinstance(data, dict) else {},
            annotations=tuple(sorted(annotations, key=lambda one: one.id)),
            total_predictions=int(body.get("total_predictions") or 0),
            total_annotations=int(body.get("total_annotations") or 0) + int(body.get("cancelled_annotations") or 0),
            updated_at=stamp(body.get("updated_at")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How much there is in a project: what changes when something is made or deleted, and not when it is edited."""

    tasks: int
    #: annotations that are no skips
    annotations: int
    skips: int

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Counts:
        """From the API's form."""
        names = ("task_number", "total_annotations_number", "skipped_annotations_number")
        tasks, annotations, skips = (int(body.get(name) or 0) for name in names)
        return Counts(tasks=tasks, annotations=annotations, skips=skips)

    def __str__(self) -> str:
        return f"{self.tasks} tasks, {self.annotations} annotations, {self.skips} skips"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project; ``options`` is everything the API says of it."""

    id: int
    title: str
    options: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Project:
        """From the API's form."""
        return Project(id=int(body["id"]), title=str(body.get("title") or ""), options=dict(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook of a project; the values of its headers are secrets and not part of its ``repr``."""

    id: int
    project_id: int | None
    url: str
    headers: dict[str, str] = field(repr=False)
    is_active: bool
    actions: frozenset[str]
    send_for_all_actions: bool
    send_payload: bool

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Webhook:
        """From the API's form."""
        return Webhook(
            id=int(body["id"]),
            project_id=body.get("project"),
            url=str(body["url"]),
            headers={str(k): str(v) for k, v in (body.get("headers") or {}).items()},
            is_active=bool(body.get("is_active")),
            actions=frozenset(body.get("actions") or ()),
            send_for_all_actions=bool(body.get("send_for_all_actions")),
            send_payload=bool(body.get("send_payload")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One saved tab of a project's Data Manager."""

    id: int
    title: str
    #: filters, ordering, hidden columns and the like, in the API's form
    data: dict[str, Any]

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> View:
        """From the API's form."""
        data = dict(body.get("data") or {})
        return View(id=int(body["id"]), title=str(data.get("title") or ""), data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One ML-backend connection of a project."""

    id: int
    url: str
    title: str
    #: two letters: ``CO`` is connected, ``DI`` disconnected, ``ER`` an error
    state: str
    error: str
    basic_auth_user: str | None

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Backend:
        """From the API's form."""
        return Backend(
            id=int(body["id"]),
            url=str(body["url"]),
            title=str(body.get("title") or ""),
            state=str(body.get("state") or ""),
            error=str(body.get("error_message") or ""),
            basic_auth_user=body.get("basic_auth_user"),
        )


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def stamp(when: object) -> str:
    """A time of Label Studio's as ISO 8601 in UTC with microseconds, so that text in order is time in order.

    Label Studio leaves the microseconds out when they are 0, and wants them in filters all the same.
    """
    if not isinstance(when, str) or not when:
        return ""
    read = datetime.fromisoformat(when)
    read = read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    return read.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _copied_from(body: Mapping[str, Any]) -> int | None:
    """Label Studio notes the number that an imported annotation had, and who updated it since: nobody, at first."""
    number = body.get("import_id")
    return int(number) if isinstance(number, int) and body.get("updated_by") is None else None


def _who(body: Mapping[str, Any]) -> str:
    """Who says what an annotation holds, in whichever form the API says it."""
    by, updated_by = body.get("completed_by"), body.get("updated_by")
    submitted_by = by.get("id") if isinstance(by, Mapping) else by
    if isinstance(updated_by, int) and isinstance(submitted_by, int) and updated_by != submitted_by:
        return f"user {updated_by}"  # Label Studio names nobody but who submitted it
    named = str(body.get("created_username") or "").rpartition(",")[0].strip()
    if named:
        return named
    if isinstance(by, Mapping):
        parts = (by.get("first_name"), by.get("last_name"), by.get("email"))
        return " ".join(str(part) for part in parts if part) or f"user {by.get('id')}"
    return f"user {by}" if by is not None else ""
