"""Events of annotations on review tasks: one reading serves the events of a project that wait at the moment.

An event says which task changed, and the task is read as it is now. A reading therefore serves every event that arrived
before the reading began: a burst of verdicts costs one request to Label Studio, not one each.
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
#: Number of events that one reading serves, besides the one that caused it.
MAX_TOGETHER = 50


def read_verdicts(services: Services, row: InboxRow) -> Write[InboxRow]:
    """Read the review tasks of an event, and those of other events that wait; return what marks all as handled.

    If the common reading is refused, the tasks of this event are read alone: the fault may be another event's.

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
    """Return the oldest events of annotations in the same project that no worker has tried yet."""
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
