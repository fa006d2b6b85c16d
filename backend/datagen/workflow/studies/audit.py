"""The audit log of a study: its decisions, their authors and their times."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import aliased

from datagen.domain.foreign_text import plain
from datagen.store.database import Database
from datagen.store.tables.installation import AuditRow
from datagen.workflow.services import find_study

#: What the last line of a deleted study says: its projects in Label Studio are left, or deleted.
DELETIONS = ("deleted", "deleted with its Label Studio projects")
#: Default for the largest number of lines that are returned.
MAX_LINES = 100


def audit_lines(database: Database, study_name: str, limit: int = MAX_LINES) -> list[dict[str, Any]]:
    """Return the newest lines of a study's audit log, at most ``limit``, in the order of time.

    The lines of a deleted study are returned, too.

    Raises:
        Refused: there is no such study, and the log has no line about a deleted study of that name.
    """
    query = select(AuditRow).where(AuditRow.study == plain(study_name)).order_by(AuditRow.id.desc()).limit(limit)
    with database.read() as session:
        rows = session.scalars(query).all()
        if not rows:
            find_study(session, study_name)
    return [{"at": f"{row.at:%Y-%m-%dT%H:%M:%SZ}", "who": row.who, "what": row.what} for row in reversed(rows)]


def own_lines(study_name: str) -> ColumnElement[bool]:
    """Return the condition for the lines of the study that has the name now, without those of deleted ones before."""
    earlier = aliased(AuditRow)
    deletions = select(func.max(earlier.id)).where(earlier.study == study_name, earlier.what.in_(DELETIONS))
    return and_(AuditRow.study == study_name, AuditRow.id > func.coalesce(deletions.scalar_subquery(), 0))
