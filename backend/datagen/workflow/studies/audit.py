"""The audit of a study: who decided what, and when."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from datagen.domain.foreign_text import plain
from datagen.store.database import Database
from datagen.store.tables.installation import AuditRow
from datagen.workflow.services import find_study

#: Lines that are returned where no other number is asked for.
MAX_LINES = 100


def audit_lines(database: Database, study_name: str, limit: int = MAX_LINES) -> list[dict[str, Any]]:
    """Return a study's newest audit lines, oldest of them first; those of a deleted study too.

    Raises:
        Refused: there is no such study, and no line names one.
    """
    query = select(AuditRow).where(AuditRow.study == plain(study_name)).order_by(AuditRow.id.desc()).limit(limit)
    with database.read() as session:
        rows = session.scalars(query).all()
        if not rows:
            find_study(session, study_name)
    return [{"at": f"{row.at:%Y-%m-%dT%H:%M:%SZ}", "who": row.who, "what": row.what} for row in reversed(rows)]
