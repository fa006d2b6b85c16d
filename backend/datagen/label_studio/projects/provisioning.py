"""Provisioning of a study's projects in Label Studio: create, check and repair them. Provisioning is idempotent.

Settings that Datagen requires (label config, predictions shown, webhook, connection, its own tabs) are repaired.
Instructions, descriptions and tabs of an earlier version are brought up to date, unless a person changed them. Titles,
colours, the order of tasks and people's own tabs are left unchanged.
"""

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
from datagen.label_studio.projects.project_templates import TEMPLATES, Tab

#: The header that carries the shared secret.
SECRET_HEADER = "X-Datagen-Secret"  # noqa: S105 - the name of a header

#: Title of our ML-backend connection. It differs from the model version of imported predictions: a project set to a
#: *connected* model shows no predictions while the web process is down.
BACKEND_TITLE = "Datagen"

#: Label Studio's state of a connected ML backend.
CONNECTED = "CO"


@dataclass(kw_only=True)
class Provisioned:
    """Result of provisioning. The lists contain a sentence for each item."""

    projects: dict[ProjectKind, int] = field(default_factory=dict)
    webhooks: dict[ProjectKind, int] = field(default_factory=dict)
    #: project kinds whose ML-backend connection has the given log-in
    connected: set[ProjectKind] = field(default_factory=set)
    created: list[str] = field(default_factory=list)
    mended: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    #: what people changed themselves, and is left as it is
    kept: list[str] = field(default_factory=list)
    #: failed steps with their fixes; the other steps were completed
    problems: list[str] = field(default_factory=list)


def provision(
    client: LabelStudioPort,
    name: str,
    labels: Sequence[str],
    *,
    webhook_url: str,
    secret: str,
    ml_url: str,
    basic_user: str,
    basic_pass: str,
    password_written: Collection[ProjectKind] = (),
    known_projects: Mapping[ProjectKind, int] = MappingProxyType({}),
) -> Provisioned:
    """Ensure that a study's six projects exist with configs, tabs, a verified webhook each, and ML-backend connections.

    Label Studio does not return a connection's password. It is written to every connection except those of the kinds
    in ``password_written``, which are known to have this password.

    A project in ``known_projects`` is used whatever its title, if it still has Datagen's webhook; others are found by
    their titles.

    If Label Studio cannot create a connection (for example because our web process is not running yet), the result
    contains a problem. Every other failure is an error.

    Raises:
        InputProblem: The name or a label cannot be used.
        LabelStudioError: Label Studio refuses a request, e.g. the webhook's address; the message names the fix.
    """
    if not 1 <= len(name) <= project_templates.longest_name():
        raise InputProblem(
            f"the study's name has {counted(len(name), 'character')}; it needs 1 to {project_templates.longest_name()}."
        )
    done = Provisioned()
    existing = _projects_of(client, name)
    for kind in reversed(
        ProjectKind
    ):  # Label Studio lists the newest project first, so this order shows them in the order of work
        known = _renamed(client, known_projects.get(kind), existing[kind]) or next(iter(existing[kind]), None)
        project = _ensure_project(client, name, kind, labels, known, done)
        done.problems += [
            _duplicate_problem(kind, project, duplicate) for duplicate in existing[kind] if duplicate.id != project.id
        ]
        done.projects[kind] = project.id
        _ensure_webhook(client, project.id, kind, webhook_url, secret, done)
        if TEMPLATES[kind].connected:
            rewrite = kind not in password_written
            _ensure_backend(client, project, kind, ml_url, basic_user, basic_pass, done, rewrite=rewrite)
        done.webhooks[kind] = _verified_webhook(client, project.id, kind, webhook_url, secret, ml_url)
        _ensure_tabs(client, project.id, TEMPLATES[kind].tabs, str(kind), done)
        _bring_up_to_date(client, project, kind, name, labels, done)
    done.projects = {kind: done.projects[kind] for kind in ProjectKind}
    return done


def ensure_preview_tabs(client: LabelStudioPort, project_id: int, round_number: int) -> None:
    """Ensure that the Previews project's tabs show this round, and delete tabs of earlier versions of Datagen.

    Label Studio deletes all tabs of a project with its last task, so missing tabs are created again.
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
    """The study's projects by exact title, oldest first; the oldest is used."""
    titles = {project_templates.title(name, kind): kind for kind in ProjectKind}
    projects: dict[ProjectKind, list[Project]] = {kind: [] for kind in ProjectKind}
    for project in client.find_projects(f"{name} · "):
        if (kind := titles.get(project.title)) is not None:
            projects[kind].append(project)
    return projects


