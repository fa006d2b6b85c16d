"""Handled events are deleted after their retention, in portions, and stay counted; pending ones never are."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest
from prometheus_client.core import Metric
from redis import Redis
from sqlalchemy import event, func, select

from datagen.operations.health import MetricsCollector
from datagen.queue import recovery
from datagen.queue.queues import Queues
from datagen.queue.recovery import prune_inbox
from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.messages import InboxRow

DAYS = 14


def put(database: Database, state: WorkState, days_ago: float, count: int = 1, action: str = "TASKS_CREATED") -> None:
    with database.write() as session:
        first = (session.scalar(select(func.max(InboxRow.id))) or 0) + 1
        session.add_all(
            InboxRow(
                fingerprint=f"event {first + number}",
                action=action,
                state=state,
                due_at=now() - timedelta(days=days_ago),
            )
            for number in range(count)
        )


def left(database: Database) -> Counter[WorkState]:
    with database.read() as session:
        return Counter(session.scalars(select(InboxRow.state)))


def test_only_what_ended_and_is_old_is_deleted(database: Database) -> None:
    for state in WorkState:
        put(database, state, DAYS + 1)
        put(database, state, DAYS - 1)
    put(database, WorkState.FAILED, 4 * DAYS + 1)
    assert prune_inbox(database, DAYS) == 3
    ended = {WorkState.DONE: 1, WorkState.CANCELLED: 1, WorkState.FAILED: 2}
    assert left(database) == ended | {WorkState.PENDING: 2, WorkState.RUNNING: 2, WorkState.PAUSED: 2}
    assert prune_inbox(database, DAYS) == 0


def test_many_are_deleted_in_bounded_transactions_and_sweeps(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "PRUNED_AT_ONCE", 10)
    monkeypatch.setattr(recovery, "PRUNED_IN_A_SWEEP", 30)
    put(database, WorkState.DONE, DAYS + 1, count=45)
    commits: list[int] = []
    event.listen(database._writing, "commit", lambda _connection: commits.append(1))
    assert prune_inbox(database, DAYS) == 30
    assert len(commits) == 3
    assert prune_inbox(database, DAYS) == 15
    assert left(database) == {}


def test_a_flood_is_deleted_before_its_days_are_over(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "MAX_HANDLED", 20)
    put(database, WorkState.PENDING, 0)
    put(database, WorkState.DONE, 0, count=50)
    assert prune_inbox(database, DAYS) == 30
    assert left(database) == {WorkState.PENDING: 1, WorkState.DONE: 20}


def figure(database: Database) -> dict[tuple[str, str], float]:
    metrics: list[Metric] = list(MetricsCollector(database, Queues(Redis(port=1)), dict)._events())
    [events] = [metric for metric in metrics if metric.name == "datagen_events"]
    return {(sample.labels["action"], sample.labels["outcome"]): sample.value for sample in events.samples}


def test_deleted_events_go_on_counting_and_unknown_actions_are_one_figure(database: Database) -> None:
    """Prometheus takes a falling counter for a restart; one series for each unknown action would be unbounded."""
    put(database, WorkState.DONE, DAYS + 1, count=3)
    put(database, WorkState.DONE, 0, count=2)
    for number in range(5):
        put(database, WorkState.DONE, DAYS + 1 if number % 2 else 0, action=f"MADE_UP_{number}")
    before = figure(database)
    assert before == {("TASKS_CREATED", "done"): 5, ("other", "done"): 5}
    assert prune_inbox(database, DAYS) == 5
    assert figure(database) == before
