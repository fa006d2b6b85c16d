"""The audit lists the decisions of a study and their authors, also after the study was deleted."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from datagen.errors import Refused
from datagen.store.database import Database
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.studies.audit import audit_lines

MORNING = datetime(2026, 11, 29, 8, 30, tzinfo=UTC)


@pytest.fixture
def database(migrated_file: Path, tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{shutil.copy(migrated_file, tmp_path / 'rows.sqlite3')}")
    with database.write() as session:
        session.add(StudyRow(name="plates", labels=["pit"], engine="composite", preview_size=3))
        session.add_all(AuditRow(study="gone", who="ann", what=f"decision {n}", at=MORNING) for n in range(3))
    yield database
    database.close()


def test_the_newest_lines_are_returned_in_the_order_of_time(database: Database) -> None:
    assert audit_lines(database, "gone", 2) == [
        {"at": "2026-11-29T08:30:00Z", "who": "ann", "what": "decision 1"},
        {"at": "2026-11-29T08:30:00Z", "who": "ann", "what": "decision 2"},
    ]


def test_a_study_without_decisions_has_no_lines(database: Database) -> None:
    assert audit_lines(database, "plates") == []


def test_a_study_that_never_was_is_refused(database: Database) -> None:
    with pytest.raises(Refused, match="there is no study named 'boards'; there are: plates"):
        audit_lines(database, "boards")
