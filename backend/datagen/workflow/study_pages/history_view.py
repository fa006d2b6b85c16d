"""The history of a study: its audit log, the newest line first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.store.tables.installation import AuditRow
from datagen.workflow.studies.audit import own_lines
from datagen.workflow.study_pages.access import Visible, visible_study

#: Number of lines on a page.
LINES_A_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One line of the audit log."""

    at: datetime
    who: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryView:
    """A page of the history."""

    study_id: int
    study: str
    lines: tuple[HistoryLine, ...]
    #: the id from which the next page goes on; None on the last page
    next_before: int | None


def history_of(session: Session, study_id: int, project_ids: Visible, before: int | None = None) -> HistoryView:
    """Return a page of a study's history; ``before`` is the id of the last line of the page before.

    Raises:
        Refused: there is no such study, or the person may not see it.
    """
    study = visible_study(session, study_id, project_ids)
    query = select(AuditRow).where(own_lines(study.name)).order_by(AuditRow.id.desc())
    if before is not None:
        query = query.where(AuditRow.id < before)
    rows = session.scalars(query.limit(LINES_A_PAGE + 1)).all()
    shown = rows[:LINES_A_PAGE]
    return HistoryView(
        study_id=study.id,
        study=study.name,
        lines=tuple(HistoryLine(at=row.at, who=row.who, what=row.what) for row in shown),
        next_before=shown[-1].id if len(rows) > LINES_A_PAGE else None,
    )
