"""Values of Label Studio's API: tasks with their annotations, projects, webhooks, tabs, backends.

Parsing is tolerant: only the fields in use are read, and optional fields have defaults. ``Connection`` has already
sanitized the text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datagen.label_studio.api.nested_results import flattened

#: Characters of a user's name and e-mail address that are kept; a database column holds no more.
LONGEST_NAME = 200
#: Regions and answers in Label Studio's form; ``regions`` and ``form_answers`` interpret them.
Result = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One user's submission for a task, or skip (``was_cancelled``)."""

    id: int
    result: Result
    was_cancelled: bool
    #: name and e-mail of the submitter, or ``user N``; ``user N`` of the last updater if that is another user
    completed_by: str
    #: see ``stamp``; changes with every update
    updated_at: str
    created_at: str
    #: id of the original annotation if this is an unmodified copy, imported with its task from an export. A copy that a
    #: user has updated counts as that user's annotation, not as a copy.
    copied_from: int | None = None
    #: number of entries of the result that are not objects and cannot be read
    unreadable: int = 0

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Annotation:
        """Parse the API's or a webhook's form."""
        entries = list(flattened(body.get("result")))
        result = tuple(entry for entry in entries if isinstance(entry, dict))
        return Annotation(
            id=int(body["id"]),
            result=result,
            unreadable=len(entries) - len(result),
            was_cancelled=bool(body.get("was_cancelled")),
            completed_by=_author(body)[:LONGEST_NAME],
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
    #: number that Label Studio counts; the predictions themselves are not requested
    total_predictions: int = 0
    #: skipped ones included
    total_annotations: int = 0
    #: whether Label Studio counts it as finished, and serves it to no annotator any more
    is_finished: bool = False
    #: see ``stamp``; also changes when an annotation is made, changed or deleted
    updated_at: str = ""

    @property
    def newest(self) -> Annotation | None:
        """The effective annotation: the one submitted or updated last that is not a skip."""
        submitted = [annotation for annotation in self.annotations if not annotation.was_cancelled]
        return max(submitted, key=lambda annotation: (annotation.updated_at, annotation.id), default=None)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Task:
        """Parse the API's form."""
        annotations = (Annotation.from_json(entry) for entry in _listed(body.get("annotations")))
        data = body.get("data")
        return Task(
            id=int(body["id"]),
            data=data if isinstance(data, dict) else {},
            annotations=tuple(sorted(annotations, key=lambda annotation: annotation.id)),
            total_predictions=int(body.get("total_predictions") or 0),
            total_annotations=int(body.get("total_annotations") or 0) + int(body.get("cancelled_annotations") or 0),
            is_finished=bool(body.get("is_labeled")),
            updated_at=stamp(body.get("updated_at")),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Object counts of a project; they change when objects are created or deleted, but not when they are edited."""

    tasks: int
    #: annotations that are not skips
    annotations: int
    skips: int

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Counts:
        """Parse the API's form."""
        names = ("task_number", "total_annotations_number", "skipped_annotations_number")
        tasks, annotations, skips = (int(body.get(name) or 0) for name in names)
        return Counts(tasks=tasks, annotations=annotations, skips=skips)

    def __str__(self) -> str:
        return f"{self.tasks} tasks, {self.annotations} annotations, {self.skips} skips"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project; ``options`` is the whole API object."""

    id: int
    title: str
    options: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Project:
        """Parse the API's form."""
        return Project(id=int(body["id"]), title=str(body.get("title") or ""), options=dict(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook of a project; the values of its headers are secrets and are left out of its ``repr``."""

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
        """Parse the API's form."""
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
    #: filters, ordering, hidden columns and so on, in the API's form
    data: dict[str, Any]

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> View:
        """Parse the API's form."""
        data = dict(body.get("data") or {})
        return View(id=int(body["id"]), title=str(data.get("title") or ""), data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One ML-backend connection of a project."""

    id: int
    url: str
    title: str
    #: two letters: ``CO`` connected, ``DI`` disconnected, ``ER`` error
    state: str
    error: str
    basic_auth_user: str | None

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Backend:
        """Parse the API's form."""
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
    """A time of Label Studio as ISO 8601 in UTC with microseconds, so that the text sorts by time; empty for no time.

    Label Studio omits microseconds of 0, but requires them in filters.
    """
    if not isinstance(when, str) or not when:
        return ""
    time = datetime.fromisoformat(when)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _copied_from(body: Mapping[str, Any]) -> int | None:
    """The id of the original of an imported annotation that no user has updated since; None otherwise."""
    number = body.get("import_id")
    return int(number) if isinstance(number, int) and body.get("updated_by") is None else None


def _author(body: Mapping[str, Any]) -> str:
    """The author of an annotation's current content, from any of the API's forms."""
    by, updated_by = body.get("completed_by"), body.get("updated_by")
    submitted_by = by.get("id") if isinstance(by, Mapping) else by
    if isinstance(updated_by, int) and isinstance(submitted_by, int) and updated_by != submitted_by:
        return f"user {updated_by}"  # Label Studio sends only the submitter's name
    named = str(body.get("created_username") or "").rpartition(",")[0].strip()
    if named:
        return named
    if isinstance(by, Mapping):
        parts = (by.get("first_name"), by.get("last_name"), by.get("email"))
        return " ".join(str(part) for part in parts if part) or f"user {by.get('id')}"
    return f"user {by}" if by is not None else ""
