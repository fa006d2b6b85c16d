"""State transitions of a study and its version that a decision causes.

The transitions at the end of work are in ``batch_end``.
"""

from __future__ import annotations

from sqlalchemy import select

from datagen.domain.lifecycle import SpecState, StudyEvent, back_to, next_transition
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow, SpecRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import spec_versions
from datagen.workflow.reviews import review_tasks, verdict_sync
from datagen.workflow.services import UnitOfWork

_RETRIES = {
    BatchKind.ROUND: StudyEvent.RETRY_ROUND,
    BatchKind.AUDIT: StudyEvent.RETRY_AUDIT,
    BatchKind.RUN: StudyEvent.RETRY_RUN,
}


def advance(unit: UnitOfWork, study: StudyRow, event: StudyEvent, who: str) -> SpecRow | None:
    """Apply the transition of a decision to the study and its newest version, and return that version.

    Raises:
        Refused: the study's state does not permit the event; see ``lifecycle.TABLE``.
    """
    step = next_transition(study.state, event)
    spec = spec_versions.current_spec(unit.session, study.id)
    study.state = step.study
    if spec is not None and step.spec is not None:
        spec.state, spec.decided_by, spec.decided_at = step.spec, who, now()
        review_tasks.request(unit, spec)
    return spec


def revive(unit: UnitOfWork, study: StudyRow, batch: BatchRow, who: str) -> None:
    """Return the study to its state before ``batch`` failed, and mark the batch as running again.

    The open decision point is answered with “retry”. It then shows the progress of the batch, and the next decision
    point is created when the batch ends.

    Raises:
        Refused: the study's state does not permit it: the study is stopped, or other work is in progress.
    """
    is_round = batch.kind == BatchKind.ROUND
    step = next_transition(study.state, _RETRIES[batch.kind])
    version = unit.session.get_one(SpecRow, batch.spec_id)
    earlier = spec_versions.current_spec(unit.session, study.id)
    study.state = step.study
    if is_round:
        if earlier is not None and step.spec is not None:
            began_with = unit.session.scalars(
                select(DecisionRow.action).where(DecisionRow.started_id == batch.id)
            ).first()
            earlier.state = SpecState.REFINED if began_with == StudyEvent.REFINE else step.spec
            earlier.decided_by, earlier.decided_at = who, now()
            review_tasks.request(unit, earlier)
        version.state = SpecState.RENDERING
    batch.state, batch.problem, batch.status_text = WorkState.RUNNING, "", ""
    batch.fit_progress, batch.retry_at = 0.0, None
    point = decision_points.get_open_decision(unit.session, study.id)
    if point is not None:
        point.action, point.answered_by, point.answered_at = "retry", who, now()
        point.started_id, point.problem = batch.id, ""
    unit.session.flush()
    decision_points.republish_decisions(unit, batch)


def go_back(unit: UnitOfWork, study: StudyRow) -> SpecRow | None:
    """Return a study to its newest version that has a round, after a newer version failed or was cancelled.

    Return that version; return None if no version has a round.
    """
    earlier = spec_versions.current_spec(unit.session, study.id)
    if earlier is None:
        return None
    step = back_to(earlier.state)
    study.state = step.study
    if step.spec is not None:
        earlier.state, earlier.decided_by, earlier.decided_at = step.spec, None, None
        verdict_sync.open_again(unit.session, earlier.id)
        review_tasks.request(unit, earlier)
    return earlier
