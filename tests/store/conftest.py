"""Databases under test: both kinds that people run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datagen.store.database import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a database is, or will be, that nothing was written to."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'rows.sqlite3'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated, empty database."""
    made = Database(database_url)
    made.upgrade()
    yield made
    made.close()
