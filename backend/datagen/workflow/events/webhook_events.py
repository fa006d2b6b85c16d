"""Handling of webhook events from Label Studio, by the kind of their project.

An event only triggers a reading: the data is read from Label Studio, and not taken from the event.
"""

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

#: An event is given up after this many failures other than outages; the reconciler reads the same data later.
MOST_ATTEMPTS = 5

TASKS_DELETED = "TASKS_DELETED"
_TASK_ACTIONS = ("TASKS_CREATED", TASKS_DELETED)


def handle(services: Services, inbox_id: int) -> None:
    """Handle one event, if it is still pending."""
    with services.unit() as unit:
        row = leases.claim(unit.session, InboxRow, inbox_id, services.lease_seconds)
    if row is None:
        return
    try:
        with leases.keep_renewed(services.database, row, services.lease_seconds):
            _handle_event(services, row)
    except LabelStudioMissing as gone:
        log.info("event.outdated", inbox=inbox_id, action=row.action, reason=str(gone))
    except Exception as fault:
        try_again(services, row, fault, most_attempts=MOST_ATTEMPTS, action=row.action)
        if not isinstance(fault, DatagenError) and outage_of(fault) is None:
            raise
        return
    persist(lambda: _finish_in_transaction(services, row))
    log.info("event.handled", inbox=inbox_id, action=row.action, project=row.project_id)


def _handle_event(services: Services, row: InboxRow) -> None:
    with services.database.read() as session:
        project_row = session.get(ProjectRow, row.project_id) if row.project_id is not None else None
    if project_row is None:
        return  # the project belongs to no study (any more)
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
                # the deleted task may be the one of the open decision
                decision_points.republish_open_decision(unit, project_row.study_id)
        case _:
            pass  # events of tasks that the workers create


def start_training(services: Services, row: InboxRow, study_id: int) -> None:
    """Handle "Start Training" in a project's menu as "build preview"; a refusal is shown on the open decision task.

    Unlike a form, the event leaves no record by which a repetition could be detected. It is therefore marked as handled
    in the same transaction that carries out the decision: a worker that is killed or loses its lease has done both or
    neither.
    """
    once = partial(_finish, row)
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


def _finish_in_transaction(services: Services, row: InboxRow) -> None:
    with services.unit() as unit:
        _finish(row, unit)


def _finish(row: InboxRow, unit: UnitOfWork) -> bool:
    """Mark an event as handled; return False if it was handled before or the lease was lost."""
    held = leases.get_if_owned(unit.session, InboxRow, row.id, row.token)
    if held is None:
        return False
    leases.finish(held)
    held.handled_at = now()
    return True
