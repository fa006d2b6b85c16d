"""Tasks that Label Studio stores but cannot send: they are recorded, shown on decision pages, and deleted on request.

A reading skips such a task. Its current content is unknown, so the content that was read before is kept.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.inputs import ProjectKind
from datagen.domain.wording import by_number
from datagen.errors import Refused
from datagen.label_studio.api.models import Task
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow import decision_points
from datagen.workflow.services import Services, UnitOfWork, find_study

log = structlog.get_logger()

#: Beginning of ``ProjectRow.problem`` if some, but not all, tasks of the project could not be read.
_BEGINNING = "Left out, because Label Studio cannot send it:"


def read_tasks(services: Services, project_id: int, **which: Any) -> tuple[list[Task], list[int]]:
    """Return tasks of a project, and the ids of those that Label Studio cannot send. These ids are also recorded.

    Args:
        services: the services with the Label Studio client.
        project_id: the project.
        which: filters of the tasks, passed on to ``LabelStudioPort.tasks``.
    """
    unreadable: list[int] = []
    tasks = list(services.label_studio.tasks(project_id, unreadable=unreadable, **which))
    note(services, project_id, unreadable)
    return tasks, unreadable


def note(services: Services, project_id: int, task_ids: Iterable[int]) -> None:
    """Add these tasks to the recorded unreadable tasks of a project."""
    new_ids = set(task_ids)
    if not new_ids:
        return
    with services.unit() as unit:
        project_row = unit.session.get(ProjectRow, project_id, with_for_update=True)
        if project_row is None or new_ids <= set(project_row.unreadable):
            return
        log.warning("tasks.unreadable", study=project_row.study_id, project=project_id, tasks=sorted(new_ids))
        project_row.unreadable = sorted(new_ids.union(project_row.unreadable))
        refresh(unit, project_row)


def recheck(services: Services, project: ProjectRow) -> bool:
    """Request the recorded unreadable tasks again. Return whether at least one can be read now or was deleted.

    Raises:
        LabelStudioFault: too many tasks are unreadable.
    """
    if not project.unreadable:
        return False
    still_unreadable: list[int] = []
    list(services.label_studio.tasks(project.project_id, ids=project.unreadable, unreadable=still_unreadable))
    if len(still_unreadable) == len(project.unreadable):
        return False
    with services.unit() as unit:
        row = unit.session.get(ProjectRow, project.project_id, with_for_update=True)
        if row is not None:
            row.unreadable = sorted(set(row.unreadable) - (set(project.unreadable) - set(still_unreadable)))
            refresh(unit, row)
    return True


def refresh(unit: UnitOfWork, project: ProjectRow, fault: str = "") -> None:
    """Update ``ProjectRow.problem``. ``fault`` is the reason if the project could not be read at all."""
    sentence = (fault or _sentence(unit.session, project))[:1000]
    if project.problem != sentence:
        project.problem = sentence
        decision_points.republish_open_decision(unit, project.study_id)


def is_fault(project: ProjectRow) -> bool:
    """Return whether the project could not be read at all in its last reading."""
    return bool(project.problem) and not project.problem.startswith(_BEGINNING)


def gone(kind: ProjectKind, project_id: int, study_name: str) -> str:
    """Return a sentence about a deleted project of a study, with the command that creates a new one."""
    return (
        f"project {project_id} ({kind}) is not in Label Studio any more: it was deleted. To make a new, empty "
        f"one, run: datagen provision {shlex.quote(study_name)}"
    )


def problems_of(session: Session, study_id: int) -> list[str]:
    """Return a sentence for each project of a study of which all or some tasks cannot be read."""
    query = select(ProjectRow.problem).where(ProjectRow.study_id == study_id, ProjectRow.problem != "")
    return list(session.scalars(query.order_by(ProjectRow.project_id)))


def discard(services: Services, name: str, task_ids: Sequence[int]) -> list[int]:
    """Delete unreadable tasks and return their ids. People cannot delete them in Label Studio, which cannot show them.

    Raises:
        Refused: a task can be read, or is in no project of the study; nothing was deleted.
    """
    with services.database.read() as session:
        study = find_study(session, name)
        projects = list(session.scalars(select(ProjectRow.project_id).where(ProjectRow.study_id == study.id)))
    by_project: dict[int, list[int]] = {}
    for project_id in projects:
        unreadable: list[int] = []
        for task in services.label_studio.tasks(project_id, ids=task_ids, unreadable=unreadable):
            raise Refused(f"task {task.id} of project {project_id} can be read; delete it in Label Studio.")
        by_project[project_id] = unreadable
    unreadable_ids = {task_id for ids in by_project.values() for task_id in ids}
    if unknown := sorted(set(task_ids) - unreadable_ids):
        raise Refused(f"{name!r} has no task {', '.join(map(str, unknown))} in any of its projects.")
    for project_id, ids in by_project.items():
        services.label_studio.delete_tasks(project_id, ids)
    return sorted(unreadable_ids)


def _sentence(session: Session, project: ProjectRow) -> str:
    if not project.unreadable:
        return ""
    name = session.get_one(StudyRow, project.study_id).name
    numbers = " ".join(map(str, project.unreadable))
    which, it = (by_number(len(project.unreadable), *words) for words in (("task", "tasks"), ("it", "them")))
    return (
        f"{_BEGINNING} {which} {numbers.replace(' ', ', ')} of project {project.project_id} ({project.kind}): "
        f"text in there is none (half a character). Label Studio's own pages of that project fail too. "
        f"Delete {it} with: datagen discard {shlex.quote(name)} {numbers}"
    )
