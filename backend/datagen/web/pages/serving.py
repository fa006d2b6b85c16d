"""The program that serves the pages and the API, in one process: ``python -m datagen.web.pages.serving SOCKET``.

``web.pages_process`` starts it, and forwards requests to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache, partial
from typing import Any

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from waitress import serve

from datagen.entrypoints.bootstrap import build_services, server_access_of
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.label_studio.api.accounts import Accounts
from datagen.operations.health import label_studio_health, readiness
from datagen.operations.logging import configure_logging
from datagen.operations.parent_watch import stop_on_parent_exit
from datagen.operations.readiness import ReadinessCache
from datagen.queue.queues import Queues, connect
from datagen.settings import Settings
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.download_files import DownloadFiles
from datagen.web.api.app import ApiParts, create_api
from datagen.web.api.bearer import TokenAccounts
from datagen.web.api.limits import LARGEST_UPLOAD
from datagen.web.api.limits import ROOT as API_ROOT
from datagen.web.api.studies import NewStudy
from datagen.web.download_sending import DownloadSender
from datagen.web.pages.addresses import Addresses
from datagen.web.pages.background import BackgroundWork
from datagen.web.pages.blueprint import Studio, pages_blueprint
from datagen.web.pages.decision_views import FormLimits
from datagen.web.pages.forms import FormTokens
from datagen.web.pages.notices import Notices
from datagen.web.pages.pictures import Pictures
from datagen.web.pages.rendering import Renderer
from datagen.web.pages.reproductions import Reproductions
from datagen.web.pages.sessions import Sessions
from datagen.web.pages.static_files import StaticFiles
from datagen.web.pages.thumbnail_cache import ThumbnailCache
from datagen.web.pages.visitors import Visitors, credential_in_network, credential_of_form, network_of_request
from datagen.web.pages_process import CLIENT_HEADER, LARGEST_REQUEST
from datagen.web.responses import plain_errors, quiet_headers
from datagen.web.view_pools import POOLS
from datagen.workflow.services import Services
from datagen.workflow.studies.clone import Cloned, clone_study
from datagen.workflow.studies.open import OpenedStudy, open_study
from datagen.workflow.study_pages.access import known_projects

#: A WSGI application.
Application = Callable[..., Iterable[bytes]]
#: Time limits for the image store while it serves a picture: until its first response, and in total, seconds.
STORE_ANSWER_SECONDS, STORE_SECONDS = 3.0, 10.0
#: Processor time for decoding one picture, seconds: pictures are decoded one after another, and people wait.
DECODER_SECONDS = 10
#: Time limit of one PostgreSQL statement, seconds.
STATEMENT_SECONDS = 10
#: Seconds between two checks of the installation's parts, whose result each page shows in one line.
READINESS_SECONDS = 10.0
#: Requests for pages and their pictures that one address may send in a second: people behind one proxy share it.
PAGES_PER_SECOND = 400
#: Log-ins that may be tried from one network, with one e-mail address (or token) there, and with it from everywhere.
#: The last number is large, because whoever knows an e-mail address can use it up.
LOG_INS_OF_NETWORK, LOG_INS_OF_EMAIL, LOG_INS_FROM_EVERYWHERE = (
    "60 per minute",
    "5 per minute; 30 per hour",
    "300 per hour",
)
#: Number of threads: the web process forwards no more requests at a time.
THREADS = sum(
    POOLS[name].threads
    for name in ("pages", "thumbnails", "actions", "verdicts", "log-in", "streams", "downloads", "api")
)
#: Bytes of a response that are buffered before its thread waits for the web process to read them.
STREAM_BUFFER = 2**20


def create_pages_app(chosen: Settings) -> Flask:
    """Return the application with the pages."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_REQUEST
    plain_errors(app)
    app.after_request(quiet_headers)
    queues = Queues(connect(chosen.redis_url))
    images = BlobStore(chosen.resolved_store_url, answer_s=STORE_ANSWER_SECONDS, whole_s=STORE_SECONDS)
    database = Database(chosen.resolved_database_url, statement_seconds=STATEMENT_SECONDS)
    parts = partial(readiness, database, queues, label_studio_health(chosen.label_studio_url), images, downloads=True)
    readiness_cache = ReadinessCache(parts, READINESS_SECONDS)
    readiness_cache.start()
    accounts = Accounts(chosen.label_studio_url, lambda: chosen.api_key)
    addresses = Addresses(chosen.label_studio_address, StaticFiles())
    background = BackgroundWork()
    downloads = DownloadSender(database, DownloadFiles(chosen.resolved_store_url))

    @cache
    def services() -> Services:
        return replace(build_services(chosen, queues.enqueue), database=database)

    clone = partial(_clone_study, chosen, services)
    pages = pages_blueprint(
        Studio(
            database=database,
            visitors=Visitors(
                sessions=Sessions(queues.redis, accounts, chosen.signing_keys),
                accounts=accounts,
                tokens=FormTokens(chosen.signing_keys),
                notices=Notices(chosen.signing_keys),
                is_https=chosen.own_url.startswith("https://"),
            ),
            pictures=Pictures(
                images,
                DecoderSandbox(
                    max_bytes=chosen.max_image_bytes, max_pixels=chosen.max_image_pixels, cpu_seconds=DECODER_SECONDS
                ),
                ThumbnailCache(chosen.data_dir.absolute() / "thumbnails"),
            ),
            addresses=addresses,
            readiness=readiness_cache,
            renderer=Renderer(addresses),
            downloads=downloads,
            services=services,
            clone_study=clone,
            limits=FormLimits(audit_size=chosen.audit_size, most_images=chosen.max_run_images),
            background=background,
            reproductions=Reproductions(background),
        )
    )
    app.register_blueprint(pages)
    limiter = Limiter(get_remote_address, app=app, storage_uri="memory://")
    limiter.limit(f"{PAGES_PER_SECOND} per second")(pages)
    for limit, key in (
        (LOG_INS_FROM_EVERYWHERE, credential_of_form),
        (LOG_INS_OF_EMAIL, credential_in_network),
        (LOG_INS_OF_NETWORK, network_of_request),
    ):
        checked: Any = limiter.limit(limit, key_func=key)(app.view_functions["pages.check_log_in"])
        app.view_functions["pages.check_log_in"] = checked
    api = create_api(
        ApiParts(
            database=database,
            images=images,
            downloads=downloads,
            accounts=TokenAccounts(accounts, partial(_known_projects, database)),
            readiness=readiness_cache,
            address_of=addresses.label_studio,
            services=services,
            create_study=partial(_create_study, chosen, services),
            clone_study=clone,
        )
    )
    app.wsgi_app = _from_client(_with_api(app.wsgi_app, api))  # type: ignore[method-assign]
    return app


