"""Predictions for the ML-backend connection: what a worker worked out before, looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from datagen.domain.inputs import Desk
from datagen.label_studio.predictions import prediction
from datagen.store.database import Database
from datagen.store.rows import ProposalRow, SampleRow
from datagen.workflow.samples import sample_of

#: What is said of a task that nothing is known of.
NOTHING: dict[str, Any] = {"result": [], "score": 0.0}


def predictions_of(database: Database, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One prediction a task, in order: a sample's labels, a proposal for an input, or nothing."""
    keys = [_key(task) for task in tasks]
    ids = [_id(task) for task in tasks]
    with database.read() as session:
        samples = session.scalars(select(SampleRow).where(SampleRow.key.in_([key for key in keys if key])))
        known = {row.key: prediction(sample_of(row), Desk.PREVIEWS) for row in samples}
        proposals = session.scalars(select(ProposalRow).where(ProposalRow.task_id.in_(ids)))
        proposed = {row.task_id: row.prediction for row in proposals}
    return [known.get(key) or proposed.get(number) or NOTHING for key, number in zip(keys, ids, strict=True)]


def _key(task: Mapping[str, Any]) -> str:
    data = task.get("data")
    return str(data.get("datagen_key", "")) if isinstance(data, Mapping) else ""


def _id(task: Mapping[str, Any]) -> int:
    """The task's id; 0, which no task has, where it says none that a column could hold."""
    given = task.get("id")
    return given if type(given) is int and 0 < given < 2**63 else 0
