"""Tasks that Label Studio holds and cannot send: remembered, named where people look, and deleted on request.

A reading leaves them out and goes on. Nothing is known of what they say, so nothing that was known is forgotten either.
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
from datagen.store.tables import ProjectRow, StudyRow
from datagen.workflow import decision_points
from datagen.workflow.services import Services, UnitOfWork, find_study

log = structlog.get_logger()

#: How the sentence begins where some tasks of a project could not be read, and the others were.
_BEGINNING = "Left out, because Label Studio cannot send it:"


def read_tasks(services: Services, project_id: int, **which: Any) -> tuple[list[Task], list[int]]:
    """Tasks of a project, and the ids of those that Label Studio cannot send, which are remembered.

    Args:
        workshop: what they are read with.
        project_id: the project.
        which: which tasks, as ``LabelStudio.tasks`` takes it.
    """
    unreadable: list[int] = []
    tasks = list(services.label_studio.tasks(project_id, unreadable=unreadable, **which))
    note(services, project_id, unreadable)
    return tasks, unreadable


def note(services: Services, project_id: int, task_ids: Iterable[int]) -> None:
    """Remember that these tasks of a project could not be read, beside those known before."""
    found = set(task_ids)
    if not found:
        return
    with services.unit() as unit:
        project_row = unit.session.get(ProjectRow, project_id, with_for_update=True)
        if project_row is None or found <= set(project_row.unreadable):
            return
        log.warning("tasks.unreadable", study=project_row.study_id, project=project_id, tasks=sorted(found))
        project_row.unreadable = sorted(found.union(project_row.unreadable))
        refresh(unit, project_row)


def recheck(services: Services, project: ProjectRow) -> bool:
    """Ask again for the tasks that could not be read; whether one of them can be by now, or is gone.

    Raises:
        LabelStudioFault: they are too many.
    """
    if not project.unreadable:
        return False
    still: list[int] = []
    list(services.label_studio.tasks(project.project_id, ids=project.unreadable, unreadable=still))
    if len(still) == len(project.unreadable):
        return False
    with services.unit() as unit:
        current = unit.session.get(ProjectRow, project.project_id, with_for_update=True)
        if current is not None:
            current.unreadable = sorted(set(current.unreadable) - (set(project.unreadable) - set(still)))
            refresh(unit, current)
    return True


def refresh(unit: UnitOfWork, project: ProjectRow, fault: str = "") -> None:
    """Have a project's sentence say what is known now: ``fault`` is why nothing at all of it could be read."""
    sentence = (fault or _sentence(unit.session, project))[:1000]
    if project.problem != sentence:
        project.problem = sentence
        decision_points.republish_open_decision(unit, project.study_id)


def is_fault(project: ProjectRow) -> bool:
    """Whether nothing at all of a project could be read, when it was looked at last."""
    return bool(project.problem) and not project.problem.startswith(_BEGINNING)


def gone(kind: ProjectKind, project_id: int, study_name: str) -> str:
    """The sentence that says that one of a study's projects was deleted, and what to do."""
    return (
        f"project {project_id} ({kind}) is not in Label Studio any more: somebody deleted it. To make a new, empty "
        f"one, run: datagen provision {shlex.quote(study_name)}"
    )


def problems_of(session: Session, study_id: int) -> list[str]:
    """A sentence for each project of a study that cannot be read, or not all of it."""
    query = select(ProjectRow.problem).where(ProjectRow.study_id == study_id, ProjectRow.problem != "")
    return list(session.scalars(query.order_by(ProjectRow.project_id)))


def discard(services: Services, name: str, task_ids: Sequence[int]) -> list[int]:
    """Delete those of these tasks that Label Studio cannot send; it cannot show them either, so nobody can do it there.

    Raises:
        Refused: one of them can be read, or is in no project of the study; nothing was deleted.
    """
    with services.database.read() as session:
        study = find_study(session, name)
        projects = list(session.scalars(select(ProjectRow.project_id).where(ProjectRow.study_id == study.id)))
    found: dict[int, list[int]] = {}
    for project_id in projects:
        unreadable: list[int] = []
        for task in services.label_studio.tasks(project_id, ids=task_ids, unreadable=unreadable):
            raise Refused(f"task {task.id} of project {project_id} can be read; delete it in Label Studio.")
        found[project_id] = unreadable
    known = {task_id for some in found.values() for task_id in some}
    if unknown := sorted(set(task_ids) - known):
        raise Refused(f"{name!r} has no task {', '.join(map(str, unknown))} in any of its projects.")
    for project_id, some in found.items():
        services.label_studio.delete_tasks(project_id, some)
    return sorted(known)


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
