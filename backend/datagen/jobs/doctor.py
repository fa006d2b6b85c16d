"""``datagen doctor``: every part looked at, each finding a sentence that names the misconfiguration and its fix."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from urllib.parse import urlsplit

import httpx
import numpy as np
from redis.exceptions import RedisError
from rq.cron import CronScheduler
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from datagen.domain.inputs import Desk
from datagen.errors import DatagenError
from datagen.jobs.context import connection_of
from datagen.jobs.gpu import engine_problems
from datagen.jobs.queues import ALL_QUEUES, Queues, connect
from datagen.jobs.vitals import live_workers
from datagen.label_studio.client import LabelStudio
from datagen.label_studio.payloads import ACTIONS
from datagen.label_studio.provisioning import SECRET_HEADER
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.decode import encode_png
from datagen.store.images import ImageStore
from datagen.store.links import Links
from datagen.store.rows import DeskRow, InboxRow, StudyRow
from datagen.synthesis.engine import load_engine
from datagen.workflow.workshop import find_study

#: A webhook that was not here by then is not coming: Label Studio sends it within the request.
DELIVERY_SECONDS = 5.0
#: The release that this version was measured against.
MEASURED_RELEASE = "1.23"
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the examination."""

    name: str
    good: bool
    finding: str


class _Wrong(Exception):
    """A finding that is bad; its text says what is wrong and how to mend it."""


def examine(settings: Settings, study_name: str | None = None) -> Iterator[Check]:
    """Look at every part, the ones that others stand on first; a part that is wrong does not hide the next."""
    for name, look in (
        ("database", _database),
        ("image store", _store),
        ("Redis", _redis),
        ("worker", _worker),
        ("engine", _engine),
        ("scheduler", _scheduler),
        ("Label Studio", _label_studio),
        ("token", _token),
        ("web process", _web),
        ("image link", _image_link),
    ):
        yield _check(name, look, settings)
    for name in _studies(settings, study_name):
        yield _check(f"webhooks of {name}", partial(_webhooks, study_name=name), settings)
        yield _check(f"delivery to {name}", partial(_delivery, study_name=name), settings)


def _check(name: str, look: Callable[[Settings], str], settings: Settings) -> Check:
    try:
        return Check(name=name, good=True, finding=look(settings))
    except (_Wrong, DatagenError) as wrong:
        return Check(name=name, good=False, finding=str(wrong))


def _database(settings: Settings) -> str:
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            studies = session.scalar(select(func.count()).select_from(StudyRow))
    except SQLAlchemyError as fault:
        raise _Wrong(
            f"the database does not answer ({type(fault).__name__}). "
            "Check DATAGEN_DATABASE_URL, then run: datagen migrate"
        ) from None
    finally:
        database.close()
    return f"{database.engine.dialect.name}, {studies} studies"


def _store(settings: Settings) -> str:
    images = ImageStore(settings.resolved_store_url)
    probe = f"datagen doctor {time.time_ns()}".encode()
    digest = images.put(probe)
    images.get(digest)
    images.delete(digest)
    return f"{settings.resolved_store_url} can be written and read"


def _redis(settings: Settings) -> str:
    address = urlsplit(settings.redis_url)
    try:
        with connect(settings.redis_url) as redis:
            info = redis.info()
    except RedisError as fault:
        raise _Wrong(
            f"Redis at {address.hostname}:{address.port or 6379} does not answer ({type(fault).__name__}). "
            "Start it, or set REDIS_URL."
        ) from None
    return f"version {info['redis_version']} at {address.hostname}:{address.port or 6379}"


