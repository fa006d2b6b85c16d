"""Backup and restore of the rows: every table as JSON lines in one zip, read in one transaction.

The same file restores into SQLite and into PostgreSQL, and so also moves a study from the one to the other. It holds
the tables as its schema has them, so a newer release restores it too: into that schema, which then moves forward.
Pictures are not in it: the image store is a folder or a bucket, written once and never changed, which any tool copies.
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
from datagen.store.tables import SharedSecretRow

#: Rows read or written at a time.
_PAGE = 1000
_ABOUT = "backup.json"
#: Bytes of what is read at once from a backup: what it says of itself, and a row.
_MOST_ABOUT_BYTES, _MOST_ROW_BYTES = 2**20, 64 * 2**20
#: Alembic's own table: its one value is in what the backup says of itself.
_NOT_OURS = "alembic_version"


def back_up(database: Database, path: Path) -> dict[str, int]:
    """Write every row to ``path``; table → how many. Writers go on meanwhile, and are not in it.

    The file is new and its owner's alone, written beside ``path`` and renamed: a killed backup leaves no half of one,
    and a link at ``path`` is replaced, not followed.

    Raises:
        StoreError: the file cannot be written, or the database has no tables.
    """
    with _fresh_file(path) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        return _write(database, archive)


def restore(database: Database, path: Path) -> dict[str, int]:
    """Fill an empty database from a backup, all of it or nothing; table → how many.

    Raises:
        StoreError: the file is no backup, damaged, or of a newer release; or the database has rows.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            about = _about(archive, path)
            _make_room(database, about["revision"])
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
def _fresh_file(path: Path) -> Iterator[IO[bytes]]:
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
        if connection.dialect.name == "postgresql":  # SQLite's reader sees one moment as it is
            connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision is None:
            raise StoreError("the database has no tables to back up; run: datagen migrate")
        for table in _tables(connection):
            with archive.open(f"{table.name}.jsonl", "w", force_zip64=True) as file:
                counts[table.name] = 0
                for line in _lines(connection, table):
                    file.write(line)
                    counts[table.name] += 1
    about = {"version": __version__, "revision": revision, "rows": counts}
    archive.writestr(_ABOUT, json.dumps(about))
    return counts


def _tables(connection: Connection) -> list[Table]:
    """The tables as they are in the database, those that others refer to first."""
    there = MetaData()
    there.reflect(connection)
    return [table for table in there.sorted_tables if table.name != _NOT_OURS]


def _about(archive: zipfile.ZipFile, path: Path) -> Any:
    """What a backup says of itself: its version, its schema's revision, and the rows of each table."""
    try:
        with archive.open(_ABOUT) as file:
            about: Any = json.loads(file.read(_MOST_ABOUT_BYTES))
    except (KeyError, ValueError, RecursionError):
        about = None
    match about:
        case {"revision": str(revision), "rows": dict()}:
            pass
        case _:
            raise StoreError(f"{path} is not a backup made by “datagen backup”: it has no {_ABOUT} that can be read")
    if revision not in schema_revisions():
        by = f"Datagen {about['version']}" if "version" in about else "another release of Datagen"
        raise StoreError(
            f"{path} was made by {str(by)[:60]} with the schema {revision[:60]!r}, which this version ({__version__}) "
            "does not know; install the version that made it, or a later one, and restore with that"
        )
    return about


def _make_room(database: Database, revision: str) -> None:
    """Give an empty database the backup's schema, older or newer than the one it has."""
    with database.engine.connect() as connection:
        there = MigrationContext.configure(connection).get_current_revision()
        for table in _tables(connection):
            if table.name == SharedSecretRow.__tablename__:
                continue  # a process that was started registered its secrets; those of the backup take their place
            if connection.scalar(select(func.count()).select_from(table)):
                raise StoreError(f"the database has rows in {table.name!r}; restore into an empty one")
    known = schema_revisions()
    if there is not None and there not in known:
        raise StoreError(
            f"the database has the schema {there!r} of a newer Datagen; restore with that, or into another"
        )
    if there is not None and known.index(there) > known.index(revision):
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
        _continue_numbers(connection, table)
    return counts


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    rows = connection.execution_options(yield_per=_PAGE).execute(select(table).order_by(*table.primary_key)).mappings()
    for row in rows:
        yield json.dumps(dict(row), default=_to_json, separators=(",", ":")).encode() + b"\n"


def _to_json(value: object) -> str:
    assert isinstance(value, datetime)
    return (value.replace(tzinfo=UTC) if value.tzinfo is None else value).isoformat()  # SQLite has no time zones


def _pages(file: IO[bytes], table: Table, path: Path) -> Iterator[list[dict[str, Any]]]:
    """The rows of a table, some at a time."""
    page: list[dict[str, Any]] = []
    columns = set(table.columns.keys())
    times = {column.name for column in table.columns if isinstance(column.type, DateTime)}
    number = 0
    while line := file.readline(_MOST_ROW_BYTES):
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
    """A row as it was written; ``columns`` are the table's, and ``times`` those of them that hold a moment."""
    if not isinstance(row, dict):
        raise TypeError("not an object")
    if unknown := row.keys() - columns:
        raise ValueError(f"it has {sorted(unknown)[0][:60]!r}, which the table has not")
    return {name: datetime.fromisoformat(value) if name in times and value else value for name, value in row.items()}


def _insert(connection: Connection, table: Table, page: list[dict[str, Any]], path: Path) -> int:
    try:
        connection.execute(insert(table), page)
    except OperationalError:  # the database's own trouble
        raise
    except (StatementError, ArithmeticError) as fault:
        raise StoreError(
            f"{path}: a row of {table.name!r} does not fit its table ({type(fault).__name__}): "
            "it is damaged; use another backup"
        ) from None
    return len(page)


def _continue_numbers(connection: Connection, table: Table) -> None:
    """Have PostgreSQL's sequence go on behind the restored ids; a key without a sequence is left as it is."""
    keys = list(table.primary_key)
    if connection.dialect.name == "postgresql" and len(keys) == 1 and isinstance(keys[0].type, Integer):
        ours = keys[0].name
        connection.execute(
            text(
                f"SELECT setval(pg_get_serial_sequence('{table.name}', '{ours}'), "  # noqa: S608 - our own names
                f"GREATEST((SELECT COALESCE(MAX({ours}), 0) FROM {table.name}), 1)) "
                f"WHERE pg_get_serial_sequence('{table.name}', '{ours}') IS NOT NULL"
            )
        )
