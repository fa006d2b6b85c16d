"""The history of a study: its audit log, the newest line first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.store.keyset_page import keyset_page
from datagen.store.tables.installation import AuditRow
from datagen.workflow.studies.audit import own_lines
from datagen.workflow.study_pages.access import Visible, visible_study

#: Number of lines on a page.
LINES_A_PAGE = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryLine:
    """One line of the audit log."""

    id: int
    at: datetime
    who: str
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryView:
    """A page of the history."""

    study_id: int
    study: str
    lines: tuple[HistoryLine, ...]
    #: the id after which the next page begins; None on the last page
    next_before: int | None


def history_of(
    session: Session, study_id: int, project_ids: Visible, before: int | None = None, most: int | None = None
) -> HistoryView:
    """Return a page of a study's history.

    Args:
        session: the session.
        study_id: the study.
        project_ids: what the person may see.
        before: the id of the last line of the page before; None for the first page.
        most: largest number of lines on the page; None: ``LINES_A_PAGE``.

    Raises:
        Refused: there is no such study, or the person may not see it.
    """
    study = visible_study(session, study_id, project_ids)
    most = LINES_A_PAGE if most is None else most
    query = select(AuditRow).where(own_lines(study.name)).order_by(AuditRow.id.desc())
    if before is not None:
        query = query.where(AuditRow.id < before)
    shown, next_before = keyset_page(session.scalars(query.limit(most + 1)).all(), most, lambda row: row.id)
    return HistoryView(
        study_id=study.id,
        study=study.name,
        lines=tuple(HistoryLine(id=row.id, at=row.at, who=row.who, action=row.what) for row in shown),
        next_before=next_before,
    )
