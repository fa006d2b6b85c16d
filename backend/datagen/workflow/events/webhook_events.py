"""Handling of webhook events from Label Studio, by the kind of the project that they come from.

An event only triggers a reading. The data is read from Label Studio, and is not taken from the event.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import structlog
from sqlalchemy.orm import Session

from datagen.domain.decision import Decision
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import LabelStudioMissing
from datagen.label_studio.api.webhook_payload import START_TRAINING
from datagen.store import leases
from datagen.store.tables.base import now
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import ProjectRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import submit
from datagen.workflow.events.verdict_events import TASK_ACTIONS, TASKS_DELETED, read_verdicts
from datagen.workflow.generation import spot_checks
from datagen.workflow.inputs import input_requests
from datagen.workflow.leased_work import LeasedJob, Write, leased_work
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

#: Number of failures after which an event is given up; outages do not count. The reconciler reads the same data later.
MAX_ATTEMPTS = 5


def handle(services: Services, inbox_id: int) -> None:
    """Handle one event, if it is still pending."""
    leased_work(services, _EventJob(services), inbox_id)


class _EventJob(LeasedJob[InboxRow]):
    """The handling of an event."""

    table = InboxRow
    max_failures = MAX_ATTEMPTS

    def __init__(self, services: Services) -> None:
        self._services = services

    def work(self, row: InboxRow, lost: threading.Event) -> Write[InboxRow] | None:  # noqa: ARG002
        """Handle the event, and return a function that marks it as handled.

        Return None for “Start Training”, which the transaction of its decision marks as handled.
        """
        try:
            write = _handle_event(self._services, row)
        except LabelStudioMissing as gone:
            log.info("event.outdated", inbox=row.id, action=row.action, reason=str(gone))
            return _mark_handled
        log.info("event.handled", inbox=row.id, action=row.action, project=row.project_id)
        return write


def _mark_handled(_unit: UnitOfWork, row: InboxRow) -> None:
    row.handled_at = now()


def _handle_event(services: Services, row: InboxRow) -> Write[InboxRow] | None:
    """Handle an event, and return a function that marks it as handled; None if it is marked already."""
    with services.database.read() as session:
        project_row = session.get(ProjectRow, row.project_id) if row.project_id is not None else None
    if project_row is None:
        return _mark_handled  # the project belongs to no study (any more)
    if row.action == START_TRAINING:
        start_training(services, row, project_row.study_id)
        return None
    write = _handle_by_project(services, row, project_row)
    if project_row.kind is ProjectKind.PREVIEWS:
        spot_checks.watch(services, project_row.study_id)
    return write


def _handle_by_project(services: Services, row: InboxRow, project_row: ProjectRow) -> Write[InboxRow]:
    match project_row.kind:
        case ProjectKind.CONCEPTS | ProjectKind.CANVASES | ProjectKind.BACKGROUNDS:
            with services.unit() as unit:
                input_requests.request_reading(unit, unit.lock_study(project_row.study_id))
        case ProjectKind.PREVIEWS if row.action not in TASK_ACTIONS and row.task_ids:
            return read_verdicts(services, row)
        case ProjectKind.PREVIEWS if row.action not in TASK_ACTIONS:
            verdict_sync.sync_annotations(services, project_row.project_id, row.annotation_ids)
        case ProjectKind.PREVIEWS if row.action == TASKS_DELETED:
            verdict_sync.sync_deleted(services, project_row.study_id, row.task_ids)
        case ProjectKind.DECISIONS if row.action not in TASK_ACTIONS:
            submit.handle_answered_tasks(services, project_row.project_id, ids=row.task_ids)
        case ProjectKind.DECISIONS if row.action == TASKS_DELETED:
            with services.unit() as unit:
                # the deleted task may be the one of the open decision
                decision_points.republish_open_decision(unit, project_row.study_id)
        case _:
            pass  # events of tasks that the workers create
    return _mark_handled


def start_training(services: Services, row: InboxRow, study_id: int) -> None:
    """Handle "Start Training" in a project's menu as *build preview*. A refusal is shown on the open decision task."""
    submit.submit(
        services,
        submit.DecisionCommand(
            study_id=study_id,
            decision=Decision(action=StudyEvent.BUILD_PREVIEW),
            who="Start Training",
            submission=_StartTraining(study_id=study_id, row=row),
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _StartTraining:
    """The event “Start Training”, as the submission of a decision.

    Unlike a form, the event leaves no record by which a repetition could be detected. It is therefore marked as handled
    in the transaction that carries out the decision. A worker that is killed or loses its lease has then done both or
    neither.
    """

    study_id: int
    row: InboxRow

    def point(self, session: Session) -> DecisionRow | None:
        """Return the open decision point."""
        return decision_points.get_open_decision(session, self.study_id)

    def check(self, session: Session, point: DecisionRow | None, wish: Decision) -> None:
        """Do nothing, because only the study's state decides whether the decision is possible."""

    def accept(self, unit: UnitOfWork, point: DecisionRow | None) -> bool:  # noqa: ARG002
        """Mark the event as handled; return False if it was handled before or the lease was lost."""
        held = leases.get_if_owned(unit.session, InboxRow, self.row.id, self.row.token)
        if held is None:
            return False
        leases.finish(held)
        _mark_handled(unit, held)
        return True
