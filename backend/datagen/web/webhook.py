"""``/webhook``: checks the secret, stores the event and answers. The workflow interprets the event later."""

from __future__ import annotations

import structlog
from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import InputProblem, Refused
from datagen.queue.debounce import DebouncedNotifier
from datagen.store.database import Database
from datagen.web.auth import Authenticator
from datagen.web.inbox import record

log = structlog.get_logger()


def webhook_blueprint(authenticator: Authenticator, database: Database, notifier: DebouncedNotifier) -> Blueprint:
    """Return the blueprint of the view.

    Label Studio sends the ML backend's "Start Training" here too, with basic auth in place of the webhook secret.
    """
    blueprint = Blueprint("webhook", __name__)

    @blueprint.post("/webhook")
    def webhook() -> ResponseReturnValue:
        claim = authenticator.webhook_claim()
        if claim is None and not authenticator.has_password():
            return authenticator.refusal(
                {"error": "the webhook's secret is missing or wrong; run: datagen provision STUDY"}
            )
        try:
            new = record(database, notifier, request.get_data(), claim)
        except InputProblem as problem:
            return {"error": str(problem)}, 400
        except Refused as refusal:
            return {"error": str(refusal)}, 403
        except SQLAlchemyError as fault:
            log.exception("event.not_stored", reason=type(fault).__name__)
            return {"error": "the database is unavailable; the event is found later by polling Label Studio"}, 503
        return {"stored": new}, 201 if new else 200

    return blueprint
