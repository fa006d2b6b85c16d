"""Provisioning of a study's projects in Label Studio: creates, checks and repairs them. Provisioning is idempotent.

Settings that Datagen requires (label config, visible predictions, webhook, connection, its own tabs) are repaired.
Instructions, descriptions and tabs of an earlier version are updated, unless a person changed them. Titles, colours,
the order of tasks and people's own tabs are left unchanged."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from datagen.domain.inputs import ProjectKind
from datagen.domain.wording import counted
from datagen.errors import AddressRefused, InputProblem, LabelStudioError, LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.models import Backend, Project, View, Webhook
from datagen.label_studio.api.port import LabelStudioPort
from datagen.label_studio.api.webhook_payload import ACTIONS
from datagen.label_studio.mapping.predictions import MODEL_VERSION
from datagen.label_studio.projects import label_configs, project_templates
from datagen.label_studio.projects.project_settings import outdated
from datagen.label_studio.projects.project_templates import TEMPLATES

#: Name of the header that carries the webhooks' secret.
SECRET_HEADER = "X-Datagen-Secret"  # noqa: S105 - the name of a header

#: Title of Datagen's ML-backend connection. It must differ from the model version of imported predictions: a project
#: that is set to the model version of a *connected* backend shows no predictions while the web process is down.
BACKEND_TITLE = "Datagen"

#: State of a connected ML backend in Label Studio.
CONNECTED = "CO"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerAccess:
    """Address and credentials for requests from Label Studio to this server."""

    #: address of the web process, which also serves the ML backend
    url: str
    #: the secret in the header of the webhooks' requests
    webhook_secret: str
    #: user and password for the ML backend
    basic_user: str
    basic_pass: str

    @property
    def webhook_url(self) -> str:
        """The address that webhooks are sent to."""
        return f"{self.url.rstrip('/')}/webhook"


@dataclass(kw_only=True)
class Provisioned:
    """Result of provisioning. Each list contains one sentence for each item."""

    projects: dict[ProjectKind, int] = field(default_factory=dict)
    webhooks: dict[ProjectKind, int] = field(default_factory=dict)
    #: project kinds whose ML-backend connection has the given user and password
    connected: set[ProjectKind] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    #: settings that people changed, and that are left unchanged
    kept: list[str] = field(default_factory=list)
    #: failed steps, each with its fix; the other steps were completed
    problems: list[str] = field(default_factory=list)


def provision(
    client: LabelStudioPort,
    name: str,
    labels: Sequence[str],
    access: ServerAccess,
    *,
    password_written: Collection[ProjectKind] = (),
    known_projects: Mapping[ProjectKind, int] = MappingProxyType({}),
) -> Provisioned:
    """Ensure that a study has its six projects, each with its config, its tabs and a verified webhook.

    A project whose template is ``connected`` also gets an ML-backend connection. Label Studio does not return the
    password of a connection. It is therefore written to every connection, except those of the kinds in
    ``password_written``, which are known to have it.

    A project in ``known_projects`` is used whatever its title, if it still has Datagen's webhook. Other projects are
    found by their titles.

    If Label Studio cannot create a connection (for example, because our web process does not run yet), the result
    contains a problem. Every other failure raises an error.

    Raises:
        InputProblem: The name or a label cannot be used.
        LabelStudioError: Label Studio refuses a request, e.g. the webhook's address; the message names the fix.
    """
    is_known = all(kind in known_projects for kind in ProjectKind)  # a study that was renamed may have a longer name
    if not 1 <= len(name) <= project_templates.longest_name() and not is_known:
        raise InputProblem(
            f"the study's name has {counted(len(name), 'character')}; it needs 1 to {project_templates.longest_name()}."
        )
    done = Provisioned()
    existing = _projects_of(client, name)
    for kind in reversed(
        ProjectKind
    ):  # Label Studio lists the newest project first, so this order shows them in the order of work
        steps = _ProjectSteps(client=client, name=name, labels=labels, access=access, kind=kind, done=done)
        known = _renamed(client, known_projects.get(kind), existing[kind]) or next(iter(existing[kind]), None)
        project = steps.ensure_project(known)
        done.problems += [
            _duplicate_problem(kind, project, duplicate) for duplicate in existing[kind] if duplicate.id != project.id
        ]
        done.projects[kind] = project.id
        steps.ensure_webhook(project.id)
        if TEMPLATES[kind].connected:
            steps.ensure_backend(project.id, rewrite=kind not in password_written)
        done.webhooks[kind] = steps.verified_webhook(project.id)
        steps.ensure_tabs(project.id)
        steps.bring_up_to_date(project)
    done.projects = {kind: done.projects[kind] for kind in ProjectKind}
    return done


def ensure_preview_tabs(client: LabelStudioPort, project_id: int, round_number: int) -> None:
    """Ensure that the tabs of the Previews project show this round; delete the tabs of earlier versions of Datagen.

    Label Studio deletes all tabs of a project with its last task. Missing tabs are therefore created again.
    """
    wanted = {tab.title: tab.data() for tab in project_templates.preview_tabs(round_number)}
    existing: dict[str, View] = {}
    for view in client.views(project_id):
        if view.title in wanted and view.title not in existing:
            existing[view.title] = view
        elif project_templates.is_former_tab(view.title):
            client.delete_view(view.id)
    for title, data in wanted.items():
        if title not in existing:
            client.create_view(project_id, data)
        elif existing[title].data.get("filters") != data["filters"]:
            client.update_view(existing[title].id, project_id, data)


def _projects_of(client: LabelStudioPort, name: str) -> dict[ProjectKind, list[Project]]:
    """The study's projects by kind, each found by its exact title; several of one kind are listed oldest first."""
    titles = {project_templates.title(name, kind): kind for kind in ProjectKind}
    projects: dict[ProjectKind, list[Project]] = {kind: [] for kind in ProjectKind}
    for project in client.find_projects(f"{name} · "):
        if (kind := titles.get(project.title)) is not None:
            projects[kind].append(project)
    return projects


