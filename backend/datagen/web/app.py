"""The Flask application, put together."""

from __future__ import annotations

from flask import Flask

from datagen.jobs.context import configure_logging, connection_of
from datagen.jobs.queues import Queues, connect
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.images import ImageStore
from datagen.store.links import Links
from datagen.web.auth import Gate
from datagen.web.ml import ml_blueprint
from datagen.web.pictures import pictures_blueprint
from datagen.web.webhook import webhook_blueprint


def create_app(settings: Settings | None = None) -> Flask:
    """The web process's application."""
    chosen = settings or Settings()
    configure_logging(chosen.log_level)
    reached = connection_of(chosen)
    gate = Gate(reached.basic_user, reached.basic_pass, reached.webhook_secret)
    database = Database(chosen.resolved_database_url)
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = chosen.max_webhook_bytes
    app.register_blueprint(webhook_blueprint(gate, database, Queues(connect(chosen.redis_url))))
    app.register_blueprint(ml_blueprint(gate, database))
    app.register_blueprint(
        pictures_blueprint(
            ImageStore(chosen.resolved_store_url),
            Links(chosen.own_url, chosen.signing_key, chosen.image_link_days),
        )
    )
    return app
