"""``/ready`` and ``/metrics`` for operators and container engines. ``/health`` (liveness) is part of ``ml_backend``."""

from __future__ import annotations

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from datagen.operations.health import MetricsCollector
from datagen.operations.readiness import ReadinessCache
from datagen.queue.queues import Queues
from datagen.store.database import Database
from datagen.web.auth import Authenticator

#: Key of the ``ReadinessCache`` in ``app.extensions``. The worker process starts the cache.
READINESS = "datagen_readiness"


def vitals_blueprint(
    authenticator: Authenticator, database: Database, queues: Queues, cache: ReadinessCache
) -> Blueprint:
    """Return the blueprint of both views. ``/ready`` needs no log-in, because it reveals only which parts work."""
    blueprint = Blueprint("vitals", __name__)
    registry = CollectorRegistry()
    registry.register(MetricsCollector(database, queues, lambda: cache.latest().parts))

    @blueprint.get("/ready")
    def ready() -> ResponseReturnValue:
        latest = cache.latest()
        answer = {"parts": dict(latest.parts), "age_seconds": round(latest.age, 1)}
        if latest.stale:
            answer["error"] = f"the parts were last asked {latest.age:.0f} s ago; one of them does not answer in time"
        elif not latest.parts:
            answer["error"] = "the parts are being asked for the first time; ask again in a few seconds"
        is_ready = bool(latest.parts) and all(latest.parts.values()) and not latest.stale
        return {"ready": is_ready, **answer}, 200 if is_ready else 503

    @blueprint.get("/metrics")
    @authenticator.password_required
    def metrics() -> ResponseReturnValue:
        return Response(generate_latest(registry), mimetype=CONTENT_TYPE_LATEST)

    return blueprint
