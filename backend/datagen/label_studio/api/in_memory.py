"""An in-memory fake of Label Studio, for tests of code that uses the port.

It stores projects, tasks and annotations as the real server does. It also has the properties that Datagen must allow
for: imports are not idempotent, webhooks are sent once and may be lost, events of deletions contain only ids, and a
task with half a surrogate pair cannot be sent. Its errors are those of the client (``failures``). A contract suite runs
against the fake and the real server, so that they behave alike. The fake has one user, reuses no id, and does not
validate label configs or results."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from datagen.domain.wording import counted
from datagen.errors import LabelStudioMissing
from datagen.label_studio.api import failures
from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.downloads import gone, same_origin_url, too_large
from datagen.label_studio.api.in_memory_records import (
    USER_ID,
    StoredAnnotation,
    StoredTask,
    can_send,
    ordered,
    receive,
    send,
    shown_in,
)
from datagen.label_studio.api.in_memory_server import NO_CHOICE, InMemoryServer, request
from datagen.label_studio.api.models import Backend, Counts, Project, Task, View, Webhook, stamp
from datagen.label_studio.api.port import DOWNLOAD_SECONDS, LabelStudioPort
from datagen.label_studio.api.task_listing import PAGE, note_unreadable

#: Label Studio's release whose behaviour the contract suite compares with the fake.
RELEASE = "1.23.2"
#: Largest number of characters of a project's title that Label Studio accepts.
_LONGEST_TITLE = 50
#: File name extensions that Label Studio accepts in uploads, as far as tests use them.
_UPLOADED_SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".json", ".png", ".svg", ".txt", ".webp"})
#: Options of a new project, as far as Datagen reads them.
_NEW_PROJECT: Mapping[str, Any] = {
    "description": "",
    "label_config": "<View></View>",
    "model_version": "",
    "show_collab_predictions": True,
}


class InMemoryLabelStudio(InMemoryServer):
    """An in-memory server with the requests of Datagen's client. ``LabelStudioPort`` documents the methods."""

    @property
    def token_kind(self) -> TokenKind:
        """See ``LabelStudioPort``."""
        self.whoami()
        return self._token_kind

    @request
    def version(self) -> str:
        """See ``LabelStudioPort``."""
        return RELEASE

    @request
    def whoami(self) -> str:
        """See ``LabelStudioPort``."""
        return self._email

    # -- projects

    @request
    def find_projects(self, title_part: str) -> list[Project]:
        """See ``LabelStudioPort``."""
        return [
            Project.from_json({"id": project["id"], "title": project["title"]})
            for project in self._projects.values()
            if title_part.casefold() in project["title"].casefold()
        ]

    @request
    def project(self, project_id: int) -> Project:
        """See ``LabelStudioPort``."""
        return Project.from_json(self._project_body(project_id))

    @request
    def counts(self, project_ids: Sequence[int]) -> dict[int, Counts]:
        """See ``LabelStudioPort``."""
        return {id_: Counts.from_json(self._project_body(id_)) for id_ in project_ids if id_ in self._projects}

    @request
    def create_project(self, title: str, options: Mapping[str, Any]) -> Project:
        """See ``LabelStudioPort``."""
        if len(title) > _LONGEST_TITLE:
            reason = {"title": [f"Ensure this field has no more than {_LONGEST_TITLE} characters."]}
            self._refuse(400, reason, f"project “{title}”")
        id_ = self._new_id("project")
        self._projects[id_] = {**_NEW_PROJECT, **send(dict(options)), "id": id_, "title": title}
        self._projects[id_]["updated_at"] = self._now()
        return Project.from_json(self._project_body(id_))

    @request
    def update_project(self, project_id: int, options: Mapping[str, Any]) -> Project:
        """See ``LabelStudioPort``."""
        project = self._project(project_id, f"project {project_id}")
        version = options.get("model_version", "")
        if version not in ("", project["model_version"], *self._model_versions(project_id)):
            reason = {"model_version": ["Model version doesn't exist either as live model or as static predictions."]}
            self._refuse(400, reason, f"project {project_id}")
        project.update(send(dict(options)))
        project["updated_at"] = self._now()
        self._tell(project_id, "PROJECT_UPDATED")
        return Project.from_json(self._project_body(project_id))

    @request
    def delete_project(self, project_id: int) -> None:
        """See ``LabelStudioPort``."""
        self._projects.pop(project_id, None)
        self._tasks = {id_: task for id_, task in self._tasks.items() if task.project_id != project_id}
        self._files = {path: file for path, file in self._files.items() if file[0] != project_id}
        for table in (self._webhooks, self._backends, self._views):
            for id_ in [id_ for id_, row in table.items() if row["project"] == project_id]:
                del table[id_]

    # -- tasks

    def task(self, task_id: int, project_id: int | None = None) -> Task:
        """See ``LabelStudioPort``."""
        if project_id is None:
            return self._one_task(task_id)
        for task in self.tasks(project_id, ids=[task_id]):
            return task
        raise LabelStudioMissing(f"Label Studio does not have task {task_id} in project {project_id}.")

    @request
    def _one_task(self, task_id: int) -> Task:
        body = self._task(task_id, f"task {task_id}").body(self._email, annotations=True)
        if not can_send(body):
            raise failures.fault(failures.RequestFailed, f"task {task_id}")
        return Task.from_json(receive(body), _own_id)

    def tasks(
        self,
        project_id: int,
        *,
        view_id: int | None = None,
        ids: Sequence[int] | None = None,
        batch: str | None = None,
        updated_since: str | None = None,
        after: int = 0,
        annotations: bool = True,
        unreadable: list[int] | None = None,
    ) -> Iterator[Task]:
        """See ``LabelStudioPort``."""
        selected = None if ids is None else frozenset(ids)
        since = stamp(updated_since)
        last, page_number = after, 0
        while True:
            if view_id is not None:
                page = self._tab_page(project_id, view_id, page_number)
            else:
                page = [
                    task
                    for task in self._page(project_id, last)
                    if (selected is None or task.id in selected)
                    and (batch is None or task.data.get("batch") == batch)
                    and task.updated_at >= since
                ][:PAGE]
            bodies = [(task.id, task.body(self._email, annotations=annotations)) for task in page]
            sendable = [(id_, receive(body) if can_send(body) else None) for id_, body in bodies]
            for task_id, body in sendable:
                if body is None:
                    note_unreadable(project_id, task_id, unreadable)
                else:
                    yield Task.from_json(body, _own_id)
            if len(page) < PAGE:
                return
            last, page_number = page[-1].id, page_number + 1

    @request
    def _page(self, project_id: int, last: int) -> list[StoredTask]:
        self._project(project_id, f"the tasks of project {project_id}")
        return [task for task in self._tasks_of(project_id) if task.id > last]

    @request
    def _tab_page(self, project_id: int, view_id: int, number: int) -> list[StoredTask]:
        subject = f"page {number + 1} of the tasks in tab {view_id} of project {project_id}"
        self._project(project_id, subject)
        data = self._row(self._views, view_id, "View", subject)["data"]
        shown = [task for task in self._tasks_of(project_id) if shown_in(task, data)]
        return ordered(shown, data)[number * PAGE : (number + 1) * PAGE]

    @request
    def stamps(
        self, project_id: int, *, updated_since: str | None = None, key: str | None = None
    ) -> list[tuple[int, str]]:
        """See ``LabelStudioPort``."""
        self._project(project_id, f"the tasks of project {project_id}")
        since = stamp(updated_since)
        return [
            (task.id, task.updated_at)
            for task in self._tasks_of(project_id)
            if task.updated_at >= since and (key is None or task.data.get("datagen_key") == key)
        ]

    @request
    def import_tasks(self, project_id: int, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
        """See ``LabelStudioPort``."""
        if not drafts:
            return []
        return self._import(project_id, send([dict(draft) for draft in drafts]))

    @request
    def upload(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """See ``LabelStudioPort``."""
        names = ", ".join(name for name, _ in files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
        subject = f"the upload of {names} into project {project_id}"
        if not files:
            return []
        self._project(project_id, subject)
        for name, _ in files:
            suffix = PurePosixPath(name).suffix.lower()
            if suffix not in _UPLOADED_SUFFIXES:
                self._refuse(400, {"non_field_errors": [f"{suffix} extension is not supported".lstrip()]}, subject)
        paths = []
        for name, data in files:
            cleaned = re.sub(r"[^\w.-]", "", name.replace(" ", "_"))
            paths.append(f"/data/upload/{project_id}/{self._new_id('file'):08x}-{cleaned}")
            self._files[paths[-1]] = project_id, data
        return paths

    @request
    def update_task_data(self, task_id: int, data: Mapping[str, Any], *, finished: bool | None = None) -> None:
        """See ``LabelStudioPort``."""
        task = self._task(task_id, f"task {task_id}")
        task.data = send(dict(data))
        task.is_finished = task.is_finished if finished is None else finished
        task.updated_at = self._now()
        if not can_send(task.body(self._email, annotations=True)):  # the response holds the annotations
            self._refuse(500, "no reason given", f"task {task_id}")

    @request
    def set_finished(self, task_id: int, finished: bool) -> None:
        """See ``LabelStudioPort``."""
        task = self._task(task_id, f"task {task_id}")
        task.is_finished, task.updated_at = finished, self._now()

    @request
    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """See ``LabelStudioPort``."""
        if not task_ids:
            return
        self._project(project_id, f"{counted(len(task_ids), 'task')} of project {project_id}")
        deleted = [task.id for task in self._tasks_of(project_id) if task.id in set(task_ids)]
        for task_id in deleted:
            del self._tasks[task_id]
        if deleted:
            self._tell(project_id, "TASKS_DELETED", tasks=[{"id": task_id} for task_id in deleted])
        if not self._tasks_of(project_id):
            self._views = {id_: view for id_, view in self._views.items() if view["project"] != project_id}

    @request
    def fetch(
        self,
        url_or_path: str,
        *,
        max_bytes: int,
        seconds: float = DOWNLOAD_SECONDS,  # noqa: ARG002 - takes no time
        cancelled: threading.Event | None = None,  # noqa: ARG002
    ) -> bytes:
        """See ``LabelStudioPort``."""
        url = same_origin_url(self.url, self.url + "/", url_or_path.strip())
        path = urlsplit(url).path
        if not path.startswith("/data/upload/"):
            self._refuse(404, "no reason given", f"the image {url}")
        if path not in self._files:
            raise gone(url)
        data = self._files[path][1]
        if len(data) > max_bytes:
            raise too_large(url, max_bytes)
        return data

    # -- predictions and annotations

    @request
    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """See ``LabelStudioPort``."""
        subject = f"the predictions of task {task_id}"
        if task_id not in self._tasks:
            self._refuse(400, {"task": [NO_CHOICE]}, subject)
        return [dict(prediction) for prediction in receive([*self._tasks[task_id].predictions.values()])]

    def replace_predictions(self, task_id: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """See ``LabelStudioPort``."""
        old = self.predictions(task_id)
        for prediction in predictions:
            self._create_prediction(task_id, prediction)
        for prediction in old:
            self._delete_prediction(task_id, prediction["id"])

    @request
    def _create_prediction(self, task_id: int, prediction: Mapping[str, Any]) -> None:
        task = self._task(task_id, f"a prediction for task {task_id}")
        self._add_prediction(task, send(dict(prediction)))
        task.updated_at = self._now()

    @request
    def _delete_prediction(self, task_id: int, prediction_id: int) -> None:
        task = self._task(task_id, f"prediction {prediction_id}")
        del task.predictions[prediction_id]
        task.updated_at = self._now()

    @request
    def annotate(
        self,
        task_id: int,
        result: Sequence[Mapping[str, Any]],
        *,
        was_cancelled: bool = False,
        completed_by: int | None = None,
    ) -> int:
        """See ``LabelStudioPort``."""
        subject = f"an annotation of task {task_id}"
        task = self._task(task_id, subject)
        submitter = self._acting if completed_by is None else completed_by
        if submitter not in self.people:
            self._refuse(400, {"completed_by": [f'Invalid pk "{submitter}" - object does not exist.']}, subject)
        moment = self._now()
        annotation = StoredAnnotation(
            id=self._new_id("annotation"),
            result=send([dict(region) for region in result]),
            was_cancelled=was_cancelled,
            created_at=moment,
            updated_at=moment,
            updated_by=self._acting,
            submitted_by=submitter,
            submitter=self.people[submitter],
        )
        task.annotations[annotation.id] = annotation
        task.count_annotations()
        task.updated_at = self._now()
        self._tell_of_annotation("ANNOTATION_CREATED", task, annotation)
        return annotation.id

    def update_annotation(self, annotation_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """See ``LabelStudioPort``."""
        self.edit_annotation(annotation_id, result=[dict(region) for region in result])

    @request
    def delete_annotation(self, annotation_id: int) -> None:
        """See ``LabelStudioPort``."""
        for task in self._tasks.values():
            if task.annotations.pop(annotation_id, None) is not None:
                task.count_annotations()
                task.updated_at = self._now()
                self._tell(task.project_id, "ANNOTATIONS_DELETED", annotations=[{"id": annotation_id}])

    # -- webhooks

    @request
    def webhooks(self, project_id: int) -> list[Webhook]:
        """See ``LabelStudioPort``."""
        self._project_choice(project_id, f"the webhooks of project {project_id}")
        return [Webhook.from_json(row) for row in self._webhooks.values() if row["project"] == project_id]

    @request
    def create_webhook(self, project_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """See ``LabelStudioPort``."""
        subject = f"the webhook to {url} of project {project_id}"
        self._check_address(url, subject)
        self._existing_project(project_id, subject)
        return self._add_webhook(project_id, url, headers, actions)

    @request
    def update_webhook(self, webhook_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """See ``LabelStudioPort``."""
        subject = f"webhook {webhook_id} to {url}"
        row = self._row(self._webhooks, webhook_id, "Webhook", subject)
        self._check_address(url, subject)
        row |= {"url": url, "headers": dict(headers), "actions": list(actions), "send_for_all_actions": False}
        row["is_active"] = row["send_payload"] = True
        return Webhook.from_json(row)

    @request
    def delete_webhook(self, webhook_id: int) -> None:
        """See ``LabelStudioPort``."""
        self._webhooks.pop(webhook_id, None)

    @request
    def check_addresses(self, url: str) -> None:
        """See ``LabelStudioPort``."""
        self._check_address(url, f"a connection to {url}/webhook")

    # -- ML backends

    @request
    def backends(self, project_id: int) -> list[Backend]:
        """See ``LabelStudioPort``."""
        self._project(project_id, f"the ML backends of project {project_id}")
        rows = [row for row in self._backends.values() if row["project"] == project_id]
        for row in rows:
            row["state"] = "DI" if row["url"] in self.unreachable else "CO"
        return [Backend.from_json(row) for row in rows]

    @request
    def create_backend(self, project_id: int, url: str, title: str, user: str, password: str) -> Backend:
        """See ``LabelStudioPort``."""
        subject = f"the ML backend {url} of project {project_id}"
        self._check_backend(url, subject)
        self._existing_project(project_id, subject)
        id_ = self._new_id("backend")
        self._backends[id_] = _backend(id_, project_id, url, title, user, password)
        address = f"{url.rstrip('/')}/webhook"
        if not any(row["project"] == project_id and row["url"] == address for row in self._webhooks.values()):
            self._add_webhook(project_id, address, {}, (), send_for_all_actions=True)
        return Backend.from_json(self._backends[id_])

    @request
    def update_backend(
        self, backend: Backend, project_id: int, url: str, title: str, user: str, password: str
    ) -> Backend:
        """See ``LabelStudioPort``."""
        subject = f"the ML backend {url} of project {project_id}"
        self._row(self._backends, backend.id, "MLBackend", subject)
        self._check_backend(url, subject)
        self._backends[backend.id] = _backend(backend.id, project_id, url, title, user, password)
        return Backend.from_json(self._backends[backend.id])

    @request
    def delete_backend(self, backend_id: int) -> None:
        """See ``LabelStudioPort``."""
        self._backends.pop(backend_id, None)

    # -- tabs

    @request
    def views(self, project_id: int) -> list[View]:
        """See ``LabelStudioPort``."""
        self._project_choice(project_id, f"the tabs of project {project_id}")
        return [View.from_json(receive(row)) for row in self._views.values() if row["project"] == project_id]

    @request
    def create_view(self, project_id: int, data: Mapping[str, Any]) -> View:
        """See ``LabelStudioPort``."""
        self._existing_project(project_id, f"the tab “{data.get('title')}” of project {project_id}")
        id_ = self._new_id("view")
        self._views[id_] = {"id": id_, "project": project_id, "data": send(dict(data))}
        return View.from_json(receive(self._views[id_]))

    @request
    def update_view(self, view_id: int, project_id: int, data: Mapping[str, Any]) -> View:
        """See ``LabelStudioPort``."""
        row = self._row(self._views, view_id, "View", f"tab {view_id}")
        row |= {"project": project_id, "data": send(dict(data))}
        return View.from_json(receive(row))

    @request
    def delete_view(self, view_id: int) -> None:
        """See ``LabelStudioPort``."""
        self._views.pop(view_id, None)


def _own_id() -> int:
    return USER_ID


def _backend(id_: int, project_id: int, url: str, title: str, user: str, password: str) -> dict[str, Any]:
    return {
        "id": id_,
        "project": project_id,
        "url": url,
        "title": title,
        "state": "CO",
        "error_message": "",
        "basic_auth_user": user,
        "basic_auth_pass": password,
    }


if TYPE_CHECKING:
    _port: LabelStudioPort = InMemoryLabelStudio()
