"""Handling of decisions: a person's decision is checked against the state machine and written as rows.

The data that a decision needs from Label Studio is read before the transaction begins, so that the transaction is
short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.decision import Decision
from datagen.domain.inputs import Inputs, ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState, next_transition
from datagen.domain.wording import by_number, counted
from datagen.errors import DatagenError, LabelStudioUnavailable, NotReady, Refused
from datagen.label_studio.api.models import Annotation, Task
from datagen.label_studio.mapping.form_answers import decision as read_decision
from datagen.learning.acceptance import sentence_of
from datagen.store.tables.base import BatchKind, OutboxKind, WorkState, now
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import spec_versions
from datagen.workflow.decisions.actions import DecisionContext, apply, prepare
from datagen.workflow.decisions.confirmation import check_confirmed
from datagen.workflow.inputs.input_sync import refresh
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.outages import Outage, outage_of
from datagen.workflow.parameter_routing import remedy
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Services, UnitOfWork

#: Largest number of answers that are handled on one decision task and its copies. The command line has no such limit.
MAX_ANSWERS = 100
#: Longest note that is stored, in characters.
LONGEST_NOTE = 2000
_TOO_MANY = (
    f"More than {MAX_ANSWERS} answers were given on this decision task; no more are acted on. "
    "Use the newest decision task, or the command line: datagen cancel, datagen stop."
)
#: Actions that are allowed even on an answered decision. They end or pause the work that the decision started.
_ACTIONS_ON_WORK = (StudyEvent.PAUSE, StudyEvent.CANCEL, StudyEvent.STOP)
#: The remedy for a version that cannot be rendered. Its engine and parameters are frozen, so no setting changes them.
_FROZEN = (
    "Version {version} was made with the engine “{engine}” and what it names, and keeps them whatever is set now: put "
    "back what is missing, or choose “build preview” for a version with the engine and the parameters as they are now."
)


class Submission(Protocol):
    """The source of a decision that may arrive several times. A submission is handled only once."""

    def point(self, session: Session) -> DecisionRow | None:
        """Return the decision point that shows the result of the submission; None if no decision point is open."""

    def check(self, session: Session, point: DecisionRow | None, wish: Decision) -> None:
        """Check that this decision point accepts the decision ``wish``.

        Raises:
            Refused: the point does not accept the decision; the message gives the reason.
        """

    def accept(self, unit: UnitOfWork, point: DecisionRow | None) -> bool:
        """Record that the submission is handled, in the transaction that handles it, and return True.

        Return False if the submission was handled before, or if another process handles it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionCommand:
    """A person's decision about a study, from a decision task, a page, a project's menu or the command line."""

    study_id: int
    decision: Decision
    who: str
    #: None for a decision from the command line, which arrives only once
    submission: Submission | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """An answer on a decision task, as a submission: an annotation, in the version of its last update."""

    point_id: int
    annotation_id: int
    updated_at: str

    def point(self, session: Session) -> DecisionRow:
        """Return the decision point of the task."""
        return session.get_one(DecisionRow, self.point_id, populate_existing=True)

    def accept(self, unit: UnitOfWork, point: DecisionRow | None) -> bool:  # noqa: ARG002
        """Record that this version of the annotation was handled; return False if it was handled before."""
        if point is None or self.seen(point):
            return False
        point.answer = {**(point.answer or {}), str(self.annotation_id): self.updated_at}
        return True

    def seen(self, point: DecisionRow) -> bool:
        """Return whether this version of the annotation was handled already."""
        return (point.answer or {}).get(str(self.annotation_id)) == self.updated_at

    def knows(self, point: DecisionRow) -> bool:
        """Return whether any version of the annotation was handled already."""
        return str(self.annotation_id) in (point.answer or {})

    def check(self, session: Session, point: DecisionRow | None, wish: Decision) -> None:  # noqa: ARG002
        """Check that the decision is not answered yet, or that the new answer ends or pauses the work that it started.

        Raises:
            Refused: the decision is answered, and the new answer is another action.
        """
        if point is None or point.action is None or wish.action in _ACTIONS_ON_WORK:
            return
        when = f"{point.answered_at:%Y-%m-%d %H:%M} UTC" if point.answered_at else "earlier"
        outcome = f"“{point.action}” was decided here by {point.answered_by} at {when}"
        if (run := point.started) is not None and run.kind == BatchKind.RUN:
            outcome += f": version {run.spec.version} is accepted and its run “{run.name}” is {run.state}"
        if run is not None and run.state == WorkState.RUNNING:
            raise Refused(f"{outcome}. Nothing was started again; wait for its end, or answer “cancel” here.")
        raise Refused(f"{outcome}. Nothing was started again; go on at the newest decision task.")


def handle_answered_tasks(services: Services, project_id: int, **which: Any) -> None:
    """Read decision tasks from Label Studio and handle their answers.

    A task that is deleted or cannot be read does not prevent the handling of the others.

    Args:
        which: the selection of tasks, as keyword arguments of ``LabelStudioPort.tasks``.
    """
    if which.get("ids") == []:
        return
    tasks, _ = read_tasks(services, project_id, **which)
    for task in tasks:
        handle_answer(services, project_id, task)


