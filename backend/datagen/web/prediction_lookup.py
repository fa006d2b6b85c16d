"""Predictions for the ML-backend connection: what a worker worked out before, looked up."""

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
from datagen.store.tables import ProposalRow, SampleRow
from datagen.workflow.sample_mapping import LONGEST_KEY, sample_of

log = structlog.get_logger()

#: What is said of a task that nothing is known of.
NOTHING: dict[str, Any] = {"result": [], "score": 0.0}


def predictions_of(database: Database, tasks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One prediction a task, in order: a sample's labels, a proposal for an input, or nothing."""
    keys = [_key(task) for task in tasks]
    ids = [_id(task) for task in tasks]
    with database.read() as session:
        samples = session.scalars(select(SampleRow).where(SampleRow.key.in_({key for key in keys if key})))
        known = {row.key: made for row in samples if (made := _of_sample(row)) is not None}
        proposals = session.scalars(select(ProposalRow).where(ProposalRow.task_id.in_(set(ids))))
        proposed = {row.task_id: row.prediction for row in proposals}
    return [known.get(key) or proposed.get(number) or NOTHING for key, number in zip(keys, ids, strict=True)]


def _of_sample(row: SampleRow) -> dict[str, Any] | None:
    """A sample's labels; None, and a line in the log, where its row cannot be understood: the others are answered."""
    try:
        return prediction(sample_of(row), ProjectKind.PREVIEWS)
    except (KeyError, TypeError, ValueError, ArithmeticError, DatagenError):
        log.exception("prediction.unusable_row", sample=row.id, key=row.key)
        return None


def _key(task: Mapping[str, Any]) -> str:
    """Our key in the task's data; empty where there is none that a row could have."""
    data = task.get("data")
    key = data.get("datagen_key") if isinstance(data, Mapping) else None
    return plain(key) if isinstance(key, str) and len(key) <= LONGEST_KEY else ""


def _id(task: Mapping[str, Any]) -> int:
    """The task's id; 0, which no task has, where it says none that a column could hold."""
    given = task.get("id")
    return given if type(given) is int and 0 < given < 2**63 else 0
