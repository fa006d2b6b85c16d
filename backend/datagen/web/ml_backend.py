"""Label Studio's ML-backend protocol: /health, /setup, /predict, /versions.

"Start Training" is not handled here: it is received as a webhook.

The server of the package ``label_studio_ml`` is not used: it drops START_TRAINING, answers GET /versions with 405, and
has no authentication.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue

from datagen import __version__
from datagen.domain.foreign_text import read_json
from datagen.store.database import Database
from datagen.web.auth import Authenticator
from datagen.web.ml_model import DatagenModel

#: Maximum number of tasks in a request. Label Studio sends at most one page of its task list.
MAX_TASKS = 1000


def ml_blueprint(authenticator: Authenticator, database: Database) -> Blueprint:
    """Return the blueprint of the protocol's views, which share one model."""
    blueprint = Blueprint("ml", __name__)
    model = DatagenModel(database=database)

    @blueprint.get("/health")
    @blueprint.get("/")
    def health() -> ResponseReturnValue:
        return {"status": "UP", "model_class": "Datagen", "version": __version__}

    @blueprint.post("/setup")
    @authenticator.password_required
    def setup() -> ResponseReturnValue:
        return {"model_version": model.model_version}

    @blueprint.get("/versions")
    @authenticator.password_required
    def versions() -> ResponseReturnValue:
        return {"versions": [model.model_version]}

    @blueprint.post("/predict")
    @authenticator.password_required
    def predict() -> ResponseReturnValue:
        try:
            body: Any = read_json(request.get_data(cache=False))
        except ValueError:
            body = None
        tasks = body.get("tasks") if isinstance(body, dict) else None
        if not isinstance(tasks, list) or len(tasks) > MAX_TASKS or not all(isinstance(t, dict) for t in tasks):
            return {"error": f"“tasks” must be a list of at most {MAX_TASKS} tasks"}, 400
        return {"results": model.predict(tasks), "model_version": model.model_version}

    return blueprint
