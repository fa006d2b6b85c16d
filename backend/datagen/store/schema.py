"""Which revision of the schema a database has, and which one this version of the code needs."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sqlalchemy import text

from datagen.store.database import Database


@lru_cache(maxsize=1)
def needed_revision() -> str:
    """The newest revision among the migrations of this version."""
    from alembic.script import ScriptDirectory  # here alone: it takes a quarter of a second that no other use needs

    return str(ScriptDirectory(str(Path(__file__).parent / "migrations")).get_current_head())


def revision_of(database: Database) -> str | None:
    """The revision that a database has; None where it has no schema yet.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it does not answer, or was never migrated.
    """
    with database.read() as session:
        found: str | None = session.scalar(text("SELECT version_num FROM alembic_version"))
        return found
