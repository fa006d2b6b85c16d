"""The model behind the ML-backend connection: what was worked out before is looked up, nothing is computed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datagen.store.database import Database
from datagen.web.prediction_lookup import predictions_of


@contextmanager
def _without_torch() -> Iterator[None]:
    """``label_studio_ml.model`` imports torch when it is installed; the web process must not pay for that."""
    absent = object()
    known = sys.modules.get("torch", absent)
    sys.modules["torch"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["torch"]
        if known is not absent:
            sys.modules["torch"] = known  # type: ignore[assignment]


with _without_torch():
    from label_studio_ml.model import LabelStudioMLBase


class DatagenModel(LabelStudioMLBase):  # type: ignore[misc]
    """Review tasks get the labels they were synthesized with, input tasks what is proposed for them."""

    def __init__(self, database: Database, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._database = database
        self.model_version = "datagen"

    def predict(self, tasks: Sequence[dict[str, Any]], **_kwargs: Any) -> list[dict[str, Any]]:
        """One prediction a task, in order; without regions for a task that nothing is known of."""
        return predictions_of(self._database, tasks)

    def fit(self, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        """Training is the workflow's "build preview", reached through the webhook."""
        return {}
