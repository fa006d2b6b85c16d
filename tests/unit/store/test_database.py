"""The database: migrations give the tables that the code declares, and writers wait for one another."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from datagen.store.database import Database, is_unavailable
from datagen.store.tables.studies import StudyRow


def _study(name: str = "scratches") -> StudyRow:
    return StudyRow(name=name, labels=["scratch"], engine="composite", preview_size=20)


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
