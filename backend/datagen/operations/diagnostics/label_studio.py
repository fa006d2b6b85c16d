"""Checks of Label Studio: the server, the token, and a study's tasks, webhooks, ML backends and event delivery.

Each check takes the settings and returns a good finding, or raises ``CheckFailed``.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import httpx
from sqlalchemy import func, select

from datagen.domain.inputs import ProjectKind
from datagen.errors import LabelStudioMissing
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.port import LabelStudioPort
from datagen.label_studio.api.webhook_payload import ACTIONS
from datagen.label_studio.projects.project_settings import outdated
from datagen.label_studio.projects.project_templates import TEMPLATES
from datagen.label_studio.projects.provisioning import BACKEND_TITLE, CONNECTED, SECRET_HEADER
from datagen.operations.diagnostics.finding import CheckFailed
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.fingerprints import fingerprint
from datagen.store.study_secrets import SHARED, study_secret
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import ProjectRow
from datagen.workflow.inputs.unreadable_tasks import gone, problems_of
from datagen.workflow.services import find_study

#: Timeout for the delivery of an event, seconds. It is short, because Label Studio sends a webhook while it handles the
#: request that causes the event.
DELIVERY_SECONDS = 5.0
#: Timeout of each request that the doctor makes, seconds.
TIMEOUT = httpx.Timeout(5.0)
#: Beginning of the Label Studio release that this version of Datagen was tested with.
MEASURED_RELEASE = "1.23"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


def check_server(settings: Settings) -> str:
    """Check that Label Studio answers; return its release and address."""
    try:
        response = httpx.get(f"{settings.label_studio_url}/api/version", timeout=5.0, follow_redirects=False)
        release = str(response.raise_for_status().json()["release"])
    except (httpx.HTTPError, ValueError, KeyError) as error:
        hint = (
            " Inside a container, “localhost” is the container itself: use the service's name."
            if urlsplit(settings.label_studio_url).hostname in _LOCAL_NAMES
            else ""
        )
        raise CheckFailed(
            f"no Label Studio answers at {settings.label_studio_url} ({type(error).__name__}). "
            f"Start it, or set LABEL_STUDIO_URL.{hint}"
        ) from None
    measured = "" if release.startswith(MEASURED_RELEASE) else f" (measured against {MEASURED_RELEASE})"
    return f"version {release} at {settings.label_studio_url}{measured}"


def _client(settings: Settings) -> LabelStudioPort:
    return LabelStudio(settings.label_studio_url, settings.api_key, timeout=TIMEOUT, read_attempts=1)


def check_token(settings: Settings) -> str:
    """Check that Label Studio accepts the token; return its kind and its user."""
    client = _client(settings)
    return f"{client.token_kind} of {client.whoami()}"


def check_tasks(settings: Settings, study_name: str) -> str:
    """Check that the reconciler could read all tasks of a study's projects in its last run."""
    with closing(Database(settings.resolved_database_url)) as database, database.read() as session:
        problems = problems_of(session, find_study(session, study_name).id)
    if problems:
        raise CheckFailed(" ".join(problems))
    return "all could be read"


def check_addresses(settings: Settings) -> str:
    """Check that Label Studio accepts Datagen's address for webhooks and ML backends. Neither is created."""
    LabelStudio(settings.label_studio_url, settings.api_key).check_addresses(settings.own_url)
    return f"Label Studio's SSRF protection lets it reach {settings.own_url}"


def check_webhooks(settings: Settings, study_name: str) -> str:
    """Check that every project of a study has Datagen's webhook, active and with the right actions and secret."""
    client = _client(settings)
    fix = f"run: datagen provision {shlex.quote(study_name)}"
    url, master = f"{settings.own_url}/webhook", settings.secret_of_webhooks
    kinds, salt = _projects(settings, study_name)
    for kind, row in kinds.items():
        project_id = row.project_id
        with _fail_if_deleted(kind, project_id, study_name):
            ours = [hook for hook in client.webhooks(project_id) if hook.url == url]
        if not ours:
            raise CheckFailed(f"project {project_id} ({kind}) has no webhook to {url}; {fix}")
        hook = ours[0]
        if not hook.is_active:
            raise CheckFailed(f"the webhook of project {project_id} ({kind}) is switched off; {fix}")
        if not (hook.send_for_all_actions or set(ACTIONS) <= hook.actions):
            raise CheckFailed(f"the webhook of project {project_id} ({kind}) lacks actions; {fix}")
        if hook.headers.get(SECRET_HEADER) != study_secret(master, salt):
            raise CheckFailed(f"the webhook of project {project_id} ({kind}) has another secret; {fix}")
    if salt == SHARED:
        raise CheckFailed(
            "they carry the secret that all studies share, which every member of Label Studio can read; they work. "
            f"To give the study a secret of its own, {fix}"
        )
    return f"{len(kinds)} registered, with secret and actions"


