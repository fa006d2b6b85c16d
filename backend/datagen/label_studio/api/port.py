"""The port to Label Studio, as a Protocol: all calls that workflow, publisher, provisioning and doctor make.

``client`` implements it over HTTP, and ``in_memory`` implements it for tests. One contract suite
(``tests/support/port_contract.py``) runs against both, so that the fake behaves as the server does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.models import Backend, Counts, Project, Task, View, Webhook

#: Time limit in seconds of a download, redirects included; at this limit 64 MiB need 0.5 MiB/s.
DOWNLOAD_SECONDS = 120.0


class LabelStudioPort(Protocol):
    """One Label Studio server, as the user of one token sees it.

    Every method may raise LabelStudioUnavailable (a retry may succeed), LabelStudioMissing (not found) or
    LabelStudioError (refused; the message names the fix). A method that reads may also raise LabelStudioFault (the
    server is up and fails only at this request). Writes are never retried.
    """

    @property
    def url(self) -> str:
        """Label Studio's address, without a slash at the end."""
        ...

    @property
    def token_kind(self) -> TokenKind:
        """The kind of token; the first access sends a request to Label Studio."""
        ...

    def version(self) -> str:
        """Label Studio's release, e.g. ``1.23.2``."""
        ...

    def whoami(self) -> str:
        """The e-mail address of the token's user."""
        ...

    # -- projects

    def find_projects(self, title_part: str) -> list[Project]:
        """Every project whose title contains ``title_part`` (case-insensitive), oldest first; id and title only."""
        ...

    def project(self, project_id: int) -> Project:
        """One project with all its options."""
        ...

    def counts(self, project_ids: Sequence[int]) -> dict[int, Counts]:
        """The counts of these projects; a deleted project is left out."""
        ...

    def create_project(self, title: str, options: Mapping[str, Any]) -> Project:
        """Create a project and return it; ``options`` are fields of the API, such as ``label_config``."""
        ...

    def update_project(self, project_id: int, options: Mapping[str, Any]) -> Project:
        """Change some options of a project and return it."""
        ...

    def delete_project(self, project_id: int) -> None:
        """Delete a project with all its tasks; a missing project is not an error."""
        ...

    # -- tasks

    def task(self, task_id: int, project_id: int | None = None) -> Task:
        """One task with its annotations.

        Without ``project_id``, Label Studio first requests predictions from a connected ML backend if the task has
        none. With ``project_id``, it does not.
        """
        ...

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
        """The tasks of a project, or of one of its tabs, page by page.

        ``batch`` selects tasks by ``data.batch``. ``updated_since`` (ISO 8601) selects tasks that were created or
        updated at that time or later; creating, changing or deleting an annotation updates its task. ``after`` selects
        tasks with a larger id. Tasks are sorted by id. With ``view_id``, the tab's own filters and order apply, and no
        further filters are possible. Without ``annotations``, a listing is about twice as fast.

        Label Studio may hold tasks that it cannot send (see ``task_listing``). Their ids are added to ``unreadable``,
        and the other tasks are read. If ``unreadable`` is None, the first such task raises LabelStudioFault, which
        names it.
        """
        ...

    def stamps(
        self, project_id: int, *, updated_since: str | None = None, key: str | None = None
    ) -> list[tuple[int, str]]:
        """The ids and update times of tasks. This is the cheapest query about the tasks of a project.

        ``updated_since`` selects tasks as in ``tasks``. ``key`` selects tasks by ``data.datagen_key``. Tasks that Label
        Studio cannot send are included.
        """
        ...

    def import_tasks(self, project_id: int, drafts: Sequence[Mapping[str, Any]]) -> list[int]:
        """Create tasks (``data``, ``predictions``, ``annotations``) in one request; return their ids in order.

        This is not idempotent: if the list is sent again, the tasks are created again. ``task_publisher.ensure_tasks``
        is idempotent.
        """
        ...

    def upload(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Store files (name, bytes) in a project, without a task; return their ``/data/upload/…`` paths in order."""
        ...

    def update_task_data(self, task_id: int, data: Mapping[str, Any], *, finished: bool | None = None) -> None:
        """Replace a task's data, and set whether it is finished (see ``set_finished``) unless ``finished`` is None."""
        ...

    def set_finished(self, task_id: int, finished: bool) -> None:
        """Set whether Label Studio counts a task as finished. It serves only unfinished tasks to annotators.

        Label Studio sets this itself whenever an annotation of the task is created, changed or deleted: a task with an
        annotation that is not a skip is then finished.
        """
        ...

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks with their annotations and predictions; missing tasks are not an error.

        Label Studio also deletes all tabs of a project that has no task left.
        """
        ...

    def fetch(
        self,
        url_or_path: str,
        *,
        max_bytes: int,
        seconds: float = DOWNLOAD_SECONDS,
        cancelled: threading.Event | None = None,
    ) -> bytes:
        """The content of a file on Label Studio, at a path or at a URL of its origin.

        The download stops at more than ``max_bytes``, after ``seconds``, or when another thread sets ``cancelled``.

        Raises:
            InputProblem: The URL has another origin, the file is too large, or the download is too slow.
        """
        ...

    # -- predictions and annotations

    def predictions(self, task_id: int) -> list[dict[str, Any]]:
        """A task's predictions, in the API's form."""
        ...

    def replace_predictions(self, task_id: int, predictions: Sequence[Mapping[str, Any]]) -> None:
        """Replace a task's predictions; the new ones are created before the old ones are deleted."""
        ...

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
        ...

    def update_annotation(self, annotation_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Replace an annotation's result; its submitter stays the same."""
        ...

    def delete_annotation(self, annotation_id: int) -> None:
        """Delete an annotation; a missing annotation is not an error."""
        ...

    # -- webhooks

    def webhooks(self, project_id: int) -> list[Webhook]:
        """A project's webhooks, oldest first."""
        ...

    def create_webhook(self, project_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """Register a webhook for exactly these actions and return it."""
        ...

    def update_webhook(self, webhook_id: int, url: str, headers: Mapping[str, str], actions: Sequence[str]) -> Webhook:
        """Set all fields of a webhook in one request, because Label Studio removes the actions that an update omits."""
        ...

    def delete_webhook(self, webhook_id: int) -> None:
        """Delete a webhook; a missing webhook is not an error."""
        ...

    def check_addresses(self, url: str) -> None:
        """Check that Label Studio accepts ``url`` for webhooks and for an ML backend. Neither is created.

        Raises:
            AddressRefused: Label Studio refuses the address; the message names the setting.
        """
        ...

    # -- ML backends

    def backends(self, project_id: int) -> list[Backend]:
        """The ML-backend connections of a project, oldest first. Label Studio first requests /health of each."""
        ...

    def create_backend(self, project_id: int, url: str, title: str, user: str, password: str) -> Backend:
        """Connect an ML backend with basic auth. Label Studio requests its /health and /setup before it responds."""
        ...

    def update_backend(
        self, backend: Backend, project_id: int, url: str, title: str, user: str, password: str
    ) -> Backend:
        """Set the address, title, user and password of a connection."""
        ...

    def delete_backend(self, backend_id: int) -> None:
        """Delete a connection; a missing connection is not an error. The webhook that was created with it is kept."""
        ...

    # -- tabs

    def views(self, project_id: int) -> list[View]:
        """A project's saved tabs, in the order shown."""
        ...

    def create_view(self, project_id: int, data: Mapping[str, Any]) -> View:
        """Save a tab; ``data`` holds title, filters, ordering and so on."""
        ...

    def update_view(self, view_id: int, project_id: int, data: Mapping[str, Any]) -> View:
        """Change a saved tab."""
        ...

    def delete_view(self, view_id: int) -> None:
        """Delete a saved tab; a missing tab is not an error."""
        ...
