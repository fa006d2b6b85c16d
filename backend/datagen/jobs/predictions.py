"""Predictions for the ML-backend connection: what is known of a task, looked up by our key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from datagen.domain.inputs import Desk
from datagen.label_studio.predictions import prediction
from datagen.store.database import Database
from datagen.store.rows import SampleRow
from datagen.workflow.samples import sample_of


def predictions_of(database: Database, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Key → prediction, for those keys that are samples of ours."""
    with database.read() as session:
        rows = session.scalars(select(SampleRow).where(SampleRow.key.in_([key for key in keys if key])))
        return {row.key: prediction(sample_of(row), Desk.PREVIEWS) for row in rows}
