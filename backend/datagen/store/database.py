"""The door to the rows: reading sessions, writing sessions, migrations. SQLite by default, PostgreSQL for a team."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import Connection, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from datagen.errors import SchemaProblem

#: SQLite waits this long for another writer before it gives up; writers hold the lock for milliseconds.
SQLITE_BUSY_SECONDS = 30
#: PostgreSQL accepts a connection within this, seconds.
CONNECT_SECONDS = 5
#: PostgreSQL ends a statement after this, seconds, and one that waits for a lock after half of it.
STATEMENT_SECONDS = 120
#: The number of the lock that an upgrade takes in PostgreSQL: any, as long as it is always the same.
UPGRADE_LOCK = 7_301_926
_MIGRATIONS = Path(__file__).parent / "migrations"
#: What is to be done about an error of the database, by what its driver says (lower case).
_REMEDIES = {
    "password authentication failed": "It refuses the user or the password: correct them in DATAGEN_DATABASE_URL",
    "no password supplied": "It wants a password: write it into DATAGEN_DATABASE_URL, after the user's name and “:”",
    "no pg_hba.conf entry": "It refuses connections of this user from this machine: allow them in its pg_hba.conf",
    "failed to resolve host": "No machine has the name in DATAGEN_DATABASE_URL: correct it",
    "database is locked": "Another process has kept it locked for too long: try again, and use PostgreSQL for a team",
    "unable to open database file": "Its file cannot be opened: correct DATAGEN_DATA_DIR, or the folder's permissions",
    "readonly database": "Its file cannot be written by this user: correct the permissions of DATAGEN_DATA_DIR",
    "disk is full": "The disk is full: make room in DATAGEN_DATA_DIR",
    "file is not a database": "The file that DATAGEN_DATABASE_URL names is no SQLite database: correct the address",
}
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

    @contextmanager
    def write_alone(self, lock: int) -> Iterator[Session]:
        """A writing session that no other process is in at the same time, for the same ``lock``."""
        with self.write() as session:
            _take_turns(session.connection(), lock)
            yield session

    def check_schema(self) -> None:
        """See that the schema is the one that this version of the code works with.

        Raises:
            SchemaProblem: it is older or newer, or there is none; the sentence names the fix.
            sqlalchemy.exc.SQLAlchemyError: the database does not answer.
        """
        known = schema_revisions()
        with self.engine.connect() as connection:
            found = _revisions_in(connection)
        if not found:
            raise SchemaProblem("the database has no tables yet; run: datagen migrate")
        _refuse_unknown(found)
        if known[-1] not in found:
            raise SchemaProblem(
                f"the database's schema ({', '.join(sorted(found))}) is older than this version of Datagen, which "
                f"needs {known[-1]}; stop every process, then run: datagen migrate"
            )

    def upgrade(self, revision: str = "head") -> None:
        """Move the schema forward; a database that is there already keeps its rows.

        Others may write meanwhile, and several processes upgrade at once: they wait for one another.

        Raises:
            SchemaProblem: the schema is newer than this version of the code.
        """
        from alembic import command  # here alone: it takes a quarter of a second that no other use needs

        self._move(command.upgrade, revision)

    def downgrade(self, revision: str) -> None:
        """Move the schema back; what only the newer one can hold is lost."""
        from alembic import command

        self._move(command.downgrade, revision)

    def _move(self, move: Callable[[Any, str], None], revision: str) -> None:
        config = _alembic_config()
        with self._writing.connect() as connection, _unbounded(connection), connection.begin():
            _take_turns(connection, UPGRADE_LOCK)
            _refuse_unknown(_revisions_in(connection))
            config.attributes["connection"] = connection
            move(config, revision)

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def schema_revisions() -> list[str]:
    """Every revision of the schema that this version knows, in order: the migrations' files begin with them."""
    return sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def explain(fault: SQLAlchemyError) -> str:
    """A sentence that says what is wrong with the database and how to mend it; nothing that was read or written."""
    driver = str(fault.orig).lower() if isinstance(fault, DBAPIError) else ""
    for words, remedy in _REMEDIES.items():
        if words in driver:
            return f"the database does not work ({type(fault).__name__}). {remedy}."
    if 'database "' in driver and "does not exist" in driver:
        return (
            f"the database does not work ({type(fault).__name__}). The server has no database of the name in "
            "DATAGEN_DATABASE_URL: create it, then run: datagen migrate"
        )
    if 'role "' in driver and "does not exist" in driver:
        return (
            f"the database does not work ({type(fault).__name__}). The server has no user of the name in "
            "DATAGEN_DATABASE_URL: create it, or correct the address"
        )
    if any(words in driver for words in ("no such table", "no such column", "does not exist")):
        return (
            f"the database's schema does not fit this version of Datagen ({type(fault).__name__}); run: datagen migrate"
        )
    return (
        f"the database does not answer ({type(fault).__name__}). Check DATAGEN_DATABASE_URL, then run: datagen migrate"
    )


def _revisions_in(connection: Connection) -> set[str]:
    """The revisions of the schema in a database; none where it has no tables of ours."""
    if not inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def _refuse_unknown(found: set[str]) -> None:
    known = schema_revisions()
    if unknown := found - set(known):
        raise SchemaProblem(
            f"the database's schema ({', '.join(sorted(unknown))}) is newer than this version of Datagen, which "
            f"knows {known[-1]}; install the version that the other machines have"
        )


def _take_turns(connection: Connection, lock: int) -> None:
    """Wait for whoever holds this lock, and hold it until the transaction ends; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


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
    except BaseException:
        connection.invalidate()  # without bounds it is of no use to others, and may be broken
        raise
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
    try:
        # not as start-up options: connection poolers refuse those
        for name, share in _BOUNDS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, str(int(1000 * share * seconds))))
        connection.commit()
    except BaseException:
        connection.close()
        raise
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