def handle_answer(services: Services, project_id: int, task: Task) -> None:
    """Handle the answers of a decision task; each answer is handled once.

    A refusal is shown on the decision task. If Label Studio is unavailable, the error propagates, and the caller
    retries.

    Answers on a copy of the task are handled like answers on the original. A person cannot tell the two tasks apart,
    and the original may be deleted, or so new that its id is not stored yet. The first answer on any of these tasks
    decides. An annotation that a copy inherited from its original is not a separate answer.
    """
    with services.database.read() as session:
        point = decision_points.of_key(session, str(task.data.get("datagen_key")))
        if point is None or decision_points.project_of(session, point.study_id, ProjectKind.DECISIONS) != project_id:
            return  # not a decision task, or a copy in another study
    for annotation in sorted(task.annotations, key=lambda annotation: annotation.updated_at):
        form = _Form(point_id=point.id, annotation_id=annotation.id, updated_at=annotation.updated_at)
        is_inherited = str(annotation.copied_from) in (point.answer or {})
        if annotation.was_cancelled or is_inherited or form.seen(point):
            continue
        with services.database.read() as session:
            current = session.get(DecisionRow, point.id)
        if current is None:
            return  # deleted meanwhile
        if len(current.answer or {}) >= MAX_ANSWERS and not form.knows(current):
            _refuse_more(services, point.study_id, point.id)
            return
        _answer(services, point.study_id, form, annotation)


def submit(services: Services, command: DecisionCommand) -> None:
    """Carry out a decision once, for a person who does not wait for the result.

    A refusal is shown on the decision task. An outage is shown there, too, and is raised.

    Raises:
        Exception: an outage; the caller retries the decision.
    """
    try:
        decide(services, command)
    except DatagenError as fault:
        if (outage := outage_of(fault)) is None:
            _show_refusal(services, command.study_id, command.who, command.submission, fault)
            return
        if not isinstance(fault, LabelStudioUnavailable):  # without Label Studio no page can be updated
            _show_outage(services, command, outage)
        raise


def decide(services: Services, command: DecisionCommand) -> None:
    """Carry out a decision. Every decision changes its study by this function.

    Raises:
        NotConfirmed: the consequences of the decision must be confirmed first.
        Refused, NotReady: the decision is not possible now; nothing was changed.
    """
    study_id, wish, submission = command.study_id, command.decision, command.submission
    if submission is not None:
        with services.database.read() as session:  # refuses a late answer before anything is read
            submission.check(session, submission.point(session), wish)
    inputs = _read_prerequisites(services, study_id, wish)
    _check_engine(services, study_id, wish)
    check_confirmed(services, study_id, wish)
    with services.database.read() as session:
        snapshot = session.get(StudyRow, study_id)
        prepared = (
            prepare(session, snapshot, wish, inputs, services.engine_parameters) if snapshot is not None else None
        )
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        point = _point_of(unit.session, study_id, submission)
        if submission is not None:
            if not submission.accept(unit, point):
                return  # another process handled it meanwhile
            submission.check(unit.session, point, wish)
        case = DecisionContext(
            unit=unit,
            study=study,
            wish=wish,
            who=command.who,
            inputs=inputs,
            shard_size=services.shard_size,
            audit_size=services.audit_size,
            engine_parameters=services.engine_parameters,
            prepared=prepared,
        )
        started = apply(case)
        unit.note(study, command.who, _audit_entry(wish, started))
        if point is not None:
            if point.action is None:
                point.action, point.answered_by, point.answered_at = wish.action, command.who, now()
                point.started_id = started.id if started else None
                point.note = wish.note[:LONGEST_NOTE]
            point.problem = ""
            unit.add_to_outbox(study.id, OutboxKind.DECISION, point.id)
        if study.state in (StudyState.COLLECTING, StudyState.ACCEPTED, StudyState.STOPPED):
            decision_points.create_decision_point(unit, study)


def _audit_entry(wish: Decision, started: BatchRow | None) -> str:
    """Return a decision as one line: its action, what it started, what it stated, and its note."""
    entry = str(wish.action)
    if started is not None:
        default_name = f"{started.kind} {started.number}"
        named = "" if started.name == default_name else f" “{started.name}”"
        entry += f" ({default_name}{named}, {counted(started.count, 'image')})"
    if wish.action is StudyEvent.APPROVE and started is not None and started.promise is not None:
        entry += f", stated: {sentence_of(started.promise)}"
    return f"{entry}, note: {' '.join(wish.note.split())}" if wish.note.strip() else entry


def _point_of(session: Session, study_id: int, submission: Submission | None) -> DecisionRow | None:
    """Return the decision point that a decision answers; None if none is open."""
    if submission is not None:
        return submission.point(session)
    return decision_points.get_open_decision(session, study_id)


