"""The database: migrations give the tables that the code declares, and writers wait for one another."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError

from datagen.domain.lifecycle import StudyState
from datagen.store.database import Database, is_unavailable
from datagen.store.tables.base import Row
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import StudyRow
from stage.processes import wait_until


def _study(name: str = "scratches") -> StudyRow:
    return StudyRow(name=name, labels=["scratch"], engine="composite", preview_size=20)


def test_migrations_give_the_tables_that_the_code_declares(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Row.metadata) == []


def test_migrations_give_the_keys_that_the_code_declares(database: Database) -> None:
    """Alembic does not compare primary keys."""
    for table in Row.metadata.sorted_tables:
        in_database = inspect(database.engine).get_pk_constraint(table.name)["constrained_columns"]
        assert in_database == [column.name for column in table.primary_key], table.name


def test_upgrading_again_keeps_the_rows(database: Database) -> None:
    with database.write() as session:
        session.add(_study())
    database.upgrade()
    with database.read() as session:
        assert session.scalars(select(StudyRow.name)).all() == ["scratches"]


def test_enumerations_and_times_are_read_with_their_types(database: Database) -> None:
    with database.write() as session:
        session.add(_study())
    with database.read() as session:
        study = session.scalars(select(StudyRow)).one()
    assert isinstance(study.state, StudyState)
    assert study.created_at.utcoffset() is not None


def test_an_error_inside_a_write_leaves_nothing_behind(database: Database) -> None:
    def write_and_fail() -> None:
        with database.write() as session:
            session.add(_study())
            session.flush()
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        write_and_fail()
    with database.read() as session:
        assert session.scalars(select(StudyRow)).all() == []


def test_the_same_event_cannot_be_stored_twice(database: Database) -> None:
    with database.write() as session:
        session.add(InboxRow(fingerprint="annotation-1", action="ANNOTATION_CREATED"))
    with pytest.raises(IntegrityError), database.write() as session:
        session.add(InboxRow(fingerprint="annotation-1", action="ANNOTATION_CREATED"))


def backend_of(connection: Connection) -> int:
    """The number of the server process behind a connection."""
    pid = connection.scalar(text("SELECT pg_backend_pid()"))
    assert isinstance(pid, int)
    return pid


@contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A server process is stopped (SIGSTOP)."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.integration
def test_a_postgresql_that_freezes_is_given_up_and_used_again_when_it_is_back(postgres_url: str) -> None:
    database = Database(postgres_url, statement_seconds=1)
    database.upgrade()
    with database.engine.connect() as connection:
        pooled = backend_of(connection)
    with frozen(pooled):  # the pool checks its connection, closes it, and opens another
        assert answer_of(database) == 1
    with database.engine.connect() as connection, frozen(backend_of(connection)):
        with pytest.raises(OperationalError, match=r"did not answer within 2\.25 s") as caught:
            connection.execute(text("SELECT 1"))
        assert is_unavailable(caught.value)
    assert answer_of(database) == 1
    database.close()


def answer_of(database: Database) -> object:
    with database.read() as session:
        return session.scalar(text("SELECT 1"))


@pytest.mark.integration
def test_a_statement_and_a_wait_for_a_lock_end_on_postgresql(postgres_url: str) -> None:
    database = Database(postgres_url, statement_seconds=1)
    database.upgrade()
    with pytest.raises(OperationalError, match="statement timeout") as caught, database.read() as session:
        session.execute(text("SELECT pg_sleep(60)"))
    assert is_unavailable(caught.value)
    with database.write() as holder, database.read() as session:
        holder.execute(text("LOCK TABLE study"))
        with pytest.raises(OperationalError, match="lock timeout"):
            session.execute(text("SELECT * FROM study"))
    database.close()


@pytest.mark.integration
def test_an_upgrade_may_take_longer_than_a_statement(postgres_url: str) -> None:
    database, other = Database(postgres_url, statement_seconds=1), Database(postgres_url)
    with other.write() as holder:
        holder.execute(text("SELECT pg_advisory_xact_lock(7301926)"))
        upgrade = threading.Thread(target=database.upgrade)
        upgrade.start()
        with other.read() as session:  # longer than either bound
            session.execute(text("SELECT pg_sleep(3)"))
        assert upgrade.is_alive()
    upgrade.join(60)
    with database.read() as session:
        assert session.scalars(select(StudyRow)).all() == []
    database.close()
    other.close()


@pytest.mark.integration
def test_upgrade_that_loses_its_connection_says_why_and_not_that_another_one_failed(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(config: Config, _revision: str) -> None:
        """The server ends the connection, and accepts no other one."""
        connection = config.attributes["connection"]
        name = make_url(postgres_url).database
        with psycopg.connect(conninfo(postgres_url, "postgres"), autocommit=True) as server:
            server.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
            server.execute(f"SELECT pg_terminate_backend({backend_of(connection)})")
        connection.execute(text("SELECT 1"))

    monkeypatch.setattr(command, "upgrade", lose)
    database = Database(postgres_url)
    with pytest.raises(OperationalError, match="terminating connection"):
        database.upgrade()
    database.close()


@pytest.mark.integration
def test_connection_whose_bounds_are_refused_is_closed(postgres_url: str) -> None:
    database = Database(f"{postgres_url}?application_name=refused", statement_seconds=10**9)
    with psycopg.connect(conninfo(postgres_url), autocommit=True) as server:
        with pytest.raises(DBAPIError) as refused:
            answer_of(database)
        assert "statement_timeout" in str(refused.value)  # its traceback would keep the connection from being collected
        counting = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'refused'"
        wait_until(lambda: server.execute(counting).fetchone() == (0,), 5, "the end of the connection")
    database.close()


def conninfo(url: str, name: str | None = None) -> str:
    """An address of SQLAlchemy's as psycopg has it, with another database's name if one is given."""
    return make_url(url).set(drivername="postgresql", **({"database": name} if name else {})).render_as_string()


def test_a_wrong_statement_is_no_outage(database: Database) -> None:
    with pytest.raises((ProgrammingError, OperationalError)) as caught, database.read() as session:
        session.execute(text("SELECT nonsense FROM study"))
    assert is_unavailable(caught.value) == isinstance(caught.value, OperationalError)


def test_blocks_with_the_same_lock_run_one_at_a_time(database: Database) -> None:
    other = Database(database.url)
    with database.one_at_a_time(1, 0.0) as is_alone:
        assert is_alone
        with other.one_at_a_time(1, 0.1) as is_alone_too, other.one_at_a_time(2, 0.0) as is_alone_elsewhere:
            assert (is_alone_too, is_alone_elsewhere) == (False, True)
    with other.one_at_a_time(1, 0.0) as is_alone:
        assert is_alone
    other.close()


def test_concurrent_writers_wait_for_each_other_and_none_fails(tmp_path: Path) -> None:
    """SQLite fails a reader that turns writer while another writes; a write takes the lock at its beginning."""
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    database.upgrade()
    with database.write() as session:
        session.add(_study())
    faults: list[Exception] = []

    def add_one_to_size() -> None:
        try:
            for _ in range(20):
                with database.write() as session:
                    study = session.scalars(select(StudyRow)).one()
                    study.preview_size += 1
        except Exception as fault:
            faults.append(fault)

    writers = [threading.Thread(target=add_one_to_size) for _ in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with database.read() as session:
        assert session.scalars(select(StudyRow.preview_size)).one() == 20 + 8 * 20
    assert faults == []
    database.close()


def test_server_that_accepts_and_does_not_answer_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        database = Database(
            f"postgresql+psycopg://user:word@127.0.0.1:{silent.getsockname()[1]}/rows?connect_timeout=2"
        )
        with pytest.raises(OperationalError) as caught, database.read() as session:
            session.execute(text("SELECT 1"))
        assert is_unavailable(caught.value)
        database.close()


def test_blocks_with_the_same_lock_run_one_at_a_time_and_do_not_stop_writers(tmp_path: Path) -> None:
    database, other = (Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}") for _ in range(2))
    database.upgrade()
    with database.one_at_a_time(1, 0.0) as is_alone:
        assert is_alone
        with other.one_at_a_time(1, 0.1) as is_alone_too, other.one_at_a_time(2, 0.0) as is_alone_elsewhere:
            assert (is_alone_too, is_alone_elsewhere) == (False, True)
        with other.write() as session:
            session.add(_study())
    with other.one_at_a_time(1, 0.0) as is_alone:
        assert is_alone
    database.close()
    other.close()


def test_block_begins_once_the_one_before_it_has_ended(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    database.upgrade()
    order: list[str] = []

    def come_second() -> None:
        with database.one_at_a_time(1, 60.0):
            order.append("second")

    with database.one_at_a_time(1, 0.0):
        second = threading.Thread(target=come_second)
        second.start()
        second.join(timeout=0.2)
        order.append("first")
    second.join()
    assert order == ["first", "second"]
    database.close()


def test_postgresql_compiles_no_statement(postgres_url: str) -> None:
    """Its compiler took seconds for the statements of a study's page, which run for milliseconds."""
    opened = Database(postgres_url)
    with opened.read() as session:
        assert session.execute(text("SHOW jit")).scalar_one() == "off"
    opened.close()