def check_project_settings(settings: Settings, study_name: str) -> str:
    """Check that forms, instructions, descriptions and tabs are not those of an earlier version of Datagen."""
    client = _client(settings)
    old, changed = [], []
    projects, _ = _projects(settings, study_name)
    with closing(Database(settings.resolved_database_url)) as database, database.read() as session:
        labels = list(find_study(session, study_name).labels)
    for kind, row in projects.items():
        with _fail_if_deleted(kind, row.project_id, study_name):
            options = client.project(row.project_id).options
            differences = outdated(kind, study_name, labels, options, client.views(row.project_id))
        if differences.in_words():
            old.append(f"{differences.in_words()} of project {row.project_id} ({kind})")
        if differences.changed_by_people:
            changed.append(f"{', '.join(differences.changed_by_people)} of {kind}")
    if old:
        raise CheckFailed(f"not this version's: {'; '.join(old)}. Run: datagen provision {shlex.quote(study_name)}")
    return "this version's" + (f", except for what people changed: {'; '.join(changed)}" if changed else "")


def check_backends(settings: Settings, study_name: str) -> str:
    """Check that Label Studio reaches Datagen by each ML-backend connection, and that each has the current password.

    A connection with the previous password works now, but would fail after the next change of the password.

    The check requests the list of connections. Label Studio then checks the health of each one, and sets it up.
    """
    client = LabelStudio(settings.label_studio_url, settings.api_key)
    fix = f"run: datagen provision {shlex.quote(study_name)}"
    kinds, salt = _projects(settings, study_name)
    login = fingerprint(f"{settings.basic_auth_user}:{settings.password}", salt)
    connected = {kind: row for kind, row in kinds.items() if TEMPLATES[kind].connected}
    for kind, row in connected.items():
        with _fail_if_deleted(kind, row.project_id, study_name):
            ours = [backend for backend in client.backends(row.project_id) if backend.title == BACKEND_TITLE]
        project = f"project {row.project_id} ({kind})"
        if not ours:
            raise CheckFailed(f"{project} has no ML backend, so that “Start Training” is missing there; {fix}")
        if ours[0].url != settings.own_url:
            raise CheckFailed(f"the ML backend of {project} is at {ours[0].url} instead of {settings.own_url}; {fix}")
        if ours[0].state != CONNECTED:
            reason = "it has another password" if "401" in ours[0].error else ours[0].error or "it does not answer"
            raise CheckFailed(f"Label Studio cannot use the ML backend of {project}: {reason}; {fix}")
        if row.login != login:
            raise CheckFailed(f"the ML backend of {project} has the password from before the last change; {fix}")
    return f"{len(connected)} connected"


def check_delivery(settings: Settings, study_name: str) -> str:
    """Save a project unchanged in Label Studio, and check that the event of it arrives in the inbox."""
    client = _client(settings)
    project_id = _projects(settings, study_name)[0][ProjectKind.DECISIONS].project_id
    with closing(Database(settings.resolved_database_url)) as database:
        began = time.monotonic()
        with database.read() as session:
            before = session.scalar(select(func.max(InboxRow.id))) or 0
        with _fail_if_deleted(ProjectKind.DECISIONS, project_id, study_name):
            project = client.project(project_id)
        client.update_project(project_id, {"description": project.options.get("description") or ""})
        arrived = select(InboxRow.id).where(InboxRow.id > before, InboxRow.project_id == project_id)
        while time.monotonic() - began < DELIVERY_SECONDS:
            with database.read() as session:
                if session.scalar(arrived.limit(1)) is not None:
                    return f"an event sent through Label Studio arrived after {time.monotonic() - began:.2f} s"
            time.sleep(0.05)
    raise CheckFailed(
        f"Label Studio did not deliver an event to {settings.own_url}/webhook within {DELIVERY_SECONDS:g} s. "
        "It must reach that address itself (from inside its container, “localhost” is not this machine): "
        f"set DATAGEN_PUBLIC_URL, and run: datagen provision {shlex.quote(study_name)}"
    )


def _projects(settings: Settings, study_name: str) -> tuple[dict[ProjectKind, ProjectRow], str]:
    """Return a study's projects by their kind, and the salt of its webhooks' secret."""
    with closing(Database(settings.resolved_database_url)) as database, database.read() as session:
        study = find_study(session, study_name)
        rows = session.scalars(select(ProjectRow).where(ProjectRow.study_id == study.id))
        projects, salt = {row.kind: row for row in rows}, study.webhook_salt
    if unknown := [str(kind) for kind in ProjectKind if kind not in projects]:
        are = "project {} is" if len(unknown) == 1 else "projects {} are"
        raise CheckFailed(
            f"its {are.format(', '.join(unknown))} not known here; run: datagen provision {shlex.quote(study_name)}"
        )
    return projects, salt


@contextmanager
def _fail_if_deleted(kind: ProjectKind, project_id: int, study_name: str) -> Iterator[None]:
    """Context manager that raises ``CheckFailed`` if a request in the block finds that the project was deleted."""
    try:
        yield
    except LabelStudioMissing:
        raise CheckFailed(gone(kind, project_id, study_name)) from None
