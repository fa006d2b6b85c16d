"""The server behind the in-memory fake: its tables, its clock, its webhooks, and the actions of people and programs.

``in_memory`` adds the requests of Datagen's client."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import Any, Concatenate, NoReturn, ParamSpec, TypeVar
from urllib.parse import urlsplit

import httpx

from datagen.domain.wording import counted
from datagen.errors import LabelStudioError
from datagen.label_studio.api import failures
from datagen.label_studio.api.auth import REFUSED_TOKEN, TokenKind
from datagen.label_studio.api.in_memory_records import USER_ID, StoredAnnotation, StoredTask, receive, send
from datagen.label_studio.api.models import Webhook, stamp
from datagen.label_studio.api.webhook_payload import START_TRAINING

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="InMemoryServer")

#: The server's reason when it refuses a filter that names an object which does not exist.
NO_CHOICE = "Select a valid choice. That choice is not one of the available choices."


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """A request that the server sends to a webhook: address, headers and JSON body."""

    url: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]


def request(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], R]:
    """Decorator for a method that stands for one request to the server.

    The request fails while the server is off. Its response may be lost after it was carried out (see
    ``after_request``).
    """

    @wraps(method)
    def carried_out(self: S, /, *args: P.args, **options: P.kwargs) -> R:
        self.begin_request(method.__name__.strip("_"), args)
        result = method(self, *args, **options)
        if self.after_request is not None and self.after_request(method.__name__.strip("_")):
            raise failures.unavailable(httpx.ReadError("lost"), self.url)
        return result

    return carried_out


class InMemoryServer:
    """A Label Studio server with one user. ``acting_as`` makes annotations of other users.

    Args:
        url: The server's address, which the URLs of its files start with.
        email: The user's e-mail address.
        token_kind: The kind of the user's token.
        clock: The server's time. Times of changes are strictly increasing, even if the clock stands still.
        deliver: Called with each webhook request while the change that caused it is made. If it raises OSError, the
            receiver did not answer: the event is lost, and the change is still made.
    """

    def __init__(
        self,
        *,
        url: str = "http://label-studio.test",
        email: str = "annotator@example.com",
        token_kind: TokenKind = TokenKind.LEGACY,
        clock: Callable[[], datetime] = _utc_now,
        deliver: Callable[[Delivery], None] | None = None,
    ) -> None:
        self._url, self._email, self._token_kind = url, email, token_kind
        self._clock, self._last = clock, datetime.min.replace(tzinfo=UTC)
        self.deliver = deliver
        #: called with the name of a request after it was carried out; if it returns true, the client gets no response
        self.after_request: Callable[[str], bool] | None = None
        #: names and positional arguments of all requests, in order
        self.requests: list[tuple[str, tuple[Any, ...]]] = []
        #: addresses at which no ML backend answers
        self.unreachable: set[str] = set()
        #: hosts that the SSRF protection refuses
        self.banned_hosts: set[str] = set()
        self._is_on, self._is_known = True, True
        self._last_ids: Counter[str] = Counter()
        self._projects: dict[int, dict[str, Any]] = {}
        self._tasks: dict[int, StoredTask] = {}
        self._webhooks: dict[int, dict[str, Any]] = {}
        self._backends: dict[int, dict[str, Any]] = {}
        self._views: dict[int, dict[str, Any]] = {}
        self._files: dict[str, tuple[int, bytes]] = {}
        #: id → e-mail address of each user
        self.people: dict[int, str] = {USER_ID: email}
        #: id of the user who annotates at present
        self._acting = USER_ID

    @contextmanager
    def acting_as(self, user_id: int, email: str) -> Iterator[None]:
        """Submit and update the annotations of the block as another user."""
        self.people[user_id] = email
        self._acting = user_id
        try:
            yield
        finally:
            self._acting = USER_ID

    # -- the server

    def switch_off(self) -> None:
        """Make every request fail, as if no server listened at the address."""
        self._is_on = False

    def switch_on(self) -> None:
        """Make requests succeed again; all stored data is unchanged."""
        self._is_on = True

    def revoke_token(self) -> None:
        """Refuse all further requests with the user's token."""
        self._is_known = False

    @property
    def url(self) -> str:
        """The server's address; see ``LabelStudioPort``."""
        return self._url

    # -- people and other programs

    @request
    def edit_annotation(
        self,
        annotation_id: int,
        *,
        result: Sequence[Mapping[str, Any]] | None = None,
        was_cancelled: bool | None = None,
    ) -> None:
        """Change an annotation as a person does in the editor: its result, or whether it is a skip."""
        for task in self._tasks.values():
            annotation = task.annotations.get(annotation_id)
            if annotation is not None:
                if result is not None:
                    annotation.result = send([dict(region) for region in result])
                if was_cancelled is not None:
                    annotation.was_cancelled = was_cancelled
                annotation.updated_by, annotation.updated_at = self._acting, self._now()
                task.count_annotations()
                task.updated_at = self._now()
                self._tell_of_annotation("ANNOTATION_UPDATED", task, annotation)
                return
        self._refuse(404, "No Annotation matches the given query.", f"annotation {annotation_id}")

    @request
    def import_json(self, project_id: int, text: str) -> list[int]:
        """Import the tasks of a JSON text, which may contain half a surrogate pair; return their ids."""
        return self._import(project_id, json.loads(text))

    @request
    def export_tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The tasks of a project in the form of its JSON export, in the order of ``task_ids``."""
        self._project(project_id, f"project {project_id}")
        bodies = [self._tasks[task_id].body(self._email, annotations=True) for task_id in task_ids]
        return [{**body, "meta": {}} for body in receive(bodies)]

    @request
    def start_training(self, project_id: int) -> None:
        """Choose “Start Training” in the menu of a project, as a person does."""
        for row in self._backends.values():
            if row["project"] == project_id:
                login = base64.b64encode(f"{row['basic_auth_user']}:{row['basic_auth_pass']}".encode()).decode()
                url, headers = f"{row['url'].rstrip('/')}/webhook", {"Authorization": f"Basic {login}"}
                self._send_webhook(url, headers, START_TRAINING, project_id)

    # -- parts

    def begin_request(self, name: str, args: tuple[Any, ...]) -> None:
        """Record a request in ``requests``; refuse it if the server is off or the token was revoked."""
        self.requests.append((name, args))
        if not self._is_on:
            raise failures.unavailable(httpx.ConnectError("[Errno 111] Connection refused"), self.url)
        if not self._is_known:
            raise LabelStudioError(REFUSED_TOKEN[self._token_kind])

    def _new_id(self, table: str) -> int:
        self._last_ids[table] += 1
        return self._last_ids[table]

    def _now(self) -> str:
        """The time of the next change, later than that of any earlier change."""
        self._last = max(self._clock(), self._last + timedelta(microseconds=1))
        return stamp(self._last.isoformat())

    def _refuse(self, status: int, reason: str | Mapping[str, Sequence[str]], subject: str) -> NoReturn:
        """Raise the error that the client raises for a response of Label Studio with this status and reason."""
        body = {"detail": reason} if isinstance(reason, str) else {"validation_errors": dict(reason)}
        failures.check(httpx.Response(status, json=body), subject, self.url)
        raise AssertionError("a refusal with a successful status")

    def _row(self, table: Mapping[int, dict[str, Any]], id_: int, kind: str, subject: str) -> dict[str, Any]:
        if id_ not in table:
            self._refuse(404, f"No {kind} matches the given query.", subject)
        return table[id_]

    def _project(self, project_id: int, subject: str) -> dict[str, Any]:
        return self._row(self._projects, project_id, "Project", subject)

    def _project_choice(self, project_id: int, subject: str) -> None:
        """Raise the error for a filter by a project if the project does not exist."""
        if project_id not in self._projects:
            self._refuse(400, {"project": [NO_CHOICE]}, subject)

    def _existing_project(self, project_id: int, subject: str) -> None:
        """Raise the error for a missing object if the project does not exist."""
        if project_id not in self._projects:
            self._refuse(400, {"project": [f'Invalid pk "{project_id}" - object does not exist.']}, subject)

    def _task(self, task_id: int, subject: str) -> StoredTask:
        if task_id not in self._tasks:
            self._refuse(404, "No Task matches the given query.", subject)
        return self._tasks[task_id]

    def _tasks_of(self, project_id: int) -> list[StoredTask]:
        return [task for task in self._tasks.values() if task.project_id == project_id]

    def _project_body(self, project_id: int) -> dict[str, Any]:
        project, tasks = self._project(project_id, f"project {project_id}"), self._tasks_of(project_id)
        return {
            **project,
            "task_number": len(tasks),
            "total_annotations_number": sum(task.submitted for task in tasks),
            "skipped_annotations_number": sum(task.cancelled for task in tasks),
            "total_predictions_number": sum(len(task.predictions) for task in tasks),
        }

    def _model_versions(self, project_id: int) -> set[Any]:
        predicted = {
            prediction["model_version"]
            for task in self._tasks_of(project_id)
            for prediction in task.predictions.values()
        }
        return predicted | {row["title"] for row in self._backends.values() if row["project"] == project_id}

    def _import(self, project_id: int, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
        subject = f"an import of {counted(len(drafts), 'task')} into project {project_id}"
        project = self._project(project_id, subject)
        for number, draft in enumerate(drafts):
            for name in re.findall(r'value="\$(\w+)"', project["label_config"]):
                if name not in draft["data"]:
                    reason = f'Error at item {number}: "{name}" key is expected in task data'
                    self._refuse(400, {"non_field_errors": [reason]}, subject)
        tasks = [self._add_task(project, draft) for draft in drafts]
        bodies = [task.body(self._email, annotations=False) for task in tasks]
        self._tell(project_id, "TASKS_CREATED", tasks=bodies)
        return [task.id for task in tasks]

    def _add_task(self, project: dict[str, Any], draft: Mapping[str, Any]) -> StoredTask:
        number = max((task.inner_id for task in self._tasks_of(project["id"])), default=0) + 1
        moment = self._now()
        task = StoredTask(
            id=self._new_id("task"),
            project_id=project["id"],
            inner_id=number,
            data=draft["data"],
            created_at=moment,
            updated_at=moment,
        )
        self._tasks[task.id] = task
        for given in draft.get("annotations") or ():
            annotation = StoredAnnotation(
                id=self._new_id("annotation"),
                result=given["result"],
                was_cancelled=bool(given.get("was_cancelled")),
                created_at=self._now(),
                updated_at=self._now(),
                import_id=given.get("id"),
            )
            task.annotations[annotation.id] = annotation
            task.count_annotations()
        for given in draft.get("predictions") or ():
            version = self._add_prediction(task, given)["model_version"]
            project["model_version"] = project["model_version"] or version
        return task

    def _add_prediction(self, task: StoredTask, given: Mapping[str, Any]) -> dict[str, Any]:
        body = {"model_version": "undefined", "score": None, **given, "id": self._new_id("prediction"), "task": task.id}
        task.predictions[body["id"]] = body
        return body

    def _add_webhook(
        self,
        project_id: int,
        url: str,
        headers: Mapping[str, str],
        actions: Sequence[str],
        *,
        send_for_all_actions: bool = False,
    ) -> Webhook:
        id_ = self._new_id("webhook")
        self._webhooks[id_] = {
            "id": id_,
            "project": project_id,
            "url": url,
            "headers": dict(headers),
            "actions": list(actions),
            "send_for_all_actions": send_for_all_actions,
            "send_payload": True,
            "is_active": True,
        }
        return Webhook.from_json(self._webhooks[id_])

    def _check_address(self, url: str, subject: str) -> None:
        if urlsplit(url).hostname in self.banned_hosts:
            self._refuse(403, "URL resolves to a reserved network address", subject)

    def _check_backend(self, url: str, subject: str) -> None:
        self._check_address(url, subject)
        if url in self.unreachable:
            reason = f"Can't connect to ML backend {url}, health check failed. Make sure it is up and your firewall"
            self._refuse(400, {"non_field_errors": [f"{reason} is properly configured."]}, subject)

    def _tell_of_annotation(self, action: str, task: StoredTask, annotation: StoredAnnotation) -> None:
        bodies = {
            "annotation": annotation.body(task, self._email),
            "task": task.body(self._email, annotations=False),
        }
        self._tell(task.project_id, action, **bodies)

    def _tell(self, project_id: int, action: str, **body: Any) -> None:
        """Send an event to those webhooks of a project that are registered for its action."""
        for row in [*self._webhooks.values()]:
            if row["project"] == project_id and (row["send_for_all_actions"] or action in row["actions"]):
                self._send_webhook(row["url"], row["headers"], action, project_id, **body)

    def _send_webhook(self, url: str, headers: Mapping[str, str], action: str, project_id: int, **body: Any) -> None:
        if self.deliver is None:
            return
        body = {"action": action, **body, "project": self._project_body(project_id)}
        try:
            self.deliver(Delivery(url=url, headers=dict(headers), body=json.loads(json.dumps(body))))
        except OSError:
            return  # sent once, and lost
