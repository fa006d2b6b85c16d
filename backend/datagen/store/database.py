"""Database access: read sessions, write sessions and migrations. SQLite by default, PostgreSQL for a team."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from sqlite3 import Connection as SqliteConnection
from typing import Any

from sqlalchemy import Connection, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from datagen.errors import SchemaProblem

#: Seconds for which SQLite waits for another writer; writers hold the lock for milliseconds.
SQLITE_BUSY_SECONDS = 30
#: Time-out for a connection to PostgreSQL, seconds.
CONNECT_SECONDS = 5
#: PostgreSQL's time-out for a statement, seconds; the time-out for a lock is half of it.
STATEMENT_SECONDS = 120
#: Seconds between two attempts of ``Database.one_at_a_time`` to acquire its lock.
LOCK_POLL_SECONDS = 0.05
#: Key of the advisory lock that an upgrade takes in PostgreSQL; arbitrary, but the same in every release.
UPGRADE_LOCK = 7_301_926
_MIGRATIONS = Path(__file__).parent / "migrations"
#: Words in the driver's message (lower case) → the error of the database and its remedy.
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
#: PostgreSQL's time-out settings → their value as a fraction of the time-out for a statement.
_BOUNDS = {"statement_timeout": 1.0, "lock_timeout": 0.5}
#: Turns off the compilation of statements (where the server can compile): it takes seconds for those with many
#: conditions, and each of ours runs for milliseconds.
_WITHOUT_COMPILATION = "SELECT set_config(name, 'off', false) FROM pg_settings WHERE name = 'jit'"


class Database:
    """A database, with sessions for reading and sessions for writing.

    On SQLite, a session for writing takes the write lock when it begins (``BEGIN IMMEDIATE``). Without this, a
    transaction that reads first and writes later would fail at once if another one wrote in between, regardless of the
    busy time-out.
    """

    def __init__(self, url: str, *, statement_seconds: int = STATEMENT_SECONDS) -> None:
        """Create the engine. A connection is opened when a session needs one.

        Args:
            url: the database's SQLAlchemy URL.
            statement_seconds: PostgreSQL's time-out for a statement. If the server itself hangs, the connection is
                closed shortly after this time.
        """
        parsed = make_url(url)
        # hide_parameters: a logged error must not contain users' data
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
        """Yield a session that commits at the end, or rolls back on an error."""
        with Session(self._writing, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Yield a session for reading."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write_alone(self, lock: int) -> Iterator[Session]:
        """Yield a session for writing, while no other process has such a session with the same ``lock``."""
        with self.write() as session:
            _acquire_lock(session.connection(), lock)
            yield session

    @contextmanager
    def one_at_a_time(self, lock: int, seconds: float) -> Iterator[bool]:
        """Wait until no other process of the installation is in a block with the same ``lock``, then enter the block.

        Yield True if this process holds the lock. Yield False if another process still holds it after ``seconds``: the
        block is then entered without the lock.

        On SQLite, all processes are on one machine, so the lock is a file beside the database. No transaction is open
        in the block there.
        """
        with ExitStack() as stack:
            if self.engine.dialect.name == "sqlite":
                file = stack.enter_context(Path(f"{self.engine.url.database}-lock-{lock}").open("wb"))
                attempt = partial(_lock_file, file.fileno())
            else:
                connection = stack.enter_context(self.engine.connect())
                stack.enter_context(connection.begin())
                attempt = partial(_lock_without_waiting, connection, lock)
            until = time.monotonic() + seconds
            while not (is_alone := attempt()) and time.monotonic() < until:
                time.sleep(LOCK_POLL_SECONDS)
            yield is_alone

    def check_schema(self) -> None:
        """Check that the schema is the one that this version of the code requires.

        Raises:
            SchemaProblem: the schema is older, newer or missing; the sentence names the fix.
            sqlalchemy.exc.SQLAlchemyError: the database does not answer.
        """
        known = schema_revisions()
        with self.engine.connect() as connection:
            revisions = _revisions_in(connection)
        if not revisions:
            raise SchemaProblem("the database has no tables yet; run: datagen migrate")
        _refuse_unknown(revisions)
        if known[-1] not in revisions:
            raise SchemaProblem(
                f"the database's schema ({', '.join(sorted(revisions))}) is older than this version of Datagen, which "
                f"needs {known[-1]}; stop every process, then run: datagen migrate"
            )

    def upgrade(self, revision: str = "head") -> None:
        """Upgrade the schema; existing rows are kept.

        Other processes may write meanwhile. Concurrent upgrades wait for each other.

        Raises:
            SchemaProblem: the schema is newer than this version of the code.
        """
        from alembic import command  # imported here because it takes a quarter of a second, which other uses save

        self._migrate(command.upgrade, revision)

    def downgrade(self, revision: str) -> None:
        """Downgrade the schema; data that only the newer schema can hold is lost."""
        from alembic import command

        self._migrate(command.downgrade, revision)

    def _migrate(self, migrate: Callable[[Any, str], None], revision: str) -> None:
        config = _alembic_config()
        with self._writing.connect() as connection, _unbounded(connection), connection.begin():
            _acquire_lock(connection, UPGRADE_LOCK)
            _refuse_unknown(_revisions_in(connection))
            config.attributes["connection"] = connection
            migrate(config, revision)

    def close(self) -> None:
        """Close all connections of the pool."""
        self.engine.dispose()


def _alembic_config() -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    return config


def schema_revisions() -> list[str]:
    """Return every schema revision that this version knows, in order, from the names of the migrations' files."""
    return sorted(path.name.partition("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def explain(fault: SQLAlchemyError) -> str:
    """Return a sentence with the database's fault and its remedy; it contains no data of statements or rows."""
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
    """Return the schema revisions of a database; empty if it has no tables of Datagen."""
    if not inspect(connection).has_table("alembic_version"):
        return set()
    return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


def _refuse_unknown(revisions: set[str]) -> None:
    known = schema_revisions()
    if unknown := revisions - set(known):
        raise SchemaProblem(
            f"the database's schema ({', '.join(sorted(unknown))}) is newer than this version of Datagen, which "
            f"knows {known[-1]}; install the version that the other machines have"
        )


def _acquire_lock(connection: Connection, lock: int) -> None:
    """Acquire an advisory lock until the transaction ends; on SQLite do nothing, because it has a single writer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})


def _lock_file(descriptor: int) -> bool:
    """Lock an open file until it is closed; return False if another process has locked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_without_waiting(connection: Connection, lock: int) -> bool:
    """Acquire an advisory lock until the transaction ends; return False if another process has it."""
    return bool(connection.scalar(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": lock}))


def is_unavailable(fault: BaseException) -> bool:
    """Return whether an error means that the database is unavailable, not that the statement is wrong.

    A full disk and a time-out for a lock count as unavailable too, because both are temporary.
    """
    if isinstance(fault, DBAPIError) and fault.connection_invalidated:
        return True
    return isinstance(fault, OperationalError | InterfaceError | PoolTimeoutError)


@contextmanager
def _unbounded(connection: Connection) -> Iterator[None]:
    """Run a block without time-outs for statements. An upgrade of many rows and the wait for another one take long."""
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
        connection.invalidate()  # it has no time-outs and may be broken: the pool must not reuse it
        raise
    with connection.begin():
        _set(connection, before)
    driver.answer_seconds = seconds


def _set(connection: Connection, values: dict[str, Any]) -> None:
    for name, value in values.items():
        connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})


def _connect_bounded(seconds: int, _dialect: Any, _record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connect to PostgreSQL, with time-outs for the connection, for each statement and for each lock.

    ``seconds`` is the time-out for a statement.
    """
    from datagen.store.postgresql import BoundedConnection  # imported here because SQLite needs no psycopg

    connection = BoundedConnection.connect(*arguments, **{"connect_timeout": CONNECT_SECONDS, **options})
    connection.answer_seconds = 1.25 * seconds + 1
    try:
        # not as start-up options, which connection poolers refuse
        for name, share in _BOUNDS.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, str(int(1000 * share * seconds))))
        connection.execute(_WITHOUT_COMPILATION)
        connection.commit()
    except BaseException:
        connection.close()
        raise
    return connection


def _sqlite_connected(connection: SqliteConnection, _record: Any) -> None:
    connection.isolation_level = None  # _sqlite_begins begins the transactions, not the driver
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # acknowledged writes survive a power cut
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _sqlite_begins(connection: Connection) -> None:
    writes = connection.get_execution_options().get("datagen_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
