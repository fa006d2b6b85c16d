"""The reconciler: finds what was made, changed or deleted in Label Studio while nobody listened.

A webhook is sent once and may be lost; Label Studio's tasks remember when they were touched. So each desk is asked for
what was touched since the last look: the cost grows with what changed, not with what exists.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import select

from datagen.domain.inputs import Desk
from datagen.domain.lifecycle import StudyState
from datagen.errors import LabelStudioError, LabelStudioUnavailable
from datagen.label_studio.records import Task
from datagen.store.rows import DeskRow, InputRow, StudyRow
from datagen.workflow import deciding, verdicts
from datagen.workflow.inputs import mark_stale
from datagen.workflow.workshop import Door, Workshop

log = structlog.get_logger()

#: Looked at again behind the newest change seen: Label Studio stamps a change before it commits it, and a slow commit
#: comes to light after a faster, later one.
OVERLAP = timedelta(seconds=15)


def reconcile(workshop: Workshop) -> None:
    """Look at every desk that people write at; one that cannot be read does not keep the others from it.

    Raises:
        LabelStudioUnavailable: Label Studio is away; the next look sees the same changes.
    """
    with workshop.database.read() as session:
        desks = session.execute(
            select(DeskRow, StudyRow.state)
            .join(StudyRow, StudyRow.id == DeskRow.study_id)
            .where(DeskRow.desk != Desk.DATASET)
            .order_by(DeskRow.study_id, DeskRow.project_id)
        ).all()
    for desk, state in desks:
        if state == StudyState.STOPPED and desk.desk is not Desk.DECISIONS:
            continue
        try:
            _look(workshop, desk)
        except LabelStudioUnavailable:
            raise
        except LabelStudioError as refusal:  # somebody deleted the project, say
            log.warning("reconciler.refused", study=desk.study_id, desk=str(desk.desk), reason=str(refusal))


def _look(workshop: Workshop, desk: DeskRow) -> None:
    """What was touched at one desk since the last look, acted on like an event; then the cursor moves on."""
    read = partial(workshop.label_studio.tasks, desk.project_id, updated_since=_since(desk.seen_until))
    touched = verdicts.follow(workshop, desk.project_id, read) if desk.desk is Desk.PREVIEWS else list(read())
    match desk.desk:
        case Desk.PREVIEWS:
            pass
        case Desk.DECISIONS:
            for task in touched:
                deciding.follow(workshop, desk.project_id, task)
        case _:
            _check_inputs(workshop, desk, touched)
    newest = max((task.updated_at for task in touched), default="")
    if newest > desk.seen_until:
        with workshop.unit() as unit:
            unit.session.get_one(DeskRow, desk.project_id).seen_until = newest


def _check_inputs(workshop: Workshop, desk: DeskRow, touched: Sequence[Task]) -> None:
    """Have the inputs read again where a task is new, was answered anew, or is gone."""
    with workshop.database.read() as session:
        rows = session.scalars(
            select(InputRow).where(InputRow.study_id == desk.study_id, InputRow.role == desk.desk.role)
        )
        known = {row.task_id: row.said_at for row in rows}
    changed = [task.id for task in touched if not _is_skip(task) and known.get(task.id) != _said_at(task)]
    skipped = [task.id for task in touched if _is_skip(task) and task.id in known]
    there = int(workshop.label_studio.project(desk.project_id).options.get("task_number") or 0)
    gone = there < len(known)
    if not (changed or skipped or gone):
        return
    log.info("reconciler.inputs", study=desk.study_id, desk=str(desk.desk), changed=len(changed), gone=gone)
    with workshop.unit() as unit:
        mark_stale(unit, desk.study_id)
        unit.later(Door.INPUTS, desk.study_id)


def _said_at(task: Task) -> str:
    return task.newest.updated_at if task.newest else ""


def _is_skip(task: Task) -> bool:
    return bool(task.annotations) and task.newest is None


def _since(seen_until: str) -> str | None:
    if not seen_until:
        return None
    # the one form that Label Studio's filters take
    return (datetime.fromisoformat(seen_until) - OVERLAP).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
