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

from datagen.domain.inputs import Desk
from datagen.domain.wording import by_number
from datagen.errors import Refused
from datagen.label_studio.api.models import Task
from datagen.store.tables import DeskRow, StudyRow
from datagen.workflow import decision_points
from datagen.workflow.services import Unit, Workshop, find_study

log = structlog.get_logger()

#: How the sentence begins where some tasks of a project could not be read, and the others were.
_BEGINNING = "Left out, because Label Studio cannot send it:"


def read_tasks(workshop: Workshop, project_id: int, **which: Any) -> tuple[list[Task], list[int]]:
    """Tasks of a project, and the ids of those that Label Studio cannot send, which are remembered.

    Args:
        workshop: what they are read with.
        project_id: the project.
        which: which tasks, as ``LabelStudio.tasks`` takes it.
    """
    unreadable: list[int] = []
    tasks = list(workshop.label_studio.tasks(project_id, unreadable=unreadable, **which))
    note(workshop, project_id, unreadable)
    return tasks, unreadable


def note(workshop: Workshop, project_id: int, task_ids: Iterable[int]) -> None:
    """Remember that these tasks of a project could not be read, beside those known before."""
    found = set(task_ids)
    if not found:
        return
    with workshop.unit() as unit:
        desk = unit.session.get(DeskRow, project_id, with_for_update=True)
        if desk is None or found <= set(desk.unreadable):
            return
        log.warning("tasks.unreadable", study=desk.study_id, project=project_id, tasks=sorted(found))
        desk.unreadable = sorted(found.union(desk.unreadable))
        refresh(unit, desk)


def recheck(workshop: Workshop, desk: DeskRow) -> bool:
    """Ask again for the tasks that could not be read; whether one of them can be by now, or is gone.

    Raises:
        LabelStudioFault: they are too many.
    """
    if not desk.unreadable:
        return False
    still: list[int] = []
    list(workshop.label_studio.tasks(desk.project_id, ids=desk.unreadable, unreadable=still))
    if len(still) == len(desk.unreadable):
        return False
    with workshop.unit() as unit:
        current = unit.session.get(DeskRow, desk.project_id, with_for_update=True)
        if current is not None:
            current.unreadable = sorted(set(current.unreadable) - (set(desk.unreadable) - set(still)))
            refresh(unit, current)
    return True


def refresh(unit: Unit, desk: DeskRow, fault: str = "") -> None:
    """Have a project's sentence say what is known now: ``fault`` is why nothing at all of it could be read."""
    sentence = (fault or _sentence(unit.session, desk))[:1000]
    if desk.problem != sentence:
        desk.problem = sentence
        decision_points.tell_open(unit, desk.study_id)


def is_fault(desk: DeskRow) -> bool:
    """Whether nothing at all of a project could be read, when it was looked at last."""
    return bool(desk.problem) and not desk.problem.startswith(_BEGINNING)


def gone(desk: Desk, project_id: int, study_name: str) -> str:
    """The sentence that says that one of a study's projects was deleted, and what to do."""
    return (
        f"project {project_id} ({desk}) is not in Label Studio any more: somebody deleted it. To make a new, empty "
        f"one, run: datagen provision {shlex.quote(study_name)}"
    )


def problems_of(session: Session, study_id: int) -> list[str]:
    """A sentence for each project of a study that cannot be read, or not all of it."""
    query = select(DeskRow.problem).where(DeskRow.study_id == study_id, DeskRow.problem != "")
    return list(session.scalars(query.order_by(DeskRow.project_id)))


def discard(workshop: Workshop, name: str, task_ids: Sequence[int]) -> list[int]:
    """Delete those of these tasks that Label Studio cannot send; it cannot show them either, so nobody can do it there.

    Raises:
        Refused: one of them can be read, or is in no project of the study; nothing was deleted.
    """
    with workshop.database.read() as session:
        study = find_study(session, name)
        projects = list(session.scalars(select(DeskRow.project_id).where(DeskRow.study_id == study.id)))
    found: dict[int, list[int]] = {}
    for project_id in projects:
        unreadable: list[int] = []
        for task in workshop.label_studio.tasks(project_id, ids=task_ids, unreadable=unreadable):
            raise Refused(f"task {task.id} of project {project_id} can be read; delete it in Label Studio.")
        found[project_id] = unreadable
    known = {task_id for some in found.values() for task_id in some}
    if unknown := sorted(set(task_ids) - known):
        raise Refused(f"{name!r} has no task {', '.join(map(str, unknown))} in any of its projects.")
    for project_id, some in found.items():
        workshop.label_studio.delete_tasks(project_id, some)
    return sorted(known)


def _sentence(session: Session, desk: DeskRow) -> str:
    if not desk.unreadable:
        return ""
    name = session.get_one(StudyRow, desk.study_id).name
    numbers = " ".join(map(str, desk.unreadable))
    which, it = (by_number(len(desk.unreadable), *words) for words in (("task", "tasks"), ("it", "them")))
    return (
        f"{_BEGINNING} {which} {numbers.replace(' ', ', ')} of project {desk.project_id} ({desk.desk}): "
        f"text in there is none (half a character). Label Studio's own pages of that project fail too. "
        f"Delete {it} with: datagen discard {shlex.quote(name)} {numbers}"
    )
