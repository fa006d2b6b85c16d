"""Checks of Datagen's own parts, from the database to the image links.

Each check takes the settings and returns a sentence if the part works. Otherwise it raises ``CheckFailed`` or another
``DatagenError``.
"""

from __future__ import annotations

import shlex
import time
from contextlib import closing
from urllib.parse import urlsplit

import httpx
import numpy as np
from redis.exceptions import RedisError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from datagen.entrypoints.bootstrap import engine_settings_of, server_access_of
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.imaging.png_encoder import encode_png
from datagen.operations.diagnostics.finding import CheckFailed
from datagen.queue import heartbeats
from datagen.queue.gpu_availability import engine_problems
from datagen.queue.jobs import ALL_QUEUES
from datagen.queue.live_workers import live_workers
from datagen.queue.queues import Queues, connect, explain_redis
from datagen.settings import Settings
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database, explain
from datagen.store.signed_urls import SignedUrls
from datagen.synthesis.engine import engine_class
from datagen.workflow.decisions.spec_versions import current_spec, parameters_for
from datagen.workflow.parameter_routing import remedy, select_parameters
from datagen.workflow.services import find_study

#: The doctor's timeouts for the image store, seconds: until its first response, and for one operation in total.
STORE_ANSWER_SECONDS, STORE_SECONDS = 1.5, 5.0


def check_database(settings: Settings) -> str:
    """Check that the database answers; return its dialect."""
    database = Database(settings.resolved_database_url)
    try:
        with database.read() as session:
            session.scalar(select(1))
    except SQLAlchemyError as error:
        raise CheckFailed(explain(error)) from None
    finally:
        database.close()
    return database.engine.dialect.name


def check_image_store(settings: Settings) -> str:
    """Check that the image store can be written and read."""
    images = BlobStore(settings.resolved_store_url, answer_s=STORE_ANSWER_SECONDS, whole_s=STORE_SECONDS)
    probe = f"datagen doctor {time.time_ns()}".encode()
    digest = images.put(probe)
    images.get(digest)
    images.delete(digest)
    return f"{settings.resolved_store_url} can be written and read"


def check_decoder(settings: Settings) -> str:
    """Check that the process that decodes pictures starts; return which of its restrictions this machine lacks."""
    with closing(DecoderSandbox(max_bytes=settings.max_image_bytes, max_pixels=settings.max_image_pixels)) as decoder:
        missing = decoder.missing_containment()
    if missing:
        return f"limited, but not fully contained on this machine: {'; '.join(missing)} (see docs/security.md)"
    return "contained: no file, network, process or secret can be reached from it"


def check_redis(settings: Settings) -> str:
    """Check that Redis answers; return its version and address."""
    address = urlsplit(settings.redis_url)
    try:
        with connect(settings.redis_url) as redis:
            info = redis.info()
    except RedisError as error:
        raise CheckFailed(explain_redis(error, f"Redis at {address.hostname}:{address.port or 6379}")) from None
    # Valkey reports the compatible Redis version besides its own
    server = f"Valkey {info['valkey_version']}" if "valkey_version" in info else f"version {info['redis_version']}"
    return f"{server} at {address.hostname}:{address.port or 6379}"


def check_worker(settings: Settings) -> str:
    """Check that workers are alive and together serve every queue."""
    try:
        with connect(settings.redis_url) as redis:
            alive = live_workers(Queues(redis))
            served = {name for worker in alive for name in worker.queues}
    except RedisError:
        raise CheckFailed("cannot be checked without Redis; fix Redis first") from None
    if not alive:
        raise CheckFailed("no worker is alive: nothing would be synthesized. Start one: datagen up (or datagen worker)")
    if unserved := [name for name in ALL_QUEUES if name not in served]:
        queues = " --queue ".join(unserved)
        raise CheckFailed(f"no worker serves {', '.join(unserved)}; start one: datagen worker --queue {queues}")
    return f"{len(alive)} alive"


def check_engine(settings: Settings) -> str:
    """Check that the engine is installed and has no problems; return its name and version."""
    engine = engine_class(settings.engine)
    parameters = select_parameters(engine.name, settings.engine_parameters)
    if problems := engine_problems(settings.redis_url, engine_settings_of(settings), engine.name, parameters):
        raise CheckFailed(" ".join([*problems, *remedy(engine.name)]))
    return f"{engine.name}, version {engine.version}"


