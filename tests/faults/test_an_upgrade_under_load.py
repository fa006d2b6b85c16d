"""The schema is upgraded, and a backup is made, while others write: no writer fails, and nothing is written in part."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import column, func, insert, select, table

from datagen.store.backup import back_up, restore
from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.messages import InboxRow

#: Rows that must be there before and after, so that the one thing happens in the middle of the other.
SOME = 15
#: A schema with the tables that are written to here, and versions after it.
OLD = "0001"
#: An event's columns in that schema: what a program of the old release writes.
OLD_INBOX = table(
    "inbox",
    *(
        column(name, InboxRow.__table__.c[name].type)
        for name in (
            "fingerprint",
            "action",
            "task_ids",
            "annotation_ids",
            "received_at",
            "state",
            "attempts",
            "due_at",
            "error",
        )
    ),
)


class Writers:
    """Each transaction writes one row into each of two tables; ``written`` counts those that were committed."""

    def __init__(self, url: str, faults: list[BaseException]) -> None:
        self._url, self._faults = url, faults
        self._lock, self._over = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(3)]
        self.written = 0

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, more: int) -> None:
        goal, patience = self.written + more, threading.Event()
        for _ in range(600):
            if self.written >= goal or self._faults:
                return
            patience.wait(0.05)
        raise AssertionError(f"{self.written} transactions are written, {goal} were waited for")

    def _write(self, number: int) -> None:
        database = Database(self._url)
        try:
            while not self._over.is_set():
                with database.write() as session:
                    mark = f"{number}-{self.written}-{threading.get_ident()}"
                    session.execute(
                        insert(OLD_INBOX).values(
                            fingerprint=f"{mark}-{session.scalar(select(func.count()).select_from(InboxRow))}",
                            action="LOAD",
                            task_ids=[],
                            annotation_ids=[],
                            received_at=now(),
                            state=WorkState.PENDING,
                            attempts=0,
                            due_at=now(),
                            error="",
                        )
                    )
                    session.execute(insert(AuditRow).values(study="load", who=mark, what="wrote"))
                with self._lock:
                    self.written += 1
        except BaseException as fault:
            self._faults.append(fault)
        finally:
            database.close()


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = Database(url)
    try:
        yield database
    finally:
        database.close()


def count(database: Database) -> tuple[int, int]:
    with database.read() as session:
        events = session.scalar(select(func.count()).select_from(InboxRow)) or 0
        return events, session.scalar(select(func.count()).select_from(AuditRow)) or 0


def test_upgrade_while_others_write_fails_no_writer(database_url: str) -> None:
    faults: list[BaseException] = []
    with opened(database_url) as database:
        database.upgrade(OLD)
        with Writers(database_url, faults) as writers:
            writers.wait_for(SOME)
            database.upgrade()
            writers.wait_for(SOME)
        assert faults == []
        assert count(database) == (writers.written, writers.written)


def test_several_processes_that_upgrade_at_once_all_succeed(database_url: str, tmp_path: Path) -> None:
    environment = {**os.environ, "DATAGEN_DATABASE_URL": database_url, "DATAGEN_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "datagen", "migrate"]
    upgrading = [subprocess.Popen(command, env=environment, cwd=tmp_path) for _ in range(3)]
    assert [process.wait(timeout=120) for process in upgrading] == [0, 0, 0]
    with opened(database_url) as database:
        assert count(database) == (0, 0)


def test_a_backup_while_others_write_is_of_one_moment(database_url: str, tmp_path: Path) -> None:
    faults: list[BaseException] = []
    with opened(database_url) as database, opened(f"sqlite:///{tmp_path / 'restored.sqlite3'}") as restored:
        database.upgrade()
        with Writers(database_url, faults) as writers:
            writers.wait_for(SOME)
            back_up(database, tmp_path / "backup.zip")
            writers.wait_for(SOME)
        assert faults == []
        restore(restored, tmp_path / "backup.zip")
        events, lines = count(restored)
    assert events == lines  # no transaction is half in it
    assert SOME <= events < writers.written
