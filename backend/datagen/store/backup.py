"""Backup and restore of the rows: every table as JSON lines in one zip, read in one transaction.

The same file restores into SQLite and into PostgreSQL, so it also moves studies from one to the other. The file holds
the tables in the schema of the release that wrote it. A newer release restores them into that schema and then upgrades
the schema. A backup contains no pictures: the image store is a folder or a bucket whose objects never change, so any
tool can copy it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import zipfile
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from alembic.migration import MigrationContext
from sqlalchemy import Connection, DateTime, Integer, MetaData, Table, delete, func, insert, select, text
from sqlalchemy.exc import OperationalError, StatementError

from datagen import __version__
from datagen.errors import StoreError
from datagen.store.database import Database, schema_revisions
from datagen.store.tables.installation import SharedSecretRow

#: Rows read or written at a time.
_PAGE = 1000
_METADATA_ENTRY = "backup.json"
#: Largest metadata of a backup, and its largest row, bytes. No more is read into memory at once.
_MAX_METADATA_BYTES, _MAX_ROW_BYTES = 2**20, 64 * 2**20
#: Alembic's own table; its one value is part of the backup's metadata.
_ALEMBIC_TABLE = "alembic_version"


def back_up(database: Database, path: Path) -> dict[str, int]:
    """Write every row to ``path`` and return the number of rows by table.

    Concurrent writers are not blocked; their changes are not in the backup. The file is created with permissions for
    its owner only, next to ``path``, and then renamed: a killed backup leaves no partial file at ``path``, and a
    symbolic link at ``path`` is replaced, not followed.

    Raises:
        StoreError: the file cannot be written, or the database has no tables.
    """
    with _new_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        return _write(database, archive)


def restore(database: Database, path: Path) -> dict[str, int]:
    """Fill an empty database from a backup, completely or not at all, and return the number of rows by table.

    Raises:
        StoreError: the file is not a backup, is damaged, or is from a newer release; or the database has rows.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = _read_metadata(archive, path)
            _prepare_schema(database, about["revision"])
            try:
                with database.engine.begin() as connection:
                    counts = _fill(connection, archive, path, about["rows"])
            finally:
                database.upgrade()
            return counts
    except (zipfile.BadZipFile, EOFError, zlib.error, NotImplementedError, RuntimeError) as fault:
        raise StoreError(f"{path} is not a backup made by “datagen backup”, or is damaged ({fault})") from None
    except OSError as refusal:
        raise StoreError(f"{path} cannot be read: {refusal.strerror}") from None


@contextlib.contextmanager
def _new_file(path: Path) -> Iterator[IO[bytes]]:
    if path.is_dir():
        raise StoreError(f"{path} is a folder; name the file to write, e.g. {path / 'rows.zip'}")
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as refusal:
        raise StoreError(f"{path} cannot be written: {refusal.strerror}") from None


def _write(database: Database, archive: zipfile.ZipFile) -> dict[str, int]:
    counts: dict[str, int] = {}
    with database.engine.connect() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's read transactions are snapshots anyway
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision is None:
            raise StoreError("the database has no tables to back up; run: datagen migrate")
        for table in _tables(connection):
            with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as file:
                counts[table.name] = 0
                for line in _row_lines(connection, table):
                    file.write(line)
                    counts[table.name] += 1
    about = {"version": __version__, "revision": revision, "rows": counts}
    archive.writestr(_METADATA_ENTRY, json.dumps(about))
    return counts