def check_engine_of(settings: Settings, study_name: str) -> str:
    """Check the engine of a study's next version; return its name."""
    with closing(Database(settings.resolved_database_url)) as database, database.read() as session:
        study = find_study(session, study_name)
        parameters = parameters_for(study, current_spec(session, study.id), settings.engine_parameters)
        engine = study.engine
    if problems := engine_problems(settings.redis_url, engine_settings_of(settings), engine, parameters):
        raise CheckFailed(" ".join([*problems, *remedy(engine)]))
    if settings.chosen_engine not in (None, engine):
        change = f"datagen provision {shlex.quote(study_name)}"
        return f"{engine}; DATAGEN_ENGINE is {settings.chosen_engine}: “{change}” changes it"
    return engine


def check_scheduler(settings: Settings) -> str:
    """Check that a scheduler is alive."""
    try:
        with connect(settings.redis_url) as redis:
            if not heartbeats.alive(redis, heartbeats.Kind.SCHEDULER):
                raise CheckFailed(
                    "no scheduler is alive: lost jobs would not be found. Start it: datagen up (or scheduler)"
                )
    except RedisError:
        raise CheckFailed("cannot be checked without Redis; fix Redis first") from None
    return "alive"


def check_web(settings: Settings) -> str:
    """Check that the web process answers at the address that Label Studio uses."""
    try:
        response = httpx.get(f"{settings.own_url}/health", timeout=3.0)
        response.raise_for_status()
        if response.json().get("model_class") != "Datagen":
            raise CheckFailed(
                f"something else than datagen answers at {settings.own_url}; set PORT or DATAGEN_PUBLIC_URL"
            )
    except (httpx.HTTPError, ValueError) as error:
        raise CheckFailed(
            f"the web process does not answer at {settings.own_url} ({type(error).__name__}). "
            "Start it (datagen up), or set DATAGEN_PUBLIC_URL to where Label Studio and browsers reach it."
        ) from None
    return f"answers at {settings.own_url}"


def check_login(settings: Settings) -> str:
    """Check that the web process accepts the installation's password."""
    access = server_access_of(settings)
    try:
        credentials = (access.basic_user, access.basic_pass)
        response = httpx.get(f"{settings.own_url}/versions", auth=credentials, timeout=3.0)
    except httpx.HTTPError as error:
        raise CheckFailed(f"the web process does not answer at {settings.own_url} ({type(error).__name__})") from None
    # the right password is accepted even when wrong ones are throttled
    if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.TOO_MANY_REQUESTS):
        raise CheckFailed(
            "the web process has another BASIC_AUTH_USER or BASIC_AUTH_PASS: it was started before they were changed. "
            "Send it SIGHUP, or start it again"
        )
    return "the web process has the installation's password"


def check_image_link(settings: Settings) -> str:
    """Check that an image link can be opened with the same kind of request that Label Studio's editor sends."""
    images = BlobStore(settings.resolved_store_url, answer_s=STORE_ANSWER_SECONDS, whole_s=STORE_SECONDS)
    digest = images.put(encode_png(np.full((2, 2), 128, np.uint8)))
    link = SignedUrls(settings.own_url, settings.signing_keys, settings.image_link_days).make(digest)
    try:
        response = httpx.get(link, headers={"Origin": settings.label_studio_url}, timeout=5.0)
    except httpx.HTTPError as error:
        raise CheckFailed(f"an image link at {settings.own_url} does not load ({type(error).__name__})") from None
    if response.status_code != httpx.codes.OK:
        raise CheckFailed(
            f"an image link answers {response.status_code}: the web process was started with another signing key or "
            "image store than the installation's; start it again with the same DATAGEN_SIGNING_KEYS, DATAGEN_STORE_URL "
            "and DATAGEN_DATA_DIR as this machine"
        )
    allowed = response.headers.get("Access-Control-Allow-Origin", "")
    if allowed not in ("*", settings.label_studio_url):
        raise CheckFailed(
            "the Access-Control-Allow-Origin header is lost on the way, so that Label Studio's editor shows no image; "
            "let the reverse proxy pass it on"
        )
    if settings.label_studio_url.startswith("https:") and settings.own_url.startswith("http:"):
        raise CheckFailed(
            "Label Studio is on https and image links are on http: browsers refuse to mix them. "
            "Put the web process behind https and set DATAGEN_PUBLIC_URL."
        )
    return "loads in Label Studio's editor"
