"""Databases under test: both kinds that people run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from datagen.store.database import Database


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A migrated, empty database."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'rows.sqlite3'}"
    else:
        url = request.getfixturevalue("postgres_url")
    made = Database(url)
    made.upgrade()
    yield made
    made.close()
