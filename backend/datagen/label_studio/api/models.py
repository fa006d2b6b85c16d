"""Values of Label Studio's API: tasks with their annotations, projects, webhooks, tabs, ML backends.

Parsing is tolerant: only the fields in use are read, and optional fields have defaults. Text is not sanitized here,
because ``Connection`` has already done it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datagen.label_studio.api.authorship import is_marked
from datagen.label_studio.api.nested_results import flattened

#: Largest number of characters of a user's name and e-mail address that are kept; a database column holds no more.
LONGEST_NAME = 200
#: Regions and answers in Label Studio's form. ``regions`` and ``form_answers`` read them.
Result = tuple[dict[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One annotation of a task by one user. It is a skip if ``was_cancelled`` is true."""

    id: int
    result: Result
    was_cancelled: bool
    #: name and e-mail address of the submitter, or ``user N`` without these; after an update by another user, ``user
    #: N`` of that user, unless Datagen wrote it in the submitter's name (see ``authorship``)
    completed_by: str
    #: time of the last change, in the form of ``stamp``
    updated_at: str
    created_at: str
    #: id of the original annotation if this is an unchanged copy that was imported with its task from an export. A copy
    #: that a user has updated counts as that user's annotation, not as a copy.
    copied_from: int | None = None
    #: number of entries of the result that cannot be read because they are not objects
    unreadable: int = 0
    #: id of the user who submitted it, whoever updated it since
    submitted_by: int | None = None

    @staticmethod
    def from_json(body: Mapping[str, Any], writer: Callable[[], int] | None = None) -> Annotation:
        """The annotation in a body of the API.

        ``writer`` returns the id of the account in whose requests a mark counts (see ``authorship``); None: none does.
        """
        entries = list(flattened(body.get("result")))
        result = tuple(entry for entry in entries if isinstance(entry, dict))
        return Annotation(
            id=int(body["id"]),
            result=result,
            unreadable=len(entries) - len(result),
            was_cancelled=bool(body.get("was_cancelled")),
            completed_by=_author(body, writer)[:LONGEST_NAME],
            updated_at=stamp(body.get("updated_at")),
            created_at=stamp(body.get("created_at")),
            copied_from=_copied_from(body),
            submitted_by=_submitter(body),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One task with its annotations, skips included."""

    id: int
    data: dict[str, Any]
    annotations: tuple[Annotation, ...] = ()
    #: number of predictions by Label Studio's count; the predictions themselves are not requested
    total_predictions: int = 0
    #: number of annotations, skips included
    total_annotations: int = 0
    #: whether Label Studio counts the task as finished; it serves finished tasks to no annotator
    is_finished: bool = False
    #: time of the last change, in the form of ``stamp``; a change of an annotation is one too
    updated_at: str = ""

    @property
    def newest(self) -> Annotation | None:
        """The effective annotation: of those that are not skips, the one submitted or updated last, or None."""
        submitted = [annotation for annotation in self.annotations if not annotation.was_cancelled]
        return max(submitted, key=lambda annotation: (annotation.updated_at, annotation.id), default=None)

    @staticmethod
    def from_json(body: Mapping[str, Any], writer: Callable[[], int] | None = None) -> Task:
        """The task in a body of the API; ``writer`` as for its annotations."""
        annotations = (Annotation.from_json(entry, writer) for entry in _listed(body.get("annotations")))
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
    """Numbers of objects in a project.

    They change when objects are created or deleted, but not when they are edited.
    """

    tasks: int
    #: number of annotations that are not skips
    annotations: int
    skips: int

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Counts:
        """The counts in a body of the API."""
        names = ("task_number", "total_annotations_number", "skipped_annotations_number")
        tasks, annotations, skips = (int(body.get(name) or 0) for name in names)
        return Counts(tasks=tasks, annotations=annotations, skips=skips)

    def __str__(self) -> str:
        return f"{self.tasks} tasks, {self.annotations} annotations, {self.skips} skips"


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One project. ``options`` is the whole object of the API."""

    id: int
    title: str
    options: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Project:
        """The project in a body of the API."""
        return Project(id=int(body["id"]), title=str(body.get("title") or ""), options=dict(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """One webhook of a project. The values of its headers are secrets, so its ``repr`` omits them."""

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
        """The webhook in a body of the API."""
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
    #: filters, ordering, hidden columns and other data, in the API's form
    data: dict[str, Any]

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> View:
        """The tab in a body of the API."""
        data = dict(body.get("data") or {})
        return View(id=int(body["id"]), title=str(data.get("title") or ""), data=data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One ML-backend connection of a project."""

    id: int
    url: str
    title: str
    #: state in two letters: ``CO`` connected, ``DI`` disconnected, ``ER`` error
    state: str
    error: str
    basic_auth_user: str | None

    @staticmethod
    def from_json(body: Mapping[str, Any]) -> Backend:
        """The connection in a body of the API."""
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
    """A time of Label Studio as text: ISO 8601 in UTC with microseconds, so that texts sort by time. Empty for no time.

    Label Studio omits microseconds of 0 in its responses, but requires them in filters.
    """
    if not isinstance(when, str) or not when:
        return ""
    time = datetime.fromisoformat(when)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    return time.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _copied_from(body: Mapping[str, Any]) -> int | None:
    """The id of the original, if this annotation was imported and no user has updated it since; else None."""
    number = body.get("import_id")
    return int(number) if isinstance(number, int) and body.get("updated_by") is None else None


def _submitter(body: Mapping[str, Any]) -> int | None:
    by = body.get("completed_by")
    submitted_by = by.get("id") if isinstance(by, Mapping) else by
    return submitted_by if isinstance(submitted_by, int) else None


def _author(body: Mapping[str, Any], writer: Callable[[], int] | None) -> str:
    """The author of an annotation's current content. ``body`` may have any of the API's forms."""
    by, updated_by, submitted_by = body.get("completed_by"), body.get("updated_by"), _submitter(body)
    if (
        isinstance(updated_by, int)
        and submitted_by is not None
        and updated_by != submitted_by
        and not (is_marked(body.get("result"), submitted_by) and writer is not None and writer() == updated_by)
    ):
        return f"user {updated_by}"  # Label Studio sends only the submitter's name
    named = str(body.get("created_username") or "").rpartition(",")[0].strip()
    if named:
        return named
    if isinstance(by, Mapping):
        parts = (by.get("first_name"), by.get("last_name"), by.get("email"))
        return " ".join(str(part) for part in parts if part) or f"user {by.get('id')}"
    return f"user {by}" if by is not None else ""
