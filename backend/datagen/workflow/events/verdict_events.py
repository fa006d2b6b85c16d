"""Events of annotations on review tasks. One reading of tasks serves several waiting events of a project.

An event only names the task that changed. The task is then read in its current state, so a reading serves every event
that arrived before the reading began. A burst of verdicts thus costs one request to Label Studio, not one for each.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import select

from datagen.errors import LabelStudioError, LabelStudioUnavailable
from datagen.label_studio.api.webhook_payload import START_TRAINING
from datagen.store import leases
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.messages import InboxRow
from datagen.workflow.leased_work import Write
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

TASKS_DELETED = "TASKS_DELETED"
#: Events of tasks, not of their annotations.
TASK_ACTIONS = ("TASKS_CREATED", TASKS_DELETED)
#: Largest number of events that one reading serves, besides the one that caused it.
MAX_TOGETHER = 50


def read_verdicts(services: Services, row: InboxRow) -> Write[InboxRow]:
    """Read the review tasks of an event, together with those of other waiting events of its project.

    Return a function that marks all of these events as handled. If Label Studio refuses the common reading, only the
    tasks of this event are read, because another event may be the cause.

    Raises:
        LabelStudioError: the tasks of this event cannot be read.
    """
    assert row.project_id is not None
    others = _waiting(services, row)
    task_ids = {*row.task_ids, *(task_id for other in others for task_id in other.task_ids)}
    try:
        verdict_sync.sync_tasks(services, row.project_id, sorted(task_ids))
    except LabelStudioUnavailable:
        raise
    except LabelStudioError as refusal:
        if not others:
            raise
        log.warning("event.read_alone", inbox=row.id, others=len(others), reason=str(refusal))
        others = ()
        verdict_sync.sync_tasks(services, row.project_id, row.task_ids)
    served = [other.id for other in others]

    def mark_handled(unit: UnitOfWork, own: InboxRow) -> None:
        own.handled_at = now()
        # an event that another worker has claimed meanwhile is left to it
        free = select(InboxRow).where(InboxRow.id.in_(served), InboxRow.state == WorkState.PENDING)
        for other in unit.session.scalars(free.order_by(InboxRow.id).with_for_update(skip_locked=True)):
            leases.finish(other)
            other.handled_at = now()

    return mark_handled


def _waiting(services: Services, row: InboxRow) -> Sequence[InboxRow]:
    """Return the oldest waiting events of annotations in the same project, at most ``MAX_TOGETHER``.

    Events that a worker has tried before are left out.
    """
    with services.database.read() as session:
        waiting = session.scalars(
            select(InboxRow)
            .where(
                InboxRow.project_id == row.project_id,
                InboxRow.id != row.id,
                InboxRow.state == WorkState.PENDING,
                InboxRow.attempts == 0,
                InboxRow.action.not_in((*TASK_ACTIONS, START_TRAINING)),
            )
            .order_by(InboxRow.id)
            .limit(MAX_TOGETHER)
        ).all()
    return [event for event in waiting if event.task_ids]