def _refuse_more(services: Services, study_id: int, point_id: int) -> None:
    """Show on the decision task that no more answers are handled. Repeated calls change nothing."""
    with services.unit() as unit:
        unit.lock_study(study_id)
        point = unit.session.get_one(DecisionRow, point_id, populate_existing=True)
        if point.problem != _TOO_MANY:
            point.problem = _TOO_MANY
            unit.add_to_outbox(study_id, OutboxKind.DECISION, point_id)


def _show_outage(services: Services, command: DecisionCommand, outage: Outage) -> None:
    """Show on the decision task which outage a decision waits for."""
    sentence = f"“{command.decision.action}” {outage}; it is tried again by itself"[:1000]
    with services.unit() as unit:
        unit.lock_study(command.study_id)
        point = _point_of(unit.session, command.study_id, command.submission)
        if point is not None and point.problem != sentence:
            point.problem = sentence
            unit.add_to_outbox(command.study_id, OutboxKind.DECISION, point.id)


def _show_refusal(
    services: Services, study_id: int, who: str, submission: Submission | None, refusal: DatagenError
) -> None:
    """Show on the decision task why a decision was refused, unless its submission was handled before."""
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        point = _point_of(unit.session, study_id, submission)
        if submission is not None and not submission.accept(unit, point):
            return
        unit.note(study, who, f"refused: {refusal}")
        if point is not None:
            point.problem = str(refusal)[:1000]
            unit.add_to_outbox(study_id, OutboxKind.DECISION, point.id)


def _answer(services: Services, study_id: int, form: _Form, annotation: Annotation) -> None:
    """Handle one submitted form, once."""
    try:
        wish = read_decision(annotation.result)
    except DatagenError as refusal:  # the form is incomplete
        _show_refusal(services, study_id, annotation.completed_by, form, refusal)
        return
    submit(services, DecisionCommand(study_id=study_id, decision=wish, who=annotation.completed_by, submission=form))


def _read_prerequisites(services: Services, study_id: int, wish: Decision) -> Inputs:
    """Read from Label Studio what the decision needs, and return the inputs if they are read, else empty ones.

    *Build preview* needs the inputs. *Refine*, *audit* and *approve* need every verdict on the version's rounds and
    audits; these verdicts are written as rows.

    Raises:
        NotReady: inputs are missing or still being read.
        Refused: a number is missing or out of range, or the state of the study does not allow *build preview*.
    """
    if wish.action is StudyEvent.APPROVE:
        wish.checked_count(services.max_run_images)
    if wish.action is StudyEvent.AUDIT:
        wish.checked_audit_count(services.audit_size)
    if wish.action is StudyEvent.BUILD_PREVIEW:
        with services.database.read() as session:
            study = session.get(StudyRow, study_id)
        if study is not None:
            next_transition(study.state, wish.action)  # the inputs are not read for a decision that is refused
        inputs = refresh(services, study_id, force=True)
        if inputs.unread:
            unread = f"{counted(inputs.unread, 'input image')} {by_number(inputs.unread, 'is', 'are')}"
            raise NotReady(f"{unread} still being read; decide again when the decision task no longer says so.")
        if missing := inputs.missing():
            raise NotReady("a preview cannot be built yet. Missing: " + "; ".join(missing) + ".")
        return inputs
    if wish.action in (StudyEvent.REFINE, StudyEvent.AUDIT, StudyEvent.APPROVE):
        with services.database.read() as session:
            spec = spec_versions.current_spec(session, study_id)
            of_spec = BatchRow.spec_id == (spec.id if spec else None)
            kinds = (BatchKind.ROUND, BatchKind.AUDIT)  # no decision needs the spot checks of the version's runs
            judged = session.scalars(select(BatchRow.id).where(of_spec, BatchRow.kind.in_(kinds))).all()
        for batch_id in judged:
            verdict_sync.sync_round(services, batch_id)
    return Inputs()


def _check_engine(services: Services, study_id: int, wish: Decision) -> None:
    """Check that the engine can render what the decision asks for, before any job is queued.

    Raises:
        EngineError: the engine does not exist, or a parameter is set that belongs to no engine.
        Refused: a problem prevents rendering; the message names it and the remedy.
    """
    if wish.action not in (StudyEvent.BUILD_PREVIEW, StudyEvent.REFINE, StudyEvent.AUDIT, StudyEvent.APPROVE):
        return
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        if study is None:
            return  # locking the study raises the error
        spec = spec_versions.current_spec(session, study_id)
        if wish.action is StudyEvent.BUILD_PREVIEW or spec is None:
            engine, parameters = study.engine, spec_versions.parameters_for(study, spec, services.engine_parameters)
            remedies = remedy(engine)
        else:
            engine, parameters = str(spec.body["engine"]), spec.body["parameters"]
            remedies = (_FROZEN.format(version=spec.version, engine=engine),)
    if problems := services.engine_problems(engine, parameters):
        raise Refused(" ".join([*problems, *remedies]))