def _worker(settings: Settings) -> str:
    try:
        with connect(settings.redis_url) as redis:
            alive = live_workers(Queues(redis))
            served = {name for worker in alive for name in worker.queue_names()}
    except RedisError:
        raise _Wrong("not to be seen without Redis; mend Redis first") from None
    if not alive:
        raise _Wrong("no worker is alive: nothing would be synthesized. Start one: datagen up (or datagen worker)")
    if unserved := [name for name in ALL_QUEUES if name not in served]:
        raise _Wrong(f"no worker serves {', '.join(unserved)}; start one without --queue: datagen worker")
    return f"{len(alive)} alive"


def _engine(settings: Settings) -> str:
    engine = load_engine(settings.engine)
    parameters = {engine.name: settings.engine_parameters} if settings.engine_parameters else {}
    if problems := engine_problems(settings.redis_url, engine.name, parameters):
        raise _Wrong(" ".join(problems))
    return f"{engine.name}, version {engine.version}"


def _scheduler(settings: Settings) -> str:
    try:
        with connect(settings.redis_url) as redis:
            if not CronScheduler.all(connection=redis):
                raise _Wrong("no scheduler is alive: lost jobs would not be found. Start it: datagen up (or scheduler)")
    except RedisError:
        raise _Wrong("not to be seen without Redis; mend Redis first") from None
    return "alive"


def _label_studio(settings: Settings) -> str:
    try:
        answer = httpx.get(f"{settings.label_studio_url}/api/version", timeout=5.0, follow_redirects=False)
        release = str(answer.raise_for_status().json()["release"])
    except (httpx.HTTPError, ValueError, KeyError) as fault:
        hint = (
            " Inside a container, “localhost” is the container itself: use the service's name."
            if urlsplit(settings.label_studio_url).hostname in _LOCAL_NAMES
            else ""
        )
        raise _Wrong(
            f"no Label Studio answers at {settings.label_studio_url} ({type(fault).__name__}). "
            f"Start it, or set LABEL_STUDIO_URL.{hint}"
        ) from None
    measured = "" if release.startswith(MEASURED_RELEASE) else f" (measured against {MEASURED_RELEASE})"
    return f"version {release} at {settings.label_studio_url}{measured}"


def _token(settings: Settings) -> str:
    client = LabelStudio(settings.label_studio_url, settings.api_key)
    return f"{client.token_kind} of {client.whoami()}"


def _web(settings: Settings) -> str:
    try:
        answer = httpx.get(f"{settings.own_url}/health", timeout=3.0)
        answer.raise_for_status()
        if answer.json().get("model_class") != "Datagen":
            raise _Wrong(f"something else than datagen answers at {settings.own_url}; set PORT or DATAGEN_PUBLIC_URL")
    except (httpx.HTTPError, ValueError) as fault:
        raise _Wrong(
            f"the web process does not answer at {settings.own_url} ({type(fault).__name__}). "
            "Start it (datagen up), or set DATAGEN_PUBLIC_URL to where Label Studio and browsers reach it."
        ) from None
    reached = connection_of(settings)
    known = httpx.get(f"{settings.own_url}/versions", auth=(reached.basic_user, reached.basic_pass), timeout=3.0)
    if known.status_code == httpx.codes.UNAUTHORIZED:
        raise _Wrong("it has another BASIC_AUTH_PASS than this command; use the same settings and data folder for both")
    return f"answers at {settings.own_url}"


def _image_link(settings: Settings) -> str:
    images = ImageStore(settings.resolved_store_url)
    digest = images.put(encode_png(np.full((2, 2), 128, np.uint8)))
    link = Links(settings.own_url, settings.signing_keys, settings.image_link_days).make(digest)
    try:
        answer = httpx.get(link, headers={"Origin": settings.label_studio_url}, timeout=5.0)
    except httpx.HTTPError as fault:
        raise _Wrong(f"an image link at {settings.own_url} does not load ({type(fault).__name__})") from None
    if answer.status_code != httpx.codes.OK:
        raise _Wrong(
            f"an image link answers {answer.status_code}: the web process has another data folder or image store; "
            "use the same DATAGEN_DATA_DIR and DATAGEN_STORE_URL for every part"
        )
    allowed = answer.headers.get("Access-Control-Allow-Origin", "")
    if allowed not in ("*", settings.label_studio_url):
        raise _Wrong(
            "the Access-Control-Allow-Origin header is lost on the way, so that Label Studio's editor shows no image; "
            "let the reverse proxy pass it on"
        )
    if settings.label_studio_url.startswith("https:") and settings.own_url.startswith("http:"):
        raise _Wrong(
            "Label Studio is on https and image links are on http: browsers refuse to mix them. "
            "Put the web process behind https and set DATAGEN_PUBLIC_URL."
        )
    return "loads in Label Studio's editor"


