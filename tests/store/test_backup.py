"""Backup and restore: what was written comes back, into either kind of database, and nothing is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from datagen.domain.inputs import Desk
from datagen.errors import StoreError
from datagen.store.backup import back_up, restore
from datagen.store.database import Database
from datagen.store.rows import AuditRow, DeskRow, InboxRow, StudyRow


def _fill(database: Database) -> None:
    with database.write() as session:
        study = StudyRow(name="scratches", labels=["scratch", "dent"], engine="composite", preview_size=20)
        session.add(study)
        session.flush()
        session.add(DeskRow(project_id=2**40, study_id=study.id, desk=Desk.CONCEPTS))
        session.add(InboxRow(fingerprint="one", action="ANNOTATION_CREATED", task_ids=[2**40]))
        session.add(AuditRow(study="scratches", who="ann", what="approved “bulk”"))


@pytest.fixture
def empty(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'other.sqlite3'}")


def test_what_was_backed_up_comes_back_in_another_database(database: Database, empty: Database, tmp_path: Path) -> None:
    _fill(database)
    written = back_up(database, tmp_path / "backup.zip")
    assert restore(empty, tmp_path / "backup.zip") == written
    for kind in (StudyRow, DeskRow, InboxRow, AuditRow):
        with database.read() as before, empty.read() as after:
            columns = [getattr(kind, column.name) for column in kind.__table__.columns]
            assert after.execute(select(*columns)).all() == before.execute(select(*columns)).all()
    empty.close()


def test_restored_rows_are_followed_by_new_ones(database: Database, tmp_path: Path) -> None:
    """PostgreSQL's sequences know nothing of rows that came with their ids."""
    source = Database(f"sqlite:///{tmp_path / 'source.sqlite3'}")
    source.upgrade()
    _fill(source)
    back_up(source, tmp_path / "backup.zip")
    source.close()
    restore(database, tmp_path / "backup.zip")
    with database.write() as session:
        session.add(StudyRow(name="dents", labels=["dent"], engine="composite", preview_size=20))
    with database.read() as session:
        assert session.scalars(select(StudyRow.name).order_by(StudyRow.id)).all() == ["scratches", "dents"]


def test_a_database_with_rows_is_not_overwritten(database: Database, tmp_path: Path) -> None:
    _fill(database)
    back_up(database, tmp_path / "backup.zip")
    with pytest.raises(StoreError, match="restore into an empty one"):
        restore(database, tmp_path / "backup.zip")


def test_a_file_that_is_no_backup_is_named(empty: Database, tmp_path: Path) -> None:
    (tmp_path / "notes.zip").write_text("not a zip")
    with pytest.raises(StoreError, match=r"notes\.zip is not a backup"):
        restore(empty, tmp_path / "notes.zip")
    empty.close()


def test_a_backup_that_fails_leaves_the_last_one_whole(tmp_path: Path) -> None:
    (tmp_path / "backup.zip").write_bytes(b"the last one")
    unreachable = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(OperationalError):
        back_up(unreachable, tmp_path / "backup.zip")
    assert (tmp_path / "backup.zip").read_bytes() == b"the last one"
