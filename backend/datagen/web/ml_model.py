"""The model of the ML-backend connection: it looks up stored predictions and computes nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from datagen.store.database import Database
from datagen.web.prediction_lookup import predictions_of


@contextmanager
def _without_torch() -> Iterator[None]:
    """Context manager that hides torch: ``label_studio_ml.model`` would import it, which the web process avoids."""
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
    """Review tasks get the labels of their samples; input tasks get their proposals."""

    def __init__(self, database: Database, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._database = database
        self.model_version = "datagen"

    def predict(self, tasks: Sequence[dict[str, Any]], **_kwargs: Any) -> list[dict[str, Any]]:
        """One prediction for each task, in order; without regions for an unknown task."""
        return predictions_of(self._database, tasks)

    def fit(self, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        """Do nothing: training is the workflow's "build preview", started by the webhook."""
        return {}
