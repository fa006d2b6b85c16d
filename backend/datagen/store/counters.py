"""Counters that outlive processes: what happened so often, by name. For figures, never for decisions."""

from __future__ import annotations

from sqlalchemy import select, update

from datagen.store.database import Database
from datagen.store.rows import CounterRow


def count(database: Database, name: str, amount: int = 1) -> None:
    """Add to a counter."""
    with database.write() as session:
        added = session.execute(
            update(CounterRow).where(CounterRow.name == name).values(value=CounterRow.value + amount)
        )
        if added.rowcount == 0:  # type: ignore[attr-defined]
            session.add(CounterRow(name=name, value=amount))


def counts(database: Database) -> dict[str, int]:
    """Every counter."""
    with database.read() as session:
        return {row.name: row.value for row in session.scalars(select(CounterRow))}
