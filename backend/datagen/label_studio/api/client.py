"""Client of the part of Label Studio's API that Datagen uses: ``port.LabelStudioPort`` over HTTP.

It uses httpx rather than the SDK's client. The SDK has no upload, reads every field of a task (1.7 s for 1,000 tasks,
where a listing of four fields takes 0.5 s), and defines its own error types for each resource. The client makes no
decisions. Only ``task_publisher`` may write tasks.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from datagen.domain.wording import counted
from datagen.errors import AddressRefused, LabelStudioError, LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.downloads import fetch
from datagen.label_studio.api.http import READ_ATTEMPTS, TIMEOUT, Connection
from datagen.label_studio.api.models import Backend, Counts, Project, Task, View, Webhook
from datagen.label_studio.api.port import DOWNLOAD_SECONDS
from datagen.label_studio.api.task_listing import PAGE, TaskQuery, list_stamps, list_tab, list_tasks
from datagen.label_studio.api.uploads import upload

#: Label Studio's maximum page size for a listing of projects.
_MAX_PROJECTS = 100


class LabelStudio:
    """Client of one Label Studio server, authenticated with one user's token of either kind.

    Every method may raise LabelStudioUnavailable (a retry may succeed), LabelStudioMissing (not found) or
    LabelStudioError (refused; the message names the fix). A method that reads may also raise LabelStudioFault (the
    server is up and fails only at this request). A read is retried a few times; a write is never retried.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        transport: httpx.BaseTransport | None = None,
        timeout: httpx.Timeout = TIMEOUT,
        read_attempts: int = READ_ATTEMPTS,
    ) -> None:
        self._at = Connection(url, api_key, transport=transport, timeout=timeout, read_attempts=read_attempts)

    @property
    def url(self) -> str:
        """Label Studio's address, without a slash at the end."""
        return self._at.url

    @property
    def token_kind(self) -> TokenKind:
        """The kind of token; the first access sends a request to Label Studio."""
        if self._at.token_kind is None:
            self.whoami()
        kind = self._at.token_kind
        assert kind is not None
        return kind

    def close(self) -> None:
        """Close the sockets."""
        self._at.close()

    def version(self) -> str:
        """Label Studio's release, e.g. ``1.23.2``."""
        return str(self._at.get("/api/version", "the version")["release"])

    def whoami(self) -> str:
        """The e-mail address of the token's user."""
        return str(self._at.get("/api/current-user/whoami", "the token's user")["email"])

    # -- projects

    def find_projects(self, title_part: str) -> list[Project]:
        """Every project whose title contains ``title_part`` (case-insensitive), oldest first; id and title only."""
        params: dict[str, Any] = {"title": title_part, "include": "id,title", "page_size": 100, "page": 1}
        projects: list[Project] = []
        while True:
            page = self._at.get("/api/projects/", "the projects", params)
            projects += [Project.from_json(body) for body in page["results"]]
            if not page["next"]:
                return sorted(projects, key=lambda project: project.id)
            params["page"] += 1

    def project(self, project_id: int) -> Project:
        """One project with all its options."""
        return Project.from_json(self._at.get(f"/api/projects/{project_id}/", f"project {project_id}"))

    def counts(self, project_ids: Sequence[int]) -> dict[int, Counts]:
        """The counts of these projects, requested for a hundred projects at a time. A deleted project is left out."""
        counts: dict[int, Counts] = {}
        for start in range(0, len(project_ids), _MAX_PROJECTS):
            page_ids = project_ids[start : start + _MAX_PROJECTS]
            params = {
                "ids": ",".join(map(str, page_ids)),
                "include": "id,task_number,total_annotations_number,skipped_annotations_number",
                "page_size": _MAX_PROJECTS,
            }
            page = self._at.get("/api/projects/counts/", f"the counts of {counted(len(page_ids), 'project')}", params)
            counts |= {int(body["id"]): Counts.from_json(body) for body in page["results"]}
        return counts

    def create_project(self, title: str, options: Mapping[str, Any]) -> Project:
        """Create a project and return it; ``options`` are fields of the API, such as ``label_config``."""
        body = {"title": title, **options}
        return Project.from_json(self._at.write("POST", "/api/projects/", f"project “{title}”", body))

    def update_project(self, project_id: int, options: Mapping[str, Any]) -> Project:
        """Change some options of a project and return it."""
        subject = f"project {project_id}"
        return Project.from_json(self._at.write("PATCH", f"/api/projects/{project_id}/", subject, dict(options)))

    def delete_project(self, project_id: int) -> None:
        """Delete a project with all its tasks; a missing project is not an error."""
        self._delete(f"/api/projects/{project_id}/", f"project {project_id}")

    # -- tasks

    def task(self, task_id: int, project_id: int | None = None) -> Task:
        """One task with its annotations.

        Without ``project_id``, Label Studio first requests predictions from a connected ML backend if the task has
        none. With ``project_id``, it does not.
        """
        if project_id is None:
            return Task.from_json(self._at.get(f"/api/tasks/{task_id}/", f"task {task_id}"), self._at.user_id)
        for task in self.tasks(project_id, ids=[task_id]):
            return task
        raise LabelStudioMissing(f"Label Studio does not have task {task_id} in project {project_id}.")

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
        page_size: int = PAGE,
        unreadable: list[int] | None = None,
    ) -> Iterator[Task]:
        """The tasks of a project, or of one of its tabs, page by page.

        ``batch`` selects tasks by ``data.batch``. ``updated_since`` (ISO 8601) selects tasks that were created or
        updated at that time or later; creating, changing or deleting an annotation updates its task. ``after`` selects
        tasks with a larger id. Tasks are sorted by id. With ``view_id``, the tab's own filters and order apply, and no
        further filters are possible. Without ``annotations``, a listing is about twice as fast.

        Label Studio may hold tasks that it cannot send (see ``task_listing``). Their ids are added to ``unreadable``,
        and the other tasks are read. If ``unreadable`` is None, the first such task raises LabelStudioFault, which
        names it.
        """
        if view_id is not None:
            return list_tab(
                self._at,
                project_id,
                view_id,
                annotations=annotations,
                page_size=page_size,
                unreadable=unreadable,
            )
        wanted = TaskQuery(ids=ids, batch=batch, updated_since=updated_since, after=after)
        return list_tasks(
            self._at, project_id, wanted, annotations=annotations, page_size=page_size, unreadable=unreadable
        )

    def stamps(
        self, project_id: int, *, updated_since: str | None = None, key: str | None = None
    ) -> list[tuple[int, str]]:
        """The ids and update times of tasks. This is the cheapest query about the tasks of a project.

        ``updated_since`` selects tasks as in ``tasks``. ``key`` selects tasks by ``data.datagen_key``. Tasks that Label
        Studio cannot send are included.
        """
        return list(list_stamps(self._at, project_id, TaskQuery(updated_since=updated_since, key=key)))

    def import_tasks(self, project_id: int, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
        """Create tasks (``data``, ``predictions``, ``annotations``) in one request; return their ids in order.

        This is not idempotent: if the list is sent again, the tasks are created again. ``task_publisher.ensure_tasks``
        is idempotent.
        """
        if not drafts:
            return []
        answer = self._at.write(
            "POST",
            f"/api/projects/{project_id}/import",
            f"an import of {counted(len(drafts), 'task')} into project {project_id}",
            [dict(draft) for draft in drafts],
            params={"return_task_ids": "true"},
        )
        if "task_ids" not in answer:
            raise LabelStudioError(
                "Label Studio imports in the background (Enterprise); the community edition is needed."
            )
        return [int(task_id) for task_id in answer["task_ids"]]

    def upload(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Store files (name, bytes) in a project, without a task; return their ``/data/upload/…`` paths in order."""
        return upload(self._at, project_id, files)

    def update_task_data(self, task_id: int, data: Mapping[str, Any], *, finished: bool | None = None) -> None:
        """Replace a task's data, and set whether it is finished (see ``set_finished``) unless ``finished`` is None."""
        body: dict[str, Any] = {"data": dict(data)}
        if finished is not None:
            body["is_labeled"] = finished
        self._at.write("PATCH", f"/api/tasks/{task_id}/", f"task {task_id}", body)

    def set_finished(self, task_id: int, finished: bool) -> None:
        """Set whether Label Studio counts a task as finished. It serves only unfinished tasks to annotators.

        Label Studio sets this itself whenever an annotation of the task is created, changed or deleted: a task with an
        annotation that is not a skip is then finished.
        """
        self._at.write("PATCH", f"/api/tasks/{task_id}/", f"task {task_id}", {"is_labeled": finished})

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks with their annotations and predictions; missing tasks are not an error.

        Label Studio also deletes all tabs of a project that has no task left.
        """
        if task_ids:
            self._at.write(
                "POST",
                "/api/dm/actions/",
                f"{counted(len(task_ids), 'task')} of project {project_id}",
                {"project": project_id, "selectedItems": {"all": False, "included": list(task_ids)}},
                params={"id": "delete_tasks", "project": project_id},
            )

    def fetch(
        self,
        url_or_path: str,
        *,
        max_bytes: int,
        seconds: float = DOWNLOAD_SECONDS,
        cancelled: threading.Event | None = None,
    ) -> bytes:
        """The content of a file on Label Studio; see ``downloads.fetch``."""
        return fetch(self._at, url_or_path, max_bytes=max_bytes, seconds=seconds, cancelled=cancelled)

    # -- predictions and annotations

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """A task's predictions, in the API's form."""
        predictions = self._at.get("/api/predictions/", f"the predictions of task {task_id}", {"task": task_id})
        return [dict(prediction) for prediction in predictions]

    def replace_predictions(self, task_id: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Replace a task's predictions; the new ones are created before the old ones are deleted."""
        old = self.predictions(task_id)
        for prediction in predictions:
            body = {"task": task_id, **prediction}
            self._at.write("POST", "/api/predictions/", f"a prediction for task {task_id}", body)
        for prediction in old:
            self._delete(f"/api/predictions/{prediction['id']}/", f"prediction {prediction['id']}")

    def annotate(
        self,
        task_id: int,
        result: Sequence[Mapping[str, Any]],
        *,
        was_cancelled: bool = False,
        completed_by: int | None = None,
    ) -> int:
        """Submit an annotation; return its id. This triggers the webhook.

        It is that of the user with the id ``completed_by``, or of the token's user. The token's user remains the one
        who updated it last; ``authorship`` says whose content it is. With ``was_cancelled`` the annotation is a skip.
        """
        body: dict[str, Any] = {"result": [dict(region) for region in result], "was_cancelled": was_cancelled}
        if completed_by is not None:
            body["completed_by"] = completed_by
        path = f"/api/tasks/{task_id}/annotations/"
        return int(self._at.write("POST", path, f"an annotation of task {task_id}", body)["id"])

    def update_annotation(self, annotation_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Replace an annotation's result; its submitter stays the same."""
        subject = f"annotation {annotation_id}"
        self._at.write(
            "PATCH", f"/api/annotations/{annotation_id}/", subject, {"result": [dict(region) for region in result]}
        )

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete an annotation; a missing annotation is not an error."""
        self._delete(f"/api/annotations/{annotation_id}/", f"annotation {annotation_id}")

    # -- webhooks

    def webhooks(self, project_id: int) -> list[Webhook]:
        """A project's webhooks, oldest first."""
        webhooks = self._at.get("/api/webhooks/", f"the webhooks of project {project_id}", {"project": project_id})
        return sorted((Webhook.from_json(body) for body in webhooks), key=lambda webhook: webhook.id)

    def create_webhook(self, project_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """Register a webhook for exactly these actions and return it."""
        body = {"project": project_id, **_webhook(url, headers, actions)}
        subject = f"the webhook to {url} of project {project_id}"
        return Webhook.from_json(self._at.write("POST", "/api/webhooks/", subject, body))

    def update_webhook(self, webhook_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """Set all fields of a webhook in one request, because Label Studio removes the actions that an update omits."""
        body = _webhook(url, headers, actions)
        return Webhook.from_json(
            self._at.write("PATCH", f"/api/webhooks/{webhook_id}/", f"webhook {webhook_id} to {url}", body)
        )

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook; a missing webhook is not an error."""
        self._delete(f"/api/webhooks/{webhook_id}/", f"webhook {webhook_id}")

    def check_addresses(self, url: str) -> None:
        """Check that Label Studio accepts ``url`` for webhooks and for an ML backend. Neither is created.

        The requests name project 0, which does not exist. Label Studio checks the address before it checks the project.

        Raises:
            AddressRefused: Label Studio refuses the address; the message names the setting.
        """
        for path, address in (("/api/webhooks/", f"{url}/webhook"), ("/api/ml/", url)):
            try:
                self._at.write("POST", path, f"a connection to {address}", {"project": 0, "url": address})
            except (AddressRefused, LabelStudioUnavailable):
                raise
            except LabelStudioError as refusal:
                if "object does not exist" not in str(refusal):
                    raise

    # -- ML backends

    def backends(self, project_id: int) -> list[Backend]:
        """The ML-backend connections of a project, oldest first. Label Studio first requests /health of each."""
        backends = self._at.get("/api/ml/", f"the ML backends of project {project_id}", {"project": project_id})
        return sorted((Backend.from_json(body) for body in backends), key=lambda backend: backend.id)

    def create_backend(self, project_id: int, url: str, title: str, user: str, password: str) -> Backend:
        """Connect an ML backend with basic auth. Label Studio requests its /health and /setup before it responds."""
        body = {"project": project_id, **_backend(url, title, user, password)}
        subject = f"the ML backend {url} of project {project_id}"
        return Backend.from_json(self._at.write("POST", "/api/ml/", subject, body))

    def update_backend(
        self, backend: Backend, project_id: int, url: str, title: str, user: str, password: str
    ) -> Backend:
        """Set the address, title, user and password of a connection."""
        body = {"project": project_id, **_backend(url, title, user, password)}
        subject = f"the ML backend {url} of project {project_id}"
        return Backend.from_json(self._at.write("PATCH", f"/api/ml/{backend.id}", subject, body))

    def delete_backend(self, backend_id: int) -> None:
        """Delete a connection; a missing connection is not an error. The webhook that was created with it is kept."""
        self._delete(f"/api/ml/{backend_id}", f"ML backend {backend_id}")

    # -- tabs

    def views(self, project_id: int) -> list[View]:
        """A project's saved tabs, in the order shown."""
        views = self._at.get("/api/dm/views/", f"the tabs of project {project_id}", {"project": project_id})
        return [View.from_json(body) for body in views]

    def create_view(self, project_id: int, data: Mapping[str, Any]) -> View:
        """Save a tab; ``data`` holds title, filters, ordering and so on."""
        body = {"project": project_id, "data": dict(data)}
        subject = f"the tab “{data.get('title')}” of project {project_id}"
        return View.from_json(self._at.write("POST", "/api/dm/views/", subject, body))

    def update_view(self, view_id: int, project_id: int, data: Mapping[str, Any]) -> View:
        """Change a saved tab."""
        body = {"project": project_id, "data": dict(data)}
        return View.from_json(self._at.write("PATCH", f"/api/dm/views/{view_id}/", f"tab {view_id}", body))

    def delete_view(self, view_id: int) -> None:
        """Delete a saved tab; a missing tab is not an error."""
        self._delete(f"/api/dm/views/{view_id}/", f"tab {view_id}")

    def _delete(self, path: str, subject: str) -> None:
        try:
            self._at.write("DELETE", path, subject)
        except LabelStudioMissing:
            return  # already deleted


def _webhook(url: str, headers: Mapping[str, str], actions: Sequence[str]) -> dict[str, Any]:
    return {
        "url": url,
        "headers": dict(headers),
        "actions": list(actions),
        "send_for_all_actions": False,
        "send_payload": True,
        "is_active": True,
    }


def _backend(url: str, title: str, user: str, password: str) -> dict[str, Any]:
    return {
        "url": url,
        "title": title,
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": user,
        "basic_auth_pass": password,
        "is_interactive": False,
    }
