"""The rows' door: migrations give the tables that the code declares, and writers follow one another."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select
from sqlalchemy.exc import IntegrityError

from datagen.domain.lifecycle import StudyState
from datagen.store.database import Database
from datagen.store.rows import InboxRow, Row, StudyRow


def _study(name: str = "scratches") -> StudyRow:
    return StudyRow(name=name, labels=["scratch"], engine="composite", preview_size=20)


def test_migrations_give_the_tables_that_the_code_declares(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Row.metadata) == []


def test_migrations_give_the_keys_that_the_code_declares(database: Database) -> None:
    """Which Alembic does not compare."""
    for table in Row.metadata.sorted_tables:
        there = inspect(database.engine).get_pk_constraint(table.name)["constrained_columns"]
        assert there == [column.name for column in table.primary_key], table.name


def test_upgrading_again_keeps_the_rows(database: Database) -> None:
    with database.write() as session:
        session.add(_study())
    database.upgrade()
    with database.read() as session:
        assert session.scalars(select(StudyRow.name)).all() == ["scratches"]


def test_enumerations_and_times_come_back_as_what_they_were(database: Database) -> None:
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


def test_writers_that_meet_wait_for_each_other_and_none_is_turned_away(tmp_path: Path) -> None:
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
