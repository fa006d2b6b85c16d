"""Decisions about a study, by the same function, rules and audit lines as those of a decision task."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal

from pydantic import Field, StringConstraints
from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.decision import Decision
from datagen.domain.foreign_text import plain
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.label_studio.api.accounts import Account
from datagen.store import api_requests
from datagen.store.api_requests import Claim
from datagen.store.database import Database
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.base import PARTS_OF_RUNS, BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import StudyRow
from datagen.web.api.idempotency import current_claim, is_applied, taken_over
from datagen.web.api.operations import Body, Operations, Resource
from datagen.web.api.reading import Page, PageQuery, reading
from datagen.workflow import decision_points
from datagen.workflow.decisions.submit import LONGEST_NOTE, DecisionCommand, decide
from datagen.workflow.services import Services, UnitOfWork

#: The decisions, as people see them; the same as ``domain.decision.ACTIONS``.
Action = Literal["build preview", "refine", "audit", "approve", "pause", "go on", "cancel", "stop"]
#: The decisions that start a batch.
_STARTING = (StudyEvent.BUILD_PREVIEW, StudyEvent.REFINE, StudyEvent.AUDIT, StudyEvent.APPROVE)


class NewDecision(Body):
    """A decision to carry out."""

    action: Action
    count: int | None = Field(None, ge=1, le=1_000_000, description="Of “approve”: the number of images to generate.")
    audit_count: int | None = Field(None, ge=1, le=200, description="Of “audit”: the number of samples.")
    name: Annotated[str, StringConstraints(max_length=200)] = Field("", description="Of “approve”: the run's name.")
    note: Annotated[str, StringConstraints(max_length=LONGEST_NOTE)] = Field(
        "", description="It is stored with the decision."
    )
    confirmed: bool = Field(False, description="Whether the consequences that a refusal named are accepted.")


class StartedBatch(Resource):
    """The round, audit or run that a decision started."""

    kind: BatchKind
    number: int
    count: int


class MadeDecision(Resource):
    """A decision that was carried out."""

    action: str
    decided_by: str
    state: StudyState = Field(description="The state of the study after it.")
    started: StartedBatch | None


class AnsweredDecision(Resource):
    """A decision that somebody made."""

    number: int
    action: str
    decided_by: str
    decided_at: datetime | None
    note: str
    started: StartedBatch | None


class DecisionPage(Page):
    """A page of decisions, the newest first."""

    items: list[AnsweredDecision]


@dataclass(frozen=True, slots=True)
class _Request:
    """A request with an idempotency key, as the submission of a decision: it is accepted once."""

    study_id: int
    claim: Claim

    def point(self, session: Session) -> DecisionRow | None:
        """Return the open decision point of the study; None if there is none."""
        return decision_points.get_open_decision(session, self.study_id)

    def check(self, session: Session, point: DecisionRow | None, wish: Decision) -> None:
        """Accept every decision: the state of the study decides."""

    def accept(self, unit: UnitOfWork, point: DecisionRow | None) -> bool:  # noqa: ARG002
        """Record that the request is carried out, in the transaction of the decision."""
        return api_requests.mark_applied(unit.session, self.claim)


def add_decisions(operations: Operations, database: Database, services: Callable[[], Services]) -> None:
    """Add the operations."""

    @operations.get("/studies/<int:study_id>/decisions", DecisionPage, query=PageQuery)
    def list_decisions(account: Account, study_id: int, query: PageQuery) -> DecisionPage:
        """List the decisions about a study."""
        with reading(database, account, study_id) as (session, study):
            answered = (DecisionRow.study_id == study.id, DecisionRow.action.is_not(None))
            decisions = select(DecisionRow).where(*answered).order_by(DecisionRow.number.desc())
            if query.cursor is not None:
                decisions = decisions.where(DecisionRow.number < query.cursor)
            rows = session.scalars(decisions.limit(query.limit + 1)).all()
            shown, next_cursor = keyset_page(rows, query.limit, lambda row: row.number)
            items = [_answered(row) for row in shown]
        return DecisionPage(items=items, next_cursor=next_cursor)

    @operations.post("/studies/<int:study_id>/decisions", MadeDecision, body=NewDecision, status=HTTPStatus.CREATED)
    def make_decision(account: Account, study_id: int, body: NewDecision) -> MadeDecision:
        """Decide about a study, in your name.

        A decision with consequences that have to be confirmed is refused with 409 and the type
        “urn:datagen:problem:not-confirmed”; “reasons” has the consequences. With an idempotency key, no retry starts a
        second round or run.
        """
        with reading(database, account, study_id):
            pass  # the account may see the study
        if not is_applied():
            claim = current_claim()
            submission = _Request(study_id, claim) if claim is not None else None
            command = DecisionCommand(
                study_id=study_id, decision=_decision_of(body), who=account.email, submission=submission
            )
            decide(services(), command)
            if claim is not None and not api_requests.is_applied(database, claim):
                raise taken_over()
        with reading(database, account, study_id) as (session, study):
            return MadeDecision(
                action=body.action,
                decided_by=account.email,
                state=study.state,
                started=_started(session, study, account, StudyEvent(body.action)),
            )


def _decision_of(body: NewDecision) -> Decision:
    return Decision(
        action=StudyEvent(body.action),
        count=body.count,
        audit_count=body.audit_count,
        name=plain(body.name),
        note=plain(body.note),
        confirmed=body.confirmed,
    )


def _started(session: Session, study: StudyRow, account: Account, action: StudyEvent) -> StartedBatch | None:
    """Return the newest batch that the account asked for, if the decision starts one."""
    if action not in _STARTING:
        return None
    mine = (BatchRow.study_id == study.id, BatchRow.requested_by == account.email, BatchRow.kind.not_in(PARTS_OF_RUNS))
    row = session.scalar(select(BatchRow).where(*mine).order_by(BatchRow.id.desc()).limit(1))
    return StartedBatch.model_validate(row) if row is not None else None


def _answered(row: DecisionRow) -> AnsweredDecision:
    return AnsweredDecision(
        number=row.number,
        action=str(row.action),
        decided_by=row.answered_by or "",
        decided_at=row.answered_at,
        note=row.note,
        started=StartedBatch.model_validate(row.started) if row.started is not None else None,
    )