def _renamed(client: LabelStudioPort, project_id: int | None, titled: Sequence[Project]) -> Project | None:
    """The study's known project if a person gave it another title; else None.

    After a restore, the id may belong to another project of Label Studio. Datagen's webhook shows whether the project
    is the study's.
    """
    if project_id is None or any(project.id == project_id for project in titled):
        return None
    try:
        project = client.project(project_id)
    except LabelStudioMissing:
        return None
    is_ours = any(SECRET_HEADER in webhook.headers for webhook in client.webhooks(project_id))
    return project if is_ours else None


def _duplicate_problem(kind: ProjectKind, used: Project, duplicate: Project) -> str:
    """A sentence about a second project with the title of a study's project.

    It may exist because Label Studio executed a request twice whose response was lost, or because a user copied the
    project.
    """
    return (
        f"{kind}: project {duplicate.id} has the title of this study's project too, but project {used.id} is used; "
        f"what is drawn in {duplicate.id} is not seen. Rename it, or delete it if it is empty."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _ProjectSteps:
    """The steps that provision a study's project of one kind.

    Each step adds a sentence to ``done`` if it changed something.
    """

    client: LabelStudioPort
    #: name and labels of the study
    name: str
    labels: Sequence[str]
    access: ServerAccess
    kind: ProjectKind
    done: Provisioned

    def ensure_project(self, known: Project | None) -> Project:
        """Return the project with its options. If none is ``known``, create it."""
        config = label_configs.render(self.kind, self.labels)
        if known is None:
            options = {
                **TEMPLATES[self.kind].options(),
                "label_config": config,
                "description": project_templates.description(self.kind),
            }
            project = self.client.create_project(project_templates.title(self.name, self.kind), options)
            self.done.created.append(f"{self.kind}: project {project.id}")
            return project
        project = self.client.project(known.id)
        self.done.unchanged.append(f"{self.kind}: project {project.id}")
        return project

    def bring_up_to_date(self, project: Project) -> None:
        """Update the options, texts and tabs of a project, except those that a person changed."""
        wrong = outdated(self.kind, self.name, self.labels, project.options, self.client.views(project.id))
        if wrong.changed_by_people:
            self.done.kept.append(f"{self.kind}: {', '.join(wrong.changed_by_people)} of project {project.id}")
        if not wrong.in_words():
            return
        if wrong.options:
            self.client.update_project(project.id, wrong.options)
        for view_id, data in wrong.tabs.items():
            self.client.update_view(view_id, project.id, data)
        self.done.mended.append(f"{self.kind}: {wrong.in_words()} of project {project.id}")

    def ensure_webhook(self, project_id: int) -> None:
        """Ensure that the project has one webhook with our header.

        An outdated address or secret is changed in place.
        """
        url, headers = self.access.webhook_url, self._webhook_headers
        ours = [webhook for webhook in self.client.webhooks(project_id) if SECRET_HEADER in webhook.headers]
        if not ours:
            webhook = self.client.create_webhook(project_id, url, headers, ACTIONS)
            self.done.created.append(f"{self.kind}: webhook {webhook.id} to {url}")
            return
        if self._is_right(ours[0]):
            self.done.unchanged.append(f"{self.kind}: webhook {ours[0].id}")
            return
        self.client.update_webhook(ours[0].id, url, headers, ACTIONS)
        self.done.mended.append(f"{self.kind}: webhook {ours[0].id} to {url}")

    def verified_webhook(self, project_id: int) -> int:
        """Return the id of the correct webhook in Label Studio's listing, and delete its duplicates.

        A second webhook exists if Label Studio created it together with an ML-backend connection: it leads to
        ``/webhook`` of the backend and has no secret.

        Raises:
            LabelStudioError: Label Studio does not list the correct webhook.
        """
        url = self.access.webhook_url
        listed = self.client.webhooks(project_id)
        matching = [webhook for webhook in listed if self._is_right(webhook)]
        if not matching:
            raise LabelStudioError(
                f"Label Studio does not list the webhook to {url} of the project {self.kind} ({project_id}) as active "
                "with its actions, though it took it; run “datagen provision” again."
            )
        for webhook in listed:
            if webhook is not matching[0] and (SECRET_HEADER in webhook.headers or webhook.url == url):
                self.client.delete_webhook(webhook.id)
        return matching[0].id

    @property
    def _webhook_headers(self) -> dict[str, str]:
        return {SECRET_HEADER: self.access.webhook_secret}

    def _is_right(self, webhook: Webhook) -> bool:
        return (
            webhook.url == self.access.webhook_url
            and webhook.headers == self._webhook_headers
            and webhook.is_active
            and webhook.send_payload
            and not webhook.send_for_all_actions
            and webhook.actions == frozenset(ACTIONS)
        )

    def ensure_backend(self, project_id: int, *, rewrite: bool) -> None:
        """Ensure the ML-backend connection, which sends “Start Training”, and the project's choice of predictions.

        With ``rewrite``, address, user and password are written even if the connection seems to have them.
        """
        url, user, password = self.access.url, self.access.basic_user, self.access.basic_pass
        ours = [backend for backend in self.client.backends(project_id) if backend.title == BACKEND_TITLE]
        try:
            if not ours:
                backend = self.client.create_backend(project_id, url, BACKEND_TITLE, user, password)
                self.done.created.append(f"{self.kind}: ML backend {backend.id} at {url}")
            elif self._is_connected(ours[0]) and not rewrite:
                self.done.unchanged.append(f"{self.kind}: ML backend {ours[0].id}")
            else:
                self.client.update_backend(ours[0], project_id, url, BACKEND_TITLE, user, password)
                self.done.mended.append(f"{self.kind}: address and log-in of ML backend {ours[0].id} at {url}")
        except (LabelStudioUnavailable, AddressRefused):
            raise
        except LabelStudioError as refusal:
            self.done.problems.append(
                f"{self.kind}: Label Studio could not connect the ML backend {url} (“Start Training” is missing "
                "there). Start “datagen up”, see that Label Studio reaches DATAGEN_PUBLIC_URL, and provision again. "
                f"({refusal})"
            )
            return
        self.done.connected.add(self.kind)
        for duplicate in ours[1:]:
            self.client.delete_backend(duplicate.id)
        self._show_predictions(project_id)

    def _is_connected(self, backend: Backend) -> bool:
        return (
            backend.url == self.access.url
            and backend.basic_auth_user == self.access.basic_user
            and backend.state == CONNECTED
        )

    def _show_predictions(self, project_id: int) -> None:
        """Make the project show the connected model's predictions if its template is ``live``.

        Otherwise it shows the predictions that were imported with the tasks.
        """
        options = self.client.project(project_id).options
        shown, is_live = options.get("model_version"), TEMPLATES[self.kind].live
        if is_live and shown != BACKEND_TITLE:
            self.client.update_project(project_id, {"model_version": BACKEND_TITLE})
        elif not is_live and shown == BACKEND_TITLE:
            # Label Studio refuses a version without predictions; with no version set, the next import sets its own
            posted = options.get("total_predictions_number")
            self.client.update_project(project_id, {"model_version": MODEL_VERSION if posted else ""})

    def ensure_tabs(self, project_id: int) -> None:
        """Create the tabs of the template that the project does not have."""
        existing = {view.title for view in self.client.views(project_id)}
        for tab in TEMPLATES[self.kind].tabs:
            if tab.title not in existing:
                view = self.client.create_view(project_id, tab.data())
                self.done.created.append(f"{self.kind}: tab “{tab.title}” ({view.id})")
