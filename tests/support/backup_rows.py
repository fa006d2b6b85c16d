"""Fills a database with a few rows, for tests of the backup."""

from __future__ import annotations

from datagen.domain.inputs import ProjectKind
from datagen.store.database import Database
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import ProjectRow, StudyRow


def fill(database: Database) -> None:
    with database.write() as session:
        study = StudyRow(name="scratches", labels=["scratch", "dent"], engine="composite", preview_size=20)
        session.add(study)
        session.flush()
        session.add(ProjectRow(project_id=2**40, study_id=study.id, kind=ProjectKind.CONCEPTS))
        session.add(InboxRow(fingerprint="one", action="ANNOTATION_CREATED", task_ids=[2**40]))
        session.add(AuditRow(study="scratches", who="ann", what="approved “bulk”"))
