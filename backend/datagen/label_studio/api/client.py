"""Label Studio's API, as far as the product uses it: one method a call, our values out, our errors.

httpx rather than the SDK's client: the SDK has no upload, reads every field of a task (1.7 s for 1,000 tasks, where the
listing asked for four fields takes 0.5 s), and has error types of its own for each thing. Nothing here decides
anything; writing tasks is the ``publisher``'s business alone.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import httpx

from datagen.domain.wording import counted
from datagen.errors import AddressRefused, LabelStudioError, LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.downloads import DOWNLOAD_SECONDS, fetch
from datagen.label_studio.api.http import READ_ATTEMPTS, TIMEOUT, Connection
from datagen.label_studio.api.models import Backend, Counts, Project, Task, View, Webhook
from datagen.label_studio.api.task_listing import PAGE, TaskQuery, list_stamps, list_tab, list_tasks
from datagen.label_studio.api.uploads import upload

#: Label Studio lists no more projects in a page.
_MOST_PROJECTS = 100


class LabelStudio:
    """One Label Studio, reached with one user's token (of either kind).

    Every method may raise LabelStudioUnavailable (worth a retry), LabelStudioMissing (not there) or LabelStudioError
    (a refusal; the sentence names the fix); one that reads also LabelStudioFault (it is up, and fails at this alone).
    Reads are tried again a few times; writes never are.
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
        """Which kind of token this is; asks Label Studio the first time."""
        if self._at.token_kind is None:
            self.whoami()
        kind = self._at.token_kind
        assert kind is not None
        return kind

    def close(self) -> None:
        """Give the sockets back."""
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
        found: list[Project] = []
        while True:
            page = self._at.get("/api/projects/", "the projects", params)
            found += [Project.from_json(one) for one in page["results"]]
            if not page["next"]:
                return sorted(found, key=lambda one: one.id)
            params["page"] += 1

    def project(self, project_id: int) -> Project:
        """One project with all its options."""
        return Project.from_json(self._at.get(f"/api/projects/{project_id}/", f"project {project_id}"))

    def counts(self, project_ids: Sequence[int]) -> dict[int, Counts]:
        """How much there is in each of these projects, a hundred in one request; one that is gone is left out."""
        found: dict[int, Counts] = {}
        for start in range(0, len(project_ids), _MOST_PROJECTS):
            some = project_ids[start : start + _MOST_PROJECTS]
            params = {
                "ids": ",".join(map(str, some)),
                "include": "id,task_number,total_annotations_number,skipped_annotations_number",
                "page_size": _MOST_PROJECTS,
            }
            page = self._at.get("/api/projects/counts/", f"the counts of {counted(len(some), 'project')}", params)
            found |= {int(one["id"]): Counts.from_json(one) for one in page["results"]}
        return found

    def create_project(self, title: str, options: Mapping[str, Any]) -> Project:
        """Make a project; ``options`` are the API's fields, such as ``label_config``."""
        body = {"title": title, **options}
        return Project.from_json(self._at.write("POST", "/api/projects/", f"project “{title}”", body))

    def update_project(self, project_id: int, options: Mapping[str, Any]) -> Project:
        """Change some options."""
        what = f"project {project_id}"
        return Project.from_json(self._at.write("PATCH", f"/api/projects/{project_id}/", what, dict(options)))

    def delete_project(self, project_id: int) -> None:
        """Delete a project with all its tasks; one that is gone is no error."""
        self._delete(f"/api/projects/{project_id}/", f"project {project_id}")

    # -- tasks

    def task(self, task_id: int, project_id: int | None = None) -> Task:
        """One task with its annotations.

        Without ``project_id`` Label Studio asks a connected ML backend for predictions first when the task has none;
        with it, it does not.
        """
        if project_id is None:
            return Task.from_json(self._at.get(f"/api/tasks/{task_id}/", f"task {task_id}"))
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
        annotations: bool = True,
        page_size: int = PAGE,
        unreadable: list[int] | None = None,
    ) -> Iterator[Task]:
        """The tasks of a project, or of one of its tabs, page by page; without ``annotations`` about twice as fast.

        ``batch`` keeps those whose ``data.batch`` is it; ``updated_since`` (ISO 8601) those made or touched then or
        later: an annotation made, changed or deleted touches its task. In the order of the ids; a tab has its own
        filters and order, and cannot be narrowed further.

        Label Studio may hold tasks that it cannot send, see ``listing``: their ids are added to ``unreadable``, and the
        others are read; where ``unreadable`` is None, the first one raises LabelStudioFault and is named in it.
        """
        if view_id is not None:
            return list_tab(
                self._at, project_id, view_id, annotations=annotations, page_size=page_size, unreadable=unreadable
            )
        wanted = TaskQuery(ids=ids, batch=batch, updated_since=updated_since)
        return list_tasks(
            self._at, project_id, wanted, annotations=annotations, page_size=page_size, unreadable=unreadable
        )

    def stamps(
        self, project_id: int, *, updated_since: str | None = None, key: str | None = None
    ) -> list[tuple[int, str]]:
        """The numbers of tasks and when they were touched: the cheapest question of all about a project's tasks.

        ``updated_since``: see ``tasks``. ``key`` keeps those whose ``data.datagen_key`` is it, also tasks that Label
        Studio cannot send.
        """
        return list(list_stamps(self._at, project_id, TaskQuery(updated_since=updated_since, key=key)))

    def import_tasks(self, project_id: int, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
        """Make tasks (``data``, ``predictions``, ``annotations``) in one request; their ids, in order.

        Not idempotent: the same list twice makes twice the tasks. ``publisher.ensure_tasks`` is.
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
        return [int(one) for one in answer["task_ids"]]

    def upload(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Store files (name, bytes) in a project; their ``/data/upload/…`` paths, in order. Makes no task."""
        return upload(self._at, project_id, files)

    def update_task_data(self, task_id: int, data: Mapping[str, Any]) -> None:
        """Replace a task's data."""
        self._at.write("PATCH", f"/api/tasks/{task_id}/", f"task {task_id}", {"data": dict(data)})

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks with what belongs to them; those that are gone are no error.

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
        """A file of Label Studio's own; see ``fetch.fetch``."""
        return fetch(self._at, url_or_path, max_bytes=max_bytes, seconds=seconds, cancelled=cancelled)

    # -- predictions and annotations

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """A task's predictions, in the API's form."""
        found = self._at.get("/api/predictions/", f"the predictions of task {task_id}", {"task": task_id})
        return [dict(one) for one in found]

    def create_prediction(self, task_id: int, prediction: Mapping[str, Any]) -> int:
        """Add a prediction (``result``, ``model_version``, ``score``) to a task; its id."""
        body = {"task": task_id, **prediction}
        return int(self._at.write("POST", "/api/predictions/", f"a prediction for task {task_id}", body)["id"])

    def replace_predictions(self, task_id: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Give a task these predictions and no others; new ones are there before the old ones go."""
        old = self.predictions(task_id)
        for prediction in predictions:
            self.create_prediction(task_id, prediction)
        for one in old:
            self._delete(f"/api/predictions/{one['id']}/", f"prediction {one['id']}")

    def annotate(self, task_id: int, result: Sequence[Mapping[str, Any]], *, was_cancelled: bool = False) -> int:
        """Submit an annotation as the token's user (``was_cancelled``: skip); its id. Fires Label Studio's webhook."""
        body = {"result": [dict(one) for one in result], "was_cancelled": was_cancelled}
        path = f"/api/tasks/{task_id}/annotations/"
        return int(self._at.write("POST", path, f"an annotation of task {task_id}", body)["id"])

    def update_annotation(self, annotation_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Replace what an annotation says."""
        what = f"annotation {annotation_id}"
        self._at.write("PATCH", f"/api/annotations/{annotation_id}/", what, {"result": [dict(one) for one in result]})

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete an annotation; one that is gone is no error."""
        self._delete(f"/api/annotations/{annotation_id}/", f"annotation {annotation_id}")

    # -- webhooks

    def webhooks(self, project_id: int) -> list[Webhook]:
        """A project's webhooks, oldest first."""
        found = self._at.get("/api/webhooks/", f"the webhooks of project {project_id}", {"project": project_id})
        return sorted((Webhook.from_json(one) for one in found), key=lambda one: one.id)

    def create_webhook(self, project_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """Register a webhook for exactly these actions."""
        body = {"project": project_id, **_webhook(url, headers, actions)}
        what = f"the webhook to {url} of project {project_id}"
        return Webhook.from_json(self._at.write("POST", "/api/webhooks/", what, body))

    def update_webhook(self, webhook_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """Set everything of a webhook at once: Label Studio forgets the actions that a change does not name."""
        body = _webhook(url, headers, actions)
        return Webhook.from_json(
            self._at.write("PATCH", f"/api/webhooks/{webhook_id}/", f"webhook {webhook_id} to {url}", body)
        )

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook; one that is gone is no error."""
        self._delete(f"/api/webhooks/{webhook_id}/", f"webhook {webhook_id}")

    def check_addresses(self, url: str) -> None:
        """See that Label Studio would send webhooks to ``url`` and connect an ML backend there; makes neither.

        It checks the address before it finds that no project has the number 0.

        Raises:
            AddressRefused: it refuses the address; the sentence names the setting.
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
        """A project's ML-backend connections, oldest first. Label Studio calls each one's /health for it."""
        found = self._at.get("/api/ml/", f"the ML backends of project {project_id}", {"project": project_id})
        return sorted((Backend.from_json(one) for one in found), key=lambda one: one.id)

    def create_backend(self, project_id: int, url: str, title: str, user: str, password: str) -> Backend:
        """Connect an ML backend with basic auth. Label Studio calls its /health and /setup before it answers."""
        body = {"project": project_id, **_backend(url, title, user, password)}
        what = f"the ML backend {url} of project {project_id}"
        return Backend.from_json(self._at.write("POST", "/api/ml/", what, body))

    def update_backend(
        self, backend: Backend, project_id: int, url: str, title: str, user: str, password: str
    ) -> Backend:
        """Set address, title and log-in of a connection."""
        body = {"project": project_id, **_backend(url, title, user, password)}
        what = f"the ML backend {url} of project {project_id}"
        return Backend.from_json(self._at.write("PATCH", f"/api/ml/{backend.id}", what, body))

    def delete_backend(self, backend_id: int) -> None:
        """Delete a connection; one that is gone is no error. A webhook that came with it stays."""
        self._delete(f"/api/ml/{backend_id}", f"ML backend {backend_id}")

    # -- tabs

    def views(self, project_id: int) -> list[View]:
        """A project's saved tabs, in the order shown."""
        found = self._at.get("/api/dm/views/", f"the tabs of project {project_id}", {"project": project_id})
        return [View.from_json(one) for one in found]

    def create_view(self, project_id: int, data: Mapping[str, Any]) -> View:
        """Save a tab; ``data`` holds title, filters, ordering and the like."""
        body = {"project": project_id, "data": dict(data)}
        what = f"the tab “{data.get('title')}” of project {project_id}"
        return View.from_json(self._at.write("POST", "/api/dm/views/", what, body))

    def update_view(self, view_id: int, project_id: int, data: Mapping[str, Any]) -> View:
        """Change a saved tab."""
        body = {"project": project_id, "data": dict(data)}
        return View.from_json(self._at.write("PATCH", f"/api/dm/views/{view_id}/", f"tab {view_id}", body))

    def delete_view(self, view_id: int) -> None:
        """Delete a saved tab; one that is gone is no error."""
        self._delete(f"/api/dm/views/{view_id}/", f"tab {view_id}")

    def _delete(self, path: str, what: str) -> None:
        try:
            self._at.write("DELETE", path, what)
        except LabelStudioMissing:
            return  # gone is what was wanted


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
