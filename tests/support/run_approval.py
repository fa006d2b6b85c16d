"""Creates an approved run of a study that exists only as rows."""

from __future__ import annotations

from sqlalchemy import event

from datagen.store.database import Database
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions import spec_versions
from datagen.workflow.services import JobRequest, UnitOfWork


def approve(database: Database, count: int, size: int = 50) -> tuple[int, list[JobRequest], int]:
    """Create a run of ``count`` images in shards of ``size``.

    Return the id of its batch, the requested jobs, and the number of SQL statements.
    """
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        statements.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    with database.write() as session:
        unit = UnitOfWork(session=session)
        study, spec = session.get_one(StudyRow, 1), session.get_one(SpecRow, 1)
        batch = spec_versions.add_batch(
            unit, study, spec, spec_versions.BatchRequest(kind=BatchKind.RUN, count=count, who="tester"), size
        )
        batch_id = batch.id
    event.remove(database.engine, "before_cursor_execute", note)
    return batch_id, unit.job_requests, len(statements)
