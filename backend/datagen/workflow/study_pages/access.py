"""Access to studies. A person sees a study if Label Studio shows every project of the study to that person."""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists, select, true
from sqlalchemy.orm import Session

from datagen.errors import Refused
from datagen.store.tables.studies import ProjectRow, StudyRow

#: What a person may see: ids of projects; None: every project.
Visible = frozenset[int] | None

NO_STUDY = "There is no study at this address: it was deleted, or Label Studio does not show you its projects."


def is_visible(project_ids: Visible) -> ColumnElement[bool]:
    """Return the condition for studies whose projects are all among ``project_ids``.

    One project is not enough: a member who may draw on the concept photos may not be meant to see the dataset.
    """
    if project_ids is None:
        return true()
    of_study = exists().where(ProjectRow.study_id == StudyRow.id)
    return of_study & ~of_study.where(ProjectRow.project_id.not_in(sorted(project_ids)))


def visible_study(session: Session, study_id: int, project_ids: Visible) -> StudyRow:
    """Return a study.

    Raises:
        Refused: there is no such study, or the person may not see it; both have the same sentence.
    """
    study = session.scalar(select(StudyRow).where(StudyRow.id == study_id, is_visible(project_ids)))
    if study is None:
        raise Refused(NO_STUDY)
    return study


def known_projects(session: Session) -> list[int]:
    """Return the ids of the projects of all studies, the newest first."""
    return list(session.scalars(select(ProjectRow.project_id).order_by(ProjectRow.project_id.desc())))
