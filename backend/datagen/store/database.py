"""The door to the rows: reading sessions, writing sessions, migrations. SQLite by default, PostgreSQL for a team."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.orm import Session

#: SQLite waits this long for another writer before it gives up; writers hold the lock for milliseconds.
SQLITE_BUSY_SECONDS = 30
#: The number of the lock that an upgrade takes in PostgreSQL: any, as long as it is always the same.
UPGRADE_LOCK = 7_301_926


class Database:
    """One engine and its two kinds of session.

    A *write* takes SQLite's write lock at its beginning (``BEGIN IMMEDIATE``): a transaction that begins as a
    reader and turns writer fails at once when another wrote in between, however long it is willing to wait.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        # hide_parameters: an error that is logged must not tell what people wrote
        if parsed.get_backend_name() == "sqlite":
            if parsed.database and parsed.database != ":memory:":
                Path(parsed.database).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.engine = create_engine(url, connect_args={"timeout": SQLITE_BUSY_SECONDS}, hide_parameters=True)
            event.listen(self.engine, "connect", _sqlite_connected)
            event.listen(self.engine, "begin", _sqlite_begins)
        else:
            self.engine = create_engine(url, pool_pre_ping=True, hide_parameters=True)
        self.url = url
        self._writing = self.engine.execution_options(datagen_writes=True)

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that commits at the end, or rolls back on an error."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session for reading."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    def upgrade(self, revision: str = "head") -> None:
        """Move the schema forward; a database that is there already keeps its rows.

        Others may write meanwhile, and several processes upgrade at once: they wait for one another.
        """
        from alembic import command  # here alone: it takes a quarter of a second that no other use needs

        self._move(command.upgrade, revision)

    def downgrade(self, revision: str) -> None:
        """Move the schema back; what only the newer one can hold is lost."""
        from alembic import command

        self._move(command.downgrade, revision)

    def _move(self, move: Callable[[Any, str], None], revision: str) -> None:
        config = _alembic_config()
        with self._writing.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
            config.attributes["connection"] = connection
            move(config, revision)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def known_revisions() -> list[str]:
    """The schema's revisions that this release knows, the newest first."""
    from alembic.script import ScriptDirectory

    return [script.revision for script in ScriptDirectory.from_config(_alembic_config()).walk_revisions()]


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _sqlite_connected(connection: SqliteConnection, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, see _sqlite_begins
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # what was answered for survives a power cut too
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _sqlite_begins(connection: Connection) -> None:
    writes = connection.get_execution_options().get("datagen_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