def _renamed(client: LabelStudioPort, project_id: int | None, titled: Sequence[Project]) -> Project | None:
    """The study's known project if a person gave it another title; None if its title is ours, or if it is not ours.

    After a restore, Label Studio may give the id to another project; Datagen's webhook identifies the study's project.
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
    """The problem of a second project with the title of a study's project.

    Label Studio may execute a request twice if its response was lost, and users copy projects.
    """
    return (
        f"{kind}: project {duplicate.id} has the title of this study's project too, but project {used.id} is used; "
        f"what is drawn in {duplicate.id} is not seen. Rename it, or delete it if it is empty."
    )


def _ensure_project(
    client: LabelStudioPort,
    name: str,
    kind: ProjectKind,
    labels: Sequence[str],
    known: Project | None,
    done: Provisioned,
) -> Project:
    config = label_configs.render(kind, labels)
    if known is None:
        options = {
            **TEMPLATES[kind].options(),
            "label_config": config,
            "description": project_templates.description(kind),
        }
        project = client.create_project(project_templates.title(name, kind), options)
        done.created.append(f"{kind}: project {project.id}")
        return project
    project = client.project(known.id)
    done.unchanged.append(f"{kind}: project {project.id}")
    return project


def _bring_up_to_date(
    client: LabelStudioPort, project: Project, kind: ProjectKind, name: str, labels: Sequence[str], done: Provisioned
) -> None:
    """Bring the options, texts and tabs of a project up to date, except for those that a person changed."""
    wrong = outdated(kind, name, labels, project.options, client.views(project.id))
    if wrong.changed_by_people:
        done.kept.append(f"{kind}: {', '.join(wrong.changed_by_people)} of project {project.id}")
    if not wrong.in_words():
        return
    if wrong.options:
        client.update_project(project.id, wrong.options)
    for view_id, data in wrong.tabs.items():
        client.update_view(view_id, project.id, data)
    done.mended.append(f"{kind}: {wrong.in_words()} of project {project.id}")


def _ensure_webhook(
    client: LabelStudioPort, project_id: int, kind: ProjectKind, url: str, secret: str, done: Provisioned
) -> None:
    """Ensure one webhook with our header; an outdated address or secret is updated in place."""
    headers = {SECRET_HEADER: secret}
    ours = [webhook for webhook in client.webhooks(project_id) if SECRET_HEADER in webhook.headers]
    if not ours:
        webhook = client.create_webhook(project_id, url, headers, ACTIONS)
        done.created.append(f"{kind}: webhook {webhook.id} to {url}")
        return
    if _is_right(ours[0], url, headers):
        done.unchanged.append(f"{kind}: webhook {ours[0].id}")
        return
    client.update_webhook(ours[0].id, url, headers, ACTIONS)
    done.mended.append(f"{kind}: webhook {ours[0].id} to {url}")


def _verified_webhook(
    client: LabelStudioPort, project_id: int, kind: ProjectKind, url: str, secret: str, ml_url: str
) -> int:
    """The id of the correct webhook, as Label Studio lists it; its duplicates are deleted.

    Connecting an ML backend creates a second webhook, to the backend's ``/webhook`` and without a secret.
    """
    headers = {SECRET_HEADER: secret}
    listed = client.webhooks(project_id)
    matching = [webhook for webhook in listed if _is_right(webhook, url, headers)]
    if not matching:
        raise LabelStudioError(
            f"Label Studio does not list the webhook to {url} of the project {kind} ({project_id}) as active with its "
            "actions, though it took it; run “datagen provision” again."
        )
    without_secret = ml_url.rstrip("/") + "/webhook"
    for webhook in listed:
        if webhook is not matching[0] and (SECRET_HEADER in webhook.headers or webhook.url in (url, without_secret)):
            client.delete_webhook(webhook.id)
    return matching[0].id


def _is_right(webhook: Webhook, url: str, headers: Mapping[str, str]) -> bool:
    return (
        webhook.url == url
        and webhook.headers == headers
        and webhook.is_active
        and webhook.send_payload
        and not webhook.send_for_all_actions
        and webhook.actions == frozenset(ACTIONS)
    )


def _ensure_backend(
    client: LabelStudioPort,
    project: Project,
    kind: ProjectKind,
    url: str,
    user: str,
    password: str,
    done: Provisioned,
    *,
    rewrite: bool,
) -> None:
    """Ensure the ML-backend connection, which sends “Start Training”, and the project's choice of predictions."""
    ours = [backend for backend in client.backends(project.id) if backend.title == BACKEND_TITLE]
    try:
        if not ours:
            backend = client.create_backend(project.id, url, BACKEND_TITLE, user, password)
            done.created.append(f"{kind}: ML backend {backend.id} at {url}")
        elif _is_connected(ours[0], url, user) and not rewrite:
            done.unchanged.append(f"{kind}: ML backend {ours[0].id}")
        else:
            client.update_backend(ours[0], project.id, url, BACKEND_TITLE, user, password)
            done.mended.append(f"{kind}: address and log-in of ML backend {ours[0].id} at {url}")
    except (LabelStudioUnavailable, AddressRefused):
        raise
    except LabelStudioError as refusal:
        done.problems.append(
            f"{kind}: Label Studio could not connect the ML backend {url} (“Start Training” is missing there). Start "
            f"“datagen up”, see that Label Studio reaches DATAGEN_PUBLIC_URL, and provision again. ({refusal})"
        )
        return
    done.connected.add(kind)
    for duplicate in ours[1:]:
        client.delete_backend(duplicate.id)
    _show_predictions(client, project.id, kind)


def _is_connected(backend: Backend, url: str, user: str) -> bool:
    return backend.url == url and backend.basic_auth_user == user and backend.state == CONNECTED


def _show_predictions(client: LabelStudioPort, project_id: int, kind: ProjectKind) -> None:
    """Select the connected model's predictions if the template is ``live``, else those imported with the tasks."""
    options = client.project(project_id).options
    shown = options.get("model_version")
    if TEMPLATES[kind].live and shown != BACKEND_TITLE:
        client.update_project(project_id, {"model_version": BACKEND_TITLE})
    elif not TEMPLATES[kind].live and shown == BACKEND_TITLE:
        # Label Studio refuses a version without predictions; with no version set, the next import sets its own
        posted = options.get("total_predictions_number")
        client.update_project(project_id, {"model_version": MODEL_VERSION if posted else ""})


def _ensure_tabs(client: LabelStudioPort, project_id: int, tabs: Sequence[Tab], kind: str, done: Provisioned) -> None:
    existing = {view.title for view in client.views(project_id)}
    for tab in tabs:
        if tab.title not in existing:
            view = client.create_view(project_id, tab.data())
            done.created.append(f"{kind}: tab “{tab.title}” ({view.id})")
