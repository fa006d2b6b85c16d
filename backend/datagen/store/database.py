"""The door to the rows: reading sessions, writing sessions, migrations. SQLite by default, PostgreSQL for a team."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

#: SQLite waits this long for another writer before it gives up; writers hold the lock for milliseconds.
SQLITE_BUSY_SECONDS = 30
#: PostgreSQL accepts a connection within this, seconds.
CONNECT_SECONDS = 5
#: PostgreSQL ends a statement after this, seconds, and one that waits for a lock after half of it.
STATEMENT_SECONDS = 120
#: The number of the lock that an upgrade takes in PostgreSQL: any, as long as it is always the same.
UPGRADE_LOCK = 7_301_926
#: PostgreSQL's settings that bound a statement, with the share of its seconds.
_BOUNDS = {"statement_timeout": 1.0, "lock_timeout": 0.5}


class Database:
    """One engine and its two kinds of session.

    A *write* takes SQLite's write lock at its beginning (``BEGIN IMMEDIATE``): a transaction that begins as a
    reader and turns writer fails at once when another wrote in between, however long it is willing to wait.
    """

    def __init__(self, url: str, *, statement_seconds: int = STATEMENT_SECONDS) -> None:
        """``statement_seconds`` bounds each statement on PostgreSQL, on the server and, should that hang, here."""
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
            event.listen(self.engine, "do_connect", partial(_connect_bounded, statement_seconds))
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
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self._writing.connect() as connection, _unbounded(connection), connection.begin():
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": UPGRADE_LOCK})
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def is_unavailable(fault: BaseException) -> bool:
    """Whether an error says that the database did not answer, and nothing of what was asked.

    A full disk and a lock that was not got in time count as that too: both pass.
    """
    if isinstance(fault, DBAPIError) and fault.connection_invalidated:
        return True
    return isinstance(fault, OperationalError | InterfaceError | PoolTimeoutError)


@contextmanager
def _unbounded(connection: Connection) -> Iterator[None]:
    """Let statements take as long as they take: an upgrade of many rows, or the wait for another one."""
    driver = connection.connection.driver_connection
    if connection.dialect.name != "postgresql" or driver is None:
        yield
        return
    seconds, driver.answer_seconds = driver.answer_seconds, None
    with connection.begin():
        before = {name: connection.scalar(text(f"SHOW {name}")) for name in _BOUNDS}
        _set(connection, dict.fromkeys(_BOUNDS, "0"))
    try:
        yield
    finally:
        with connection.begin():
            _set(connection, before)
        driver.answer_seconds = seconds


def _set(connection: Connection, values: dict[str, Any]) -> None:
    for name, value in values.items():
        connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})


def _connect_bounded(seconds: int, _dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect with bounds on everything that may hang."""
    from datagen.store.postgresql import BoundedConnection  # here alone: SQLite needs no psycopg

    connection = BoundedConnection.connect(*arguments, **{"connect_timeout": CONNECT_SECONDS, **options})
    connection.answer_seconds = 1.25 * seconds + 1
    # not as start-up options: connection poolers refuse those
    for name, share in _BOUNDS.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(int(1000 * share * seconds))))
    connection.commit()
    return connection


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