def _tables(connection: Connection) -> list[Table]:
    """Return the tables as reflected from the database, in the order of their foreign keys."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name != _ALEMBIC_TABLE]


def _read_metadata(archive: zipfile.ZipFile, path: Path) -> Any:
    """Return a backup's metadata: its version, its schema's revision, and the number of rows of each table."""
    try:
        with archive.open(_METADATA_ENTRY) as file:
            about: Any = json.loads(file.read(_MAX_METADATA_BYTES))
    except (KeyError, ValueError, RecursionError):
        about = None
    match about:
        case {"revision": str(revision), "rows": dict()}:
            pass
        case _:
            raise StoreError(
                f"{path} is not a backup made by “datagen backup”: it has no {_METADATA_ENTRY} that can be read"
            )
    if revision not in schema_revisions():
        by = f"Datagen {about['version']}" if "version" in about else "another release of Datagen"
        raise StoreError(
            f"{path} was made by {str(by)[:60]} with the schema {revision[:60]!r}, which this version ({__version__}) "
            "does not know; install the version that made it, or a later one, and restore with that"
        )
    return about


def _prepare_schema(database: Database, revision: str) -> None:
    """Migrate an empty database to the backup's schema ``revision``, up or down.

    Raises:
        StoreError: the database has rows, or the schema of a newer release.
    """
    with database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        for table in _tables(connection):
            if table.name == SharedSecretRow.__tablename__:
                continue  # a started process registered its secrets; the backup's rows replace them
            if connection.scalar(select(func.count()).select_from(table)):
                raise StoreError(f"the database has rows in {table.name!r}; restore into an empty one")
    known = schema_revisions()
    if current is not None and current not in known:
        raise StoreError(
            f"the database has the schema {current!r} of a newer Datagen; restore with that, or into another"
        )
    if current is not None and known.index(current) > known.index(revision):
        database.downgrade(revision)
    database.upgrade(revision)


def _fill(connection: Connection, archive: zipfile.ZipFile, path: Path, expected: dict[str, Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for table in _tables(connection):
        if table.name == SharedSecretRow.__tablename__:
            connection.execute(delete(table))
        counts[table.name] = 0
        try:
            file = archive.open(f"{table.name}.jsonl")
        except KeyError:
            raise StoreError(f"{path} lacks the table {table.name!r}: it is damaged; use another backup") from None
        with file:
            for page in _pages(file, table, path):
                counts[table.name] += _insert(connection, table, page, path)
        if counts[table.name] != expected.get(table.name):
            raise StoreError(f"{path} lacks rows of {table.name!r}: it is damaged; use another backup")
        _advance_sequence(connection, table)
    return counts


def _row_lines(connection: Connection, table: Table) -> Iterator[bytes]:
    rows = connection.execution_options(yield_per=_PAGE).execute(select(table).order_by(*table.primary_key)).mappings()
    for row in rows:
        yield json.dumps(dict(row), default=_to_json, separators=(",", ":")).encode() + b"\n"


def _to_json(value: object) -> str:
    assert isinstance(value, datetime)
    return (value.replace(tzinfo=UTC) if value.tzinfo is None else value).isoformat()  # SQLite has no time zones


def _pages(file: IO[bytes], table: Table, path: Path) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of a table in lists of at most ``_PAGE``."""
    page: list[dict[str, Any]] = []
    columns = set(table.columns.keys())
    times = {column.name for column in table.columns if isinstance(column.type, DateTime)}
    number = 0
    while line := file.readline(_MAX_ROW_BYTES):
        number += 1
        try:
            page.append(_from_json(json.loads(line), columns, times))
        except (ValueError, TypeError, RecursionError) as fault:
            raise StoreError(
                f"{path}, {table.name!r}, row {number}: it is damaged ({fault}); use another backup"
            ) from None
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page


def _from_json(row: Any, columns: set[str], times: set[str]) -> dict[str, Any]:
    """Return a row of a backup with its times parsed.

    Args:
        row: the row as parsed JSON.
        columns: the names of the table's columns.
        times: the names of the columns that hold times.

    Raises:
        TypeError, ValueError: the row does not fit the columns.
    """
    if not isinstance(row, dict):
        raise TypeError("not an object")
    if unknown := row.keys() - columns:
        raise ValueError(f"it has {sorted(unknown)[0][:60]!r}, which the table has not")
    return {name: datetime.fromisoformat(value) if name in times and value else value for name, value in row.items()}


def _insert(connection: Connection, table: Table, page: list[dict[str, Any]], path: Path) -> int:
    try:
        connection.execute(insert(table), page)
    except OperationalError:  # the database failed, not the backup
        raise
    except (StatementError, ArithmeticError) as fault:
        raise StoreError(
            f"{path}: a row of {table.name!r} does not fit its table ({type(fault).__name__}): "
            "it is damaged; use another backup"
        ) from None
    return len(page)


def _advance_sequence(connection: Connection, table: Table) -> None:
    """Set PostgreSQL's sequence of a table's key to the highest restored id; do nothing if the key has no sequence."""
    keys = list(table.primary_key)
    if connection.dialect.name == "postgresql" and len(keys) == 1 and isinstance(keys[0].type, Integer):
        key_name = keys[0].name
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{key_name}'), "  # noqa: S608 - our own names
                f"GREATEST((SELECT COALESCE(MAX({key_name}), 0) FROM {table.name}), 1)) "
                f"WHERE pg_get_serial_sequence('{table.name}', '{key_name}') IS NOT NULL"
            )
        )
