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
