"""Backup and restore: all rows are restored, into both kinds of database, and nothing is overwritten."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from backup_rows import fill
from datagen.errors import StoreError
from datagen.store.backup import back_up, restore
from datagen.store.database import Database


@pytest.fixture
def empty(tmp_path: Path) -> Database:
    return Database(f"sqlite:///{tmp_path / 'other.sqlite3'}")


def test_a_file_that_is_no_backup_is_named(empty: Database, tmp_path: Path) -> None:
    (tmp_path / "notes.zip").write_text("not a zip")
    with pytest.raises(StoreError, match=r"notes\.zip is not a backup"):
        restore(empty, tmp_path / "notes.zip")
    empty.close()


@pytest.fixture
def whole(migrated_file: Path, tmp_path: Path) -> Path:
    """A backup of a database with some rows."""
    source = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'source.sqlite3')}")
    fill(source)
    back_up(source, tmp_path / "whole.zip")
    source.close()
    return tmp_path / "whole.zip"


def test_backup_whose_bytes_were_changed_is_damaged(whole: Path, empty: Database) -> None:
    data = bytearray(whole.read_bytes())
    with zipfile.ZipFile(whole) as archive:
        at = archive.getinfo("study.jsonl").header_offset
    for position in range(at + 60, at + 100):
        data[position] ^= 0x55
    whole.write_bytes(data)
    with pytest.raises(StoreError, match="is not a backup made by “datagen backup”, or is damaged"):
        restore(empty, whole)
    empty.close()


def test_database_of_a_newer_release_is_named(whole: Path, empty: Database) -> None:
    empty.upgrade()
    with empty.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(StoreError, match="the database has the schema '0999' of a newer Datagen"):
        restore(empty, whole)
    empty.close()


def test_database_without_tables_is_not_backed_up_as_if_it_were_empty(empty: Database, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="no tables to back up; run: datagen migrate"):
        back_up(empty, tmp_path / "backup.zip")
    assert [path.name for path in tmp_path.iterdir() if "zip" in path.name] == []
    empty.close()


def test_a_backup_that_fails_leaves_the_last_one_whole(tmp_path: Path) -> None:
    (tmp_path / "backup.zip").write_bytes(b"the last one")
    unreachable = Database("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(OperationalError):
        back_up(unreachable, tmp_path / "backup.zip")
    assert (tmp_path / "backup.zip").read_bytes() == b"the last one"