def _known_projects(database: Database) -> list[int]:
    with database.read() as session:
        return known_projects(session)


def _create_study(chosen: Settings, services: Callable[[], Services], study: NewStudy, who: str) -> OpenedStudy:
    """Create a study as ``datagen provision`` does.

    Raises:
        StudyExists: there is one of that name.
    """
    return open_study(
        services(),
        study.name,
        study.labels,
        server_access_of(chosen),
        engine=study.engine or chosen.chosen_engine,
        default_engine=chosen.engine,
        preview_size=study.preview_size or chosen.preview_size,
        who=who,
        only_new=True,
    )


def _clone_study(
    chosen: Settings, services: Callable[[], Services], study_id: int, new_name: str, who: str, version: int | None
) -> Cloned:
    """Clone a study as ``datagen clone`` does."""
    return clone_study(services(), study_id, new_name, who, server_access_of(chosen), version=version)


def _with_api(pages: Application, api: Application) -> Application:
    """Return an application that hands what is below the API's path to ``api``, and everything else to ``pages``."""

    def with_api(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        is_of_api = environ.get("PATH_INFO", "").startswith(API_ROOT + "/")
        return (api if is_of_api else pages)(environ, start_response)

    return with_api


def _from_client(application: Application) -> Application:
    """Return the application with the client's address in place of that of the web process."""
    name = "HTTP_" + CLIENT_HEADER.upper().replace("-", "_")

    def from_client(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ["REMOTE_ADDR"] = environ.pop(name, "")
        return application(environ, start_response)

    return from_client


def main(path: str) -> None:
    """Serve the pages on the Unix socket ``path`` until the web process ends."""
    chosen = Settings()
    configure_logging(chosen.log_level, chosen.known_secrets())
    stop_on_parent_exit()
    serve(
        create_pages_app(chosen),
        unix_socket=path,
        unix_socket_perms="600",
        threads=THREADS,
        ident=None,
        max_request_body_size=2 * LARGEST_UPLOAD,
        outbuf_high_watermark=STREAM_BUFFER,
    )


if __name__ == "__main__":
    main(sys.argv[1])
