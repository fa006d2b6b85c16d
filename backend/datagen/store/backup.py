"""Backup and restore of the rows: every table as JSON lines in one zip, read in one transaction.

The same file restores into SQLite and into PostgreSQL, and so also moves a study from the one to the other. Pictures
are not in it: the image store is a folder or a bucket, written once and never changed, which any tool copies.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic.migration import MigrationContext
from sqlalchemy import Connection, Table, delete, func, insert, select, text

from datagen.errors import StoreError
from datagen.store.database import Database
from datagen.store.rows import Instant, Row, SharedSecretRow

#: Rows read or written at a time.
_PAGE = 1000
_ABOUT = "backup.json"


def back_up(database: Database, path: Path) -> dict[str, int]:
    """Write every row to ``path``; table → how many. Writers go on meanwhile, and are not in it.

    The file is written beside and renamed: a killed backup leaves no half of one.
    """
    draft = path.with_name(f".{path.name}.draft")
    counts: dict[str, int] = {}
    with database.engine.connect() as connection, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        if connection.dialect.name == "postgresql":  # SQLite's reader sees one moment as it is
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        revision = MigrationContext.configure(connection).get_current_revision()
        for table in Row.metadata.sorted_tables:
            with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as file:
                counts[table.name] = 0
                for line in _lines(connection, table):
                    file.write(line)
                    counts[table.name] += 1
        archive.writestr(_ABOUT, json.dumps({"revision": revision, "rows": counts}))
    draft.rename(path)
    return counts


def restore(database: Database, path: Path) -> dict[str, int]:
    """Fill an empty database from a backup; table → how many.

    Raises:
        StoreError: the file is no backup, is of another release's schema, or the database has studies.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = json.loads(archive.read(_ABOUT))
            database.upgrade(about["revision"])
            with database.engine.begin() as connection:
                return _fill(connection, archive, path, about["rows"])
    except (zipfile.BadZipFile, KeyError, OSError, json.JSONDecodeError) as fault:
        raise StoreError(f"{path} is not a backup made by “datagen backup” ({type(fault).__name__})") from None
    finally:
        database.upgrade()


def _fill(connection: Connection, archive: zipfile.ZipFile, path: Path, expected: dict[str, int]) -> dict[str, int]:
    tables = Row.metadata.sorted_tables
    # a process that was started registered its secrets; those of the backup take their place
    connection.execute(delete(SharedSecretRow))
    for table in tables:
        if connection.scalar(select(func.count()).select_from(table)):
            raise StoreError(f"the database has rows in {table.name!r}; restore into an empty one")
    counts: dict[str, int] = {}
    for table in tables:
        counts[table.name] = 0
        with archive.open(f"{table.name}.jsonl") as file:
            page: list[dict[str, Any]] = []
            for line in file:
                page.append(_from_json(table, json.loads(line)))
                if len(page) == _PAGE:
                    counts[table.name] += _insert(connection, table, page)
                    page = []
            counts[table.name] += _insert(connection, table, page)
        if counts[table.name] != expected[table.name]:
            raise StoreError(f"{path} lacks rows of {table.name!r}: it is damaged")
        _continue_numbers(connection, table)
    return counts


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    rows = connection.execution_options(yield_per=_PAGE).execute(select(table).order_by(*table.primary_key)).mappings()
    for row in rows:
        yield json.dumps(dict(row), default=_to_json, separators=(",", ":")).encode() + b"\n"


def _to_json(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat()


def _from_json(table: Table, row: dict[str, Any]) -> dict[str, Any]:
    times = {column.name for column in table.columns if isinstance(column.type, Instant)}
    return {name: datetime.fromisoformat(value) if name in times and value else value for name, value in row.items()}


def _insert(connection: Connection, table: Table, page: list[dict[str, Any]]) -> int:
    if page:
        connection.execute(insert(table), page)
    return len(page)


def _continue_numbers(connection: Connection, table: Table) -> None:
    """Have PostgreSQL's sequence go on behind the restored ids."""
    ours = table.autoincrement_column
    if connection.dialect.name == "postgresql" and ours is not None and isinstance(ours.autoincrement, str):
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{ours.name}'), "  # noqa: S608 - our own names
                f"GREATEST((SELECT COALESCE(MAX({ours.name}), 0) FROM {table.name}), 1))"
            )
        )
