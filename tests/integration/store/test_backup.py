"""Backup and restore: all rows are restored, into both kinds of database, and nothing is overwritten."""

from __future__ import annotations

import json
import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text

from backup_rows import fill
from datagen.errors import StoreError
from datagen.store.backup import back_up, restore
from datagen.store.database import Database
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import ProjectRow, StudyRow


@pytest.fixture
def empty(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'other.sqlite3'}")


def test_backup_is_restored_into_another_database(database: Database, empty: Database, tmp_path: Path) -> None:
    fill(database)
    written = back_up(database, tmp_path / "backup.zip")
    assert restore(empty, tmp_path / "backup.zip") == written
    for kind in (StudyRow, ProjectRow, InboxRow, AuditRow):
        with database.read() as before, empty.read() as after:
            columns = [getattr(kind, column.name) for column in kind.__table__.columns]
            assert after.execute(select(*columns)).all() == before.execute(select(*columns)).all()
    empty.close()


def test_restored_rows_are_followed_by_new_ones(database: Database, migrated_file: Path, tmp_path: Path) -> None:
    """PostgreSQL's sequences know nothing of rows that came with their ids."""
    source = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'source.sqlite3')}")
    fill(source)
    back_up(source, tmp_path / "backup.zip")
    source.close()
    restore(database, tmp_path / "backup.zip")
    with database.write() as session:
        session.add(StudyRow(name="dents", labels=["dent"], engine="composite", preview_size=20))
    with database.read() as session:
        assert session.scalars(select(StudyRow.name).order_by(StudyRow.id)).all() == ["scratches", "dents"]


def test_a_database_with_rows_is_not_overwritten(database: Database, tmp_path: Path) -> None:
    fill(database)
    back_up(database, tmp_path / "backup.zip")
    with pytest.raises(StoreError, match="restore into an empty one"):
        restore(database, tmp_path / "backup.zip")


def _changed(path: Path, changes: dict[str, bytes | None]) -> Path:
    """The backup with some of its files replaced, or left out."""
    changed = path.with_name("changed.zip")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(changed, "w") as target:
        for name in source.namelist():
            data = changes.get(name, source.read(name))
            if data is not None:
                target.writestr(name, data)
    return changed


@pytest.fixture
def whole(migrated_file: Path, tmp_path: Path) -> Path:
    """A backup of a database with some rows."""
    source = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'source.sqlite3')}")
    fill(source)
    back_up(source, tmp_path / "whole.zip")
    source.close()
    return tmp_path / "whole.zip"


ABOUT = {"version": "7.2", "revision": "0999", "rows": {}}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"backup.json": json.dumps(ABOUT).encode()}, r"was made by Datagen 7\.2 with the schema '0999', which this"),
        ({"backup.json": None}, r"it has no backup\.json that can be read"),
        ({"backup.json": b"{"}, r"it has no backup\.json that can be read"),
        ({"backup.json": b"[]"}, r"it has no backup\.json that can be read"),
        ({"backup.json": b'{"revision": null, "rows": {}}'}, r"it has no backup\.json that can be read"),
        ({"backup.json": b"[" * 10**6}, r"it has no backup\.json that can be read"),
        ({"study.jsonl": None}, "lacks the table 'study': it is damaged"),
        ({"study.jsonl": b""}, "lacks rows of 'study': it is damaged"),
        ({"study.jsonl": b"{\n"}, "'study', row 1: it is damaged"),
        ({"study.jsonl": b"[1]\n"}, "'study', row 1: it is damaged"),
        ({"study.jsonl": b'{"id": 1, "colour": "red"}\n'}, "'study', row 1: it is damaged"),
        ({"study.jsonl": b'{"id": 1, "created_at": "yesterday"}\n'}, "'study', row 1: it is damaged"),
        ({"study.jsonl": b'{"id": 1}\n'}, "a row of 'study' does not fit its table"),
        ({"study.jsonl": b'{"id": "x", "name": ["x"]}\n'}, "a row of 'study' does not fit its table"),
        ({"project.jsonl": b'{"project_id": ' + b"9" * 30 + b"}\n"}, "a row of 'project' does not fit its table"),
    ],
)
def test_damaged_or_newer_backup_is_refused_with_a_sentence_and_leaves_the_database_empty(
    changes: dict[str, bytes | None], sentence: str, whole: Path, database: Database
) -> None:
    with pytest.raises(StoreError, match=sentence):
        restore(database, _changed(whole, changes))
    with database.read() as session:
        assert session.scalars(select(StudyRow)).all() == []
    assert sum(restore(database, whole).values()) == 4


def test_backup_of_an_older_schema_is_restored_into_an_empty_database_of_this_one(
    database: Database, tmp_path: Path
) -> None:
    """It goes through the migrations that came after it, as the rows themselves would have."""
    older = Database(f"sqlite:///{tmp_path / 'older.sqlite3'}")
    older.upgrade("0001")
    with older.engine.begin() as connection:
        columns = {column["name"] for column in inspect(connection).get_columns("study")}
        values = {"id": 7, "name": "old", "labels": "[]", "state": "collecting", "engine": "composite"}
        values |= {
            "preview_size": 20,
            "inputs_changed": 1,
            "inputs_read": 0,
            "created_at": "2024-02-03 04:05:06.000007",
        }
        used = {name: value for name, value in values.items() if name in columns}
        places = ", ".join(f":{name}" for name in used)
        connection.execute(text(f"INSERT INTO study ({', '.join(used)}) VALUES ({places})"), used)
    assert back_up(older, tmp_path / "older.zip")["study"] == 1
    older.close()
    restore(database, tmp_path / "older.zip")
    with database.read() as session:
        study = session.scalars(select(StudyRow)).one()
    assert (study.id, study.name) == (7, "old")
    assert study.created_at == datetime(2024, 2, 3, 4, 5, 6, 7, UTC)


def test_link_at_the_backups_path_is_replaced_and_its_target_is_kept(database: Database, tmp_path: Path) -> None:
    (tmp_path / "target").write_text("another's file")
    folder = tmp_path / "shared"
    folder.mkdir()
    for name in ("rows.zip", ".rows.zip.draft"):
        (folder / name).symlink_to(tmp_path / "target")
    back_up(database, folder / "rows.zip")
    assert (tmp_path / "target").read_text() == "another's file"
    assert not (folder / "rows.zip").is_symlink()
    assert zipfile.is_zipfile(folder / "rows.zip")


def test_backup_over_an_open_file_is_its_owners_alone(database: Database, tmp_path: Path) -> None:
    (tmp_path / "rows.zip").touch(mode=0o666)
    (tmp_path / "rows.zip").chmod(0o666)
    back_up(database, tmp_path / "rows.zip")
    assert (tmp_path / "rows.zip").stat().st_mode & 0o777 == 0o600


def test_backup_to_a_place_that_cannot_be_written_is_a_sentence(database: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="is a folder; name the file to write"):
        back_up(database, tmp_path)
    with pytest.raises(StoreError, match=r"rows\.zip cannot be written: No such file or directory"):
        back_up(database, tmp_path / "nowhere" / "rows.zip")
    with pytest.raises(StoreError, match="cannot be read: No such file or directory"):
        restore(database, tmp_path / "nowhere.zip")
