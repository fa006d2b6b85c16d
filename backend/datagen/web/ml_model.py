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
    """Context manager that hides torch, so that ``label_studio_ml.model`` does not load it into the web process."""
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
    """The model of the ML backend: a review task gets the labels of its sample, an input task gets its proposal."""

    def __init__(self, database: Database, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._database = database
        self.model_version = "datagen"

    def predict(self, tasks: Sequence[dict[str, Any]], **_kwargs: Any) -> list[dict[str, Any]]:
        """Return one prediction for each task, in order. The prediction for an unknown task has no regions."""
        return predictions_of(self._database, tasks)

    def fit(self, *_args: Any, **_kwargs: Any) -> dict[str, Any]:
        """Do nothing. "Start Training" arrives as a webhook, and the workflow handles it as "build preview"."""
        return {}
