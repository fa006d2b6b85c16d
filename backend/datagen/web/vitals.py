"""``/ready`` and ``/metrics``: what operators and container engines ask. ``/health`` (alive) is the ML protocol's."""

from __future__ import annotations

from functools import partial

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from datagen.jobs.queues import Queues
from datagen.jobs.vitals import Figures, readiness
from datagen.store.database import Database
from datagen.store.images import ImageStore
from datagen.web.auth import Gate


def vitals_blueprint(
    gate: Gate, database: Database, queues: Queues, label_studio_url: str, images: ImageStore
) -> Blueprint:
    """The views; ``/ready`` says only which parts answer, and so needs no log-in."""
    blueprint = Blueprint("vitals", __name__)
    registry = CollectorRegistry()
    parts_now = partial(readiness, database, queues, label_studio_url, images)
    registry.register(Figures(database, queues, parts_now))

    @blueprint.get("/ready")
    def ready() -> ResponseReturnValue:
        parts = parts_now()
        return {"ready": all(parts.values()), "parts": parts}, 200 if all(parts.values()) else 503

    @blueprint.get("/metrics")
    @gate.password_required
    def metrics() -> ResponseReturnValue:
        return Response(generate_latest(registry), mimetype=CONTENT_TYPE_LATEST)

    return blueprint