def _studies(settings: Settings, wanted: str | None) -> list[str]:
    """The studies to look at: the one asked for, else all; none while the database is away."""
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            if wanted is not None:
                return [find_study(session, wanted).name]
            return list(session.scalars(select(StudyRow.name).order_by(StudyRow.name)))
    except SQLAlchemyError:
        return []
    finally:
        database.close()


def _desks(settings: Settings, study_name: str) -> dict[Desk, int]:
    database = Database(settings.resolved_database_url)
    with database.read() as session:
        study = find_study(session, study_name)
        rows = session.scalars(select(DeskRow).where(DeskRow.study_id == study.id))
        return {row.desk: row.project_id for row in rows}


def _webhooks(settings: Settings, study_name: str) -> str:
    client = LabelStudio(settings.label_studio_url, settings.api_key)
    mend = f"run: datagen provision {study_name!r}"
    url, secret = f"{settings.own_url}/webhook", settings.secret_of_webhooks
    desks = _desks(settings, study_name)
    for desk, project_id in desks.items():
        ours = [hook for hook in client.webhooks(project_id) if hook.url == url]
        if not ours:
            raise _Wrong(
                f"project {project_id} ({desk}) has no webhook to {url}; {mend}. Where that is refused, Label Studio "
                "forbids private addresses: set SSRF_PROTECTION_ENABLED=false and ML_BLOCK_LOCAL_IP=false for it."
            )
        hook = ours[0]
        if not hook.is_active:
            raise _Wrong(f"the webhook of project {project_id} ({desk}) is switched off; {mend}")
        if not (hook.send_for_all_actions or set(ACTIONS) <= hook.actions):
            raise _Wrong(f"the webhook of project {project_id} ({desk}) lacks actions; {mend}")
        if hook.headers.get(SECRET_HEADER) != secret:
            raise _Wrong(f"the webhook of project {project_id} ({desk}) has another secret; {mend}")
    return f"{len(desks)} registered, with secret and actions"


def _delivery(settings: Settings, study_name: str) -> str:
    """Have Label Studio send an event, by saving a project as it is, and see it in the inbox."""
    client = LabelStudio(settings.label_studio_url, settings.api_key)
    project_id = _desks(settings, study_name)[Desk.DECISIONS]
    database = Database(settings.resolved_database_url)
    began = time.monotonic()
    with database.read() as session:
        before = session.scalar(select(func.max(InboxRow.id))) or 0
    project = client.project(project_id)
    client.update_project(project_id, {"description": project.options.get("description") or ""})
    arrived = select(InboxRow.id).where(InboxRow.id > before, InboxRow.project_id == project_id)
    while time.monotonic() - began < DELIVERY_SECONDS:
        with database.read() as session:
            if session.scalar(arrived.limit(1)) is not None:
                return f"an event sent through Label Studio arrived after {time.monotonic() - began:.2f} s"
        time.sleep(0.05)
    raise _Wrong(
        f"Label Studio did not deliver an event to {settings.own_url}/webhook within {DELIVERY_SECONDS:g} s. "
        "It must reach that address itself (from inside its container, “localhost” is not this machine): "
        f"set DATAGEN_PUBLIC_URL, and run: datagen provision {study_name!r}"
    )
