"""Lookup of the predictions that workers stored, for the ML-backend connection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from sqlalchemy import select

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import ProjectKind
from datagen.errors import DatagenError
from datagen.label_studio.mapping.predictions import prediction
from datagen.store.database import Database
from datagen.store.tables.batches import SampleRow
from datagen.store.tables.inputs import ProposalRow
from datagen.workflow.sample_mapping import LONGEST_KEY, lateness_of, sample_of

log = structlog.get_logger()

#: The prediction for an unknown task.
NOTHING: dict[str, Any] = {"result": [], "score": 0.0}


def predictions_of(database: Database, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one prediction for each task, in order: a sample's labels, a proposal for an input, or ``NOTHING``.

    The score of a preview says how late it is to be judged (``sample_mapping.lateness_of``).
    """
    keys = [_key(task) for task in tasks]
    ids = [_id(task) for task in tasks]
    with database.read() as session:
        samples = session.scalars(select(SampleRow).where(SampleRow.key.in_({key for key in keys if key})))
        known = {row.key: labels for row in samples if (labels := _of_sample(row)) is not None}
        proposals = session.scalars(select(ProposalRow).where(ProposalRow.task_id.in_(set(ids))))
        proposed = {row.task_id: row.prediction for row in proposals}
    return [known.get(key) or proposed.get(number) or NOTHING for key, number in zip(keys, ids, strict=True)]


def _of_sample(row: SampleRow) -> dict[str, Any] | None:
    """Return a sample's labels as a prediction.

    If its row cannot be read, log the error and return None, so that the other tasks still get their predictions.
    """
    try:
        return prediction(sample_of(row), ProjectKind.PREVIEWS, score=lateness_of(row))
    except (KeyError, TypeError, ValueError, ArithmeticError, DatagenError):
        log.exception("prediction.unusable_row", sample=row.id, key=row.key)
        return None


def _key(task: Mapping[str, Any]) -> str:
    """Return the ``datagen_key`` in the task's data; empty if it is missing or longer than a row's key can be."""
    data = task.get("data")
    key = data.get("datagen_key") if isinstance(data, Mapping) else None
    return plain(key) if isinstance(key, str) and len(key) <= LONGEST_KEY else ""


def _id(task: Mapping[str, Any]) -> int:
    """Return the task's id. If it is missing or does not fit into a database column, return 0, which no task has."""
    given = task.get("id")
    return given if type(given) is int and 0 < given < 2**63 else 0
