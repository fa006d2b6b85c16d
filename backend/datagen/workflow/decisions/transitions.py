"""Moving a study and its version along the state machine's table, by a decision or by the end of work."""

from __future__ import annotations

from sqlalchemy import select

from datagen.domain.lifecycle import SpecState, StudyEvent, back_to, next_transition
from datagen.store.tables import BatchKind, BatchRow, DecisionRow, SpecRow, StudyRow, WorkState, now
from datagen.workflow import decision_points
from datagen.workflow.decisions import spec_versions
from datagen.workflow.reviews import review_tasks, verdict_sync
from datagen.workflow.services import UnitOfWork


def advance(unit: UnitOfWork, study: StudyRow, event: StudyEvent, who: str) -> SpecRow | None:
    """Move the study and its newest version on by a decision; returns that version.

    Raises:
        Refused: the table does not have it.
    """
    step = next_transition(study.state, event)
    spec = spec_versions.current_spec(unit.session, study.id)
    study.state = step.study
    if spec is not None and step.spec is not None:
        spec.state, spec.decided_by, spec.decided_at = step.spec, who, now()
        review_tasks.request(unit, spec)
    return spec


def conclude(unit: UnitOfWork, batch: BatchRow, event: StudyEvent) -> None:
    """Move the study on because work on ``batch`` ended, and open the next decision point."""
    study = unit.lock_study(batch.study_id)
    step = next_transition(study.state, event)
    study.state = step.study
    if step.spec is not None:
        unit.session.get_one(SpecRow, batch.spec_id).state = step.spec
    decision_points.republish_decisions(unit, batch)
    earlier = go_back(unit, study) if step.back else None
    if earlier is None:
        decision_points.create_decision_point(unit, study, batch)
        return
    point = decision_points.create_decision_point(unit, study)
    came_of_it = f"preview round {batch.number} could not be made, so version {earlier.version} is here again"
    point.problem = f"{came_of_it}: {batch.problem}"[:1000]


def revive(unit: UnitOfWork, study: StudyRow, batch: BatchRow, who: str) -> None:
    """Move the study back to where it stood before ``batch`` failed: its work is under way again.

    The open decision point counts as answered with that: it shows the batch's progress from now on, and the next one
    opens when the batch ends.

    Raises:
        Refused: the table does not have it: the study is stopped, or something else is under way.
    """
    is_round = batch.kind == BatchKind.ROUND
    step = next_transition(study.state, StudyEvent.RETRY_ROUND if is_round else StudyEvent.RETRY_RUN)
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
    """Put a study whose newest version came to nothing back to the newest that has a round; None where none has."""
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
