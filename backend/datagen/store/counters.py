"""Persistent counters of events, by name. They are for metrics only; no decision depends on them.

Deleted inbox events remain counted: ``pruned_events:<action>:<state>`` is the number of events that were deleted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from datagen.store.database import Database
from datagen.store.tables.installation import CounterRow

_PRUNED = "pruned_events:"


def count(database: Database, name: str) -> None:
    """Add one to a counter."""
    with database.write() as session:
        _add(session, name, 1)


def count_pruned(session: Session, events: Iterable[tuple[str, str]]) -> None:
    """Count deleted events, given as pairs of their action and their state, both as the metrics name them."""
    for (action, state), number in Counter(events).items():
        _add(session, f"{_PRUNED}{action}:{state}", number)


def pruned_events(database: Database) -> dict[tuple[str, str], int]:
    """Return the number of deleted events by action and state."""
    values = _values(database, CounterRow.name.startswith(_PRUNED, autoescape=True))
    parts = ((name.removeprefix(_PRUNED).rpartition(":"), value) for name, value in values.items())
    return {(action, state): value for (action, _, state), value in parts}


def _add(session: Session, name: str, amount: int) -> None:
    updated = session.execute(update(CounterRow).where(CounterRow.name == name).values(value=CounterRow.value + amount))
    if updated.rowcount == 0:  # type: ignore[attr-defined]
        session.add(CounterRow(name=name, value=amount))
        session.flush()


def counts(database: Database) -> dict[str, int]:
    """Return every counter except those of deleted events."""
    return _values(database, ~CounterRow.name.startswith(_PRUNED, autoescape=True))


def _values(database: Database, condition: ColumnElement[bool]) -> dict[str, int]:
    with database.read() as session:
        return {row.name: row.value for row in session.scalars(select(CounterRow).where(condition))}
