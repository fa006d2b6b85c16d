"""Application factory of the Flask web process."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Flask
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from werkzeug.middleware.proxy_fix import ProxyFix

from datagen.entrypoints.bootstrap import server_access_of
from datagen.entrypoints.installation import join_web
from datagen.operations.health import label_studio_health, readiness
from datagen.operations.logging import configure_logging
from datagen.operations.readiness import ReadinessCache
from datagen.queue.debounce import DebouncedNotifier
from datagen.queue.queues import Queues, connect
from datagen.settings import Settings
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.signed_urls import SignedUrls
from datagen.web.auth import Authenticator
from datagen.web.health import READINESS, vitals_blueprint
from datagen.web.images import pictures_blueprint
from datagen.web.ml_backend import ml_blueprint
from datagen.web.pages_process import PAGES, PagesProcess, forwarding_blueprint
from datagen.web.responses import bounded_bodies, plain_errors, quiet_headers
from datagen.web.webhook import webhook_blueprint
from datagen.web.wrong_credentials import WrongCredentials


def joined_app() -> Flask:
    """Return the application, after a check that this process belongs to the installation.

    gunicorn calls this function at the start, and again after SIGHUP.

    Raises:
        SchemaProblem, SecretProblem: The process does not belong to the installation; the message names the fix.
    """
    chosen = Settings()
    configure_logging(chosen.log_level, chosen.known_secrets())
    join_web(chosen)
    return create_app(chosen)


#: Time limits for the image store while it serves an image request, seconds: until its first response, and in total.
STORE_ANSWER_SECONDS, STORE_SECONDS = 3.0, 10.0
#: Time limit of one PostgreSQL statement, seconds.
STATEMENT_SECONDS = 10


def create_app(settings: Settings | None = None) -> Flask:
    """Return the Flask application of the web process."""
    chosen = settings or Settings()
    access = server_access_of(chosen)
    configure_logging(chosen.log_level, chosen.known_secrets())
    authenticator = Authenticator(
        access.basic_user,
        [access.basic_pass, chosen.previous_password],
        [access.webhook_secret, chosen.previous_secret_of_webhooks],
        WrongCredentials(chosen.wrong_credentials_per_minute),
    )
    # webhooks have their own connection pool, so slow queries of other views cannot delay an event
    events, database = (Database(chosen.resolved_database_url, statement_seconds=STATEMENT_SECONDS) for _ in range(2))
    queues = Queues(connect(chosen.redis_url))
    images = BlobStore(chosen.resolved_store_url, answer_s=STORE_ANSWER_SECONDS, whole_s=STORE_SECONDS)
    links = SignedUrls(chosen.own_url, chosen.signing_keys, chosen.image_link_days)

    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = chosen.max_webhook_bytes
    bounded_bodies(app)
    plain_errors(app)
    app.after_request(quiet_headers)
    webhook = webhook_blueprint(authenticator, events, DebouncedNotifier(queues.enqueue))
    cache = ReadinessCache(partial(readiness, database, queues, label_studio_health(chosen.label_studio_url), images))
    app.extensions[READINESS] = cache
    vitals = vitals_blueprint(authenticator, database, queues, cache)
    app.extensions[PAGES] = pages_process = PagesProcess()
    pages = forwarding_blueprint(pages_process)
    for blueprint in (webhook, ml_blueprint(authenticator, database), pictures_blueprint(images, links), vitals, pages):
        app.register_blueprint(blueprint)
    limiter = Limiter(get_remote_address, app=app, storage_uri="memory://")
    limiter.limit(f"{chosen.webhooks_per_second} per second")(webhook)
    # /metrics queries the database and Redis; /ready answers from a cache and needs no limit
    if chosen.proxies:
        proxied = ProxyFix(app.wsgi_app, x_for=chosen.proxies, x_proto=0, x_host=0)
        app.wsgi_app = proxied  # type: ignore[method-assign]
    limited: Any = limiter.limit("20 per second")(app.view_functions["vitals.metrics"])
    app.view_functions["vitals.metrics"] = limited
    return app
