"""What an event from Label Studio means: which desk it came from, and what follows. The truth is read, not believed."""

from __future__ import annotations

from functools import partial

import structlog

from datagen.domain.decision import Decision
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import DatagenError, LabelStudioMissing
from datagen.label_studio.api.webhook_payload import START_TRAINING
from datagen.store import leases
from datagen.store.tables import DecisionRow, InboxRow, OutboxKind, ProjectRow, now
from datagen.workflow import decision_points
from datagen.workflow.backoff import persist, try_again
from datagen.workflow.decisions import submit
from datagen.workflow.inputs import input_sync
from datagen.workflow.outages import outage_of
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import JobKind, Services, UnitOfWork

log = structlog.get_logger()

#: An event that failed so often for other reasons than an absent Label Studio is given up; the reconciler reads the
#: truth anyway.
MOST_ATTEMPTS = 5

TASKS_DELETED = "TASKS_DELETED"
_TASK_ACTIONS = ("TASKS_CREATED", TASKS_DELETED)


def handle(services: Services, inbox_id: int) -> None:
    """Act on one event, if it still waits."""
    with services.unit() as unit:
        row = leases.claim(unit.session, InboxRow, inbox_id, services.lease_seconds)
    if row is None:
        return
    try:
        with leases.keep_renewed(services.database, row, services.lease_seconds):
            _act(services, row)
    except LabelStudioMissing as gone:
        log.info("event.outdated", inbox=inbox_id, action=row.action, reason=str(gone))
    except Exception as fault:
        try_again(services, row, fault, most_attempts=MOST_ATTEMPTS, action=row.action)
        if not isinstance(fault, DatagenError) and outage_of(fault) is None:
            raise
        return
    persist(lambda: _end_alone(services, row))
    log.info("event.handled", inbox=inbox_id, action=row.action, project=row.project_id)


def _act(services: Services, row: InboxRow) -> None:
    with services.database.read() as session:
        project_row = session.get(ProjectRow, row.project_id) if row.project_id is not None else None
    if project_row is None:
        return  # a project that is not ours (any more)
    if row.action == START_TRAINING:
        start_training(services, row, project_row.study_id)
        return
    match project_row.kind:
        case ProjectKind.CONCEPTS | ProjectKind.CANVASES | ProjectKind.BACKGROUNDS:
            with services.unit() as unit:
                input_sync.mark_stale(unit, project_row.study_id)
                unit.enqueue_after_commit(JobKind.INPUTS, project_row.study_id)
        case ProjectKind.PREVIEWS if row.action not in _TASK_ACTIONS:
            verdict_sync.sync_tasks(services, project_row.project_id, row.task_ids)
            if not row.task_ids:
                verdict_sync.sync_annotations(services, project_row.project_id, row.annotation_ids)
        case ProjectKind.PREVIEWS if row.action == TASKS_DELETED:
            verdict_sync.sync_deleted(services, project_row.study_id, row.task_ids)
        case ProjectKind.DECISIONS if row.action not in _TASK_ACTIONS:
            submit.handle_answered_tasks(services, project_row.project_id, ids=row.task_ids)
        case ProjectKind.DECISIONS if row.action == TASKS_DELETED:
            with services.unit() as unit:
                decision_points.republish_open_decision(
                    unit, project_row.study_id
                )  # somebody may wait for the task that was deleted
        case _:
            pass  # our own tasks, coming back as events


def start_training(services: Services, row: InboxRow, study_id: int) -> None:
    """ "Start Training" in a project's menu is "build preview"; a refusal is shown on the open decision task.

    Unlike a form it leaves nothing behind by which it could be known again. So the event ends in the very transaction
    that acts on it: whoever is killed, or loses the lease, has either done both or nothing.
    """
    once = partial(_end, row)
    try:
        with submit.showing_waits(services, study_id, StudyEvent.BUILD_PREVIEW):
            submit.decide(services, study_id, Decision(action=StudyEvent.BUILD_PREVIEW), "Start Training", once=once)
    except DatagenError as refusal:
        if outage_of(refusal) is not None:
            raise
        with services.unit() as unit:
            if not once(unit):
                return
            unit.lock_study(study_id)
            point: DecisionRow | None = decision_points.get_open_decision(unit.session, study_id)
            if point is not None:
                point.problem = str(refusal)[:1000]
                unit.add_to_outbox(study_id, OutboxKind.DECISION, point.id)


def _end_alone(services: Services, row: InboxRow) -> None:
    with services.unit() as unit:
        _end(row, unit)


def _end(row: InboxRow, unit: UnitOfWork) -> bool:
    """Mark an event as handled; False when it was before, or when it is somebody else's by now."""
    held = leases.get_if_owned(unit.session, InboxRow, row.id, row.token)
    if held is None:
        return False
    leases.finish(held)
    held.handled_at = now()
    return True
