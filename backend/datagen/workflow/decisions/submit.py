"""Acting on a decision: what a person asked for, checked against the state machine, as rows.

What a decision needs from Label Studio is read before the transaction opens; the transaction is short.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from datagen.domain.decision import Decision
from datagen.domain.inputs import Inputs, ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.domain.wording import by_number, counted
from datagen.errors import DatagenError, LabelStudioUnavailable, NotReady, Refused
from datagen.label_studio.api.models import Annotation, Task
from datagen.label_studio.mapping.form_answers import decision as read_decision
from datagen.store.tables import BatchKind, BatchRow, DecisionRow, OutboxKind, StudyRow, now
from datagen.synthesis.parameter_routing import remedy
from datagen.workflow import decision_points
from datagen.workflow.decisions import spec_versions
from datagen.workflow.decisions.actions import DecisionContext, apply, prepare
from datagen.workflow.decisions.confirmation import check_confirmed
from datagen.workflow.inputs.input_sync import refresh
from datagen.workflow.inputs.unreadable_tasks import read_tasks
from datagen.workflow.outages import outage_of
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import Services, UnitOfWork

#: Answers on one decision task, and on copies of it, that are acted on; whoever goes on may use the command line.
MOST_ANSWERS = 100
_TOO_MANY = (
    f"More than {MOST_ANSWERS} answers were given on this decision task; no more are acted on. "
    "Use the newest decision task, or the command line: datagen cancel, datagen stop."
)
#: What may still be asked of a decision that was answered: to end what it set going.
_AFTERTHOUGHTS = (StudyEvent.CANCEL, StudyEvent.STOP)
#: How to go on with a version that cannot be rendered as it was made: no setting changes it.
_FROZEN = (
    "Version {version} was made with the engine “{engine}” and what it names, and keeps them whatever is set now: put "
    "back what is missing, or choose “build preview” for a version with the engine and the parameters as they are now."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """A submitted decision task: which point, which annotation, as of when."""

    point_id: int
    annotation_id: int
    updated_at: str

    def seen(self, point: DecisionRow) -> bool:
        """Whether it was acted on already."""
        return (point.answer or {}).get(str(self.annotation_id)) == self.updated_at

    def knows(self, point: DecisionRow) -> bool:
        """Whether an earlier answer of the same annotation was acted on."""
        return str(self.annotation_id) in (point.answer or {})

    def mark(self, point: DecisionRow) -> None:
        """Remember that it was acted on."""
        point.answer = {**(point.answer or {}), str(self.annotation_id): self.updated_at}

    def check(self, point: DecisionRow, wish: Decision) -> None:
        """Let an answered decision be answered again only to end what it set going.

        Raises:
            Refused: for anything else.
        """
        if point.action is None or wish.action in _AFTERTHOUGHTS:
            return
        when = f"{point.answered_at:%Y-%m-%d %H:%M} UTC" if point.answered_at else "earlier"
        did = f"“{point.action}” was decided here by {point.answered_by} at {when}"
        if (run := point.started) is not None and run.kind == BatchKind.RUN:
            did += f": version {run.spec.version} is accepted and its run “{run.name}” is {run.state}"
        raise Refused(f"{did}. Nothing was started again; go on at the newest decision task.")


def handle_answered_tasks(services: Services, project_id: int, **which: Any) -> None:
    """Act on the answers of decision tasks, read now: ``which`` is what ``LabelStudio.tasks`` takes.

    One that is gone or cannot be read does not keep the others from it.
    """
    if which.get("ids") == []:
        return
    tasks, _ = read_tasks(services, project_id, **which)
    for task in tasks:
        next_transition(services, project_id, task)


def next_transition(services: Services, project_id: int, task: Task) -> None:
    """Act on the answers of a decision task, just read; each is acted on once.

    A refusal becomes the sentence on the decision task. A Label Studio that is away raises: it is tried again.

    A copy of the task is as good as the task: who answers it cannot tell, and the task itself may be gone, or be so new
    that its number was not noted yet. Only the first answer decides, whichever of them it is given on, and what a copy
    brought along from its original is no answer of its own.
    """
    with services.database.read() as session:
        point = decision_points.of_key(session, str(task.data.get("datagen_key")))
        if point is None or decision_points.project_of(session, point.study_id, ProjectKind.DECISIONS) != project_id:
            return  # not ours, or a copy in another study
    for annotation in sorted(task.annotations, key=lambda one: one.updated_at):
        form = _Form(point_id=point.id, annotation_id=annotation.id, updated_at=annotation.updated_at)
        came_along = str(annotation.copied_from) in (point.answer or {})
        if annotation.was_cancelled or came_along or form.seen(point):
            continue
        with services.database.read() as session:
            current = session.get(DecisionRow, point.id)
        if current is None:
            return  # deleted meanwhile
        if len(current.answer or {}) >= MOST_ANSWERS and not form.knows(current):
            _refuse_more(services, point.study_id, point.id)
            return
        _answer(services, point.study_id, form, annotation)


def decide(
    services: Services,
    study_id: int,
    wish: Decision,
    who: str,
    form: _Form | None = None,
    once: Callable[[UnitOfWork], bool] | None = None,
) -> None:
    """Do what ``wish`` says to a study.

    Args:
        form: the submitted decision task it came with, if it came with one.
        once: says inside the transaction whether it is still to be done, and notes there that it was; for a wish that
            comes without a form and may come twice.

    Raises:
        NotConfirmed: its consequences have to be confirmed first.
        Refused, NotReady: it is not possible now; nothing was changed.
    """
    if form is not None:
        with services.database.read() as session:  # before anything is read for an answer that comes too late
            form.check(session.get_one(DecisionRow, form.point_id), wish)
    inputs = _read_first(services, study_id, wish)
    _check_engine(services, study_id, wish)
    check_confirmed(services, study_id, wish)
    with services.database.read() as session:
        known = session.get(StudyRow, study_id)
        prepared = prepare(session, known, wish, inputs, services.engine_parameters) if known is not None else None
    with services.unit() as unit:
        if once is not None and not once(unit):
            return
        study = unit.lock_study(study_id)
        point = decision_points.get_open_decision(unit.session, study_id)
        if form is not None:
            point = unit.session.get_one(DecisionRow, form.point_id, populate_existing=True)
            if form.seen(point):
                return  # the webhook's event and the reconciler came upon it in the same moment
            form.check(point, wish)
        case = DecisionContext(
            unit=unit,
            study=study,
            wish=wish,
            who=who,
            inputs=inputs,
            shard_size=services.shard_size,
            engine_parameters=services.engine_parameters,
            prepared=prepared,
        )
        started = apply(case)
        what = str(wish.action) + (
            f" ({started.kind} {started.number}, {counted(started.count, 'image')})" if started else ""
        )
        unit.note(study, who, what)
        if point is not None:
            if point.action is None:
                point.action, point.answered_by, point.answered_at = wish.action, who, now()
                point.started_id = started.id if started else None
            if form is not None:
                form.mark(point)
            point.problem = ""
            unit.add_to_outbox(study.id, OutboxKind.DECISION, point.id)
        if study.state in (StudyState.COLLECTING, StudyState.ACCEPTED, StudyState.STOPPED):
            decision_points.create_decision_point(unit, study)


def _refuse_more(services: Services, study_id: int, point_id: int) -> None:
    """Say, once, that no more answers are acted on."""
    with services.unit() as unit:
        unit.lock_study(study_id)
        point = unit.session.get_one(DecisionRow, point_id, populate_existing=True)
        if point.problem != _TOO_MANY:
            point.problem = _TOO_MANY
            unit.add_to_outbox(study_id, OutboxKind.DECISION, point_id)


@contextmanager
def showing_waits(services: Services, study_id: int, action: StudyEvent, point_id: int | None = None) -> Iterator[None]:
    """Where an outage ends a decision, show on its task (by default the open one) what it waits for.

    The outage is raised on: whoever brought the decision tries it again.
    """
    try:
        yield
    except DatagenError as fault:
        outage = outage_of(fault)
        if outage is not None and not isinstance(fault, LabelStudioUnavailable):  # no page can be changed without it
            sentence = f"“{action}” {outage}; it is tried again by itself"
            with services.unit() as unit:
                unit.lock_study(study_id)
                point = decision_points.get_open_decision(unit.session, study_id)
                if point_id is not None:
                    point = unit.session.get_one(DecisionRow, point_id, populate_existing=True)
                if point is not None and point.problem != sentence:
                    point.problem = sentence[:1000]
                    unit.add_to_outbox(study_id, OutboxKind.DECISION, point.id)
        raise


def _answer(services: Services, study_id: int, form: _Form, annotation: Annotation) -> None:
    """Act on one submitted form, once; keep the sentence where it is refused."""
    try:
        wish = read_decision(annotation.result)
        with showing_waits(services, study_id, wish.action, form.point_id):
            decide(services, study_id, wish, annotation.completed_by, form)
    except DatagenError as refusal:
        if outage_of(refusal) is not None:
            raise
        with services.unit() as unit:
            study = unit.lock_study(study_id)
            point = unit.session.get_one(DecisionRow, form.point_id, populate_existing=True)
            if form.seen(point):
                return
            form.mark(point)
            point.problem = str(refusal)[:1000]
            unit.add_to_outbox(study_id, OutboxKind.DECISION, form.point_id)
            unit.note(study, annotation.completed_by, f"refused: {refusal}")


def _read_first(services: Services, study_id: int, wish: Decision) -> Inputs:
    """Read from Label Studio what the decision stands on: the inputs, or every verdict of the version's rounds.

    Raises:
        NotReady: inputs are missing.
        Refused: the number of images is none that can be made.
    """
    if wish.action is StudyEvent.APPROVE:
        wish.checked_count(services.max_run_images)
    if wish.action is StudyEvent.BUILD_PREVIEW:
        inputs = refresh(services, study_id, force=True)
        if inputs.unread:
            some = f"{counted(inputs.unread, 'input image')} {by_number(inputs.unread, 'is', 'are')}"
            raise NotReady(f"{some} still being read; ask again when this page no longer says so.")
        if missing := inputs.missing():
            raise NotReady("a preview cannot be built yet. Missing: " + "; ".join(missing) + ".")
        return inputs
    if wish.action in (StudyEvent.REFINE, StudyEvent.APPROVE):
        with services.database.read() as session:
            spec = spec_versions.current_spec(session, study_id)
            of_spec = BatchRow.spec_id == (spec.id if spec else None)
            rounds = session.scalars(select(BatchRow.id).where(of_spec, BatchRow.kind == BatchKind.ROUND)).all()
        for batch_id in rounds:
            verdict_sync.sync_round(services, batch_id)
    return Inputs()


def _check_engine(services: Services, study_id: int, wish: Decision) -> None:
    """Refuse what the engine could not render, while nothing is queued.

    Raises:
        EngineError: the engine is not there, or a parameter is set that is no engine's.
        Refused: something stands in the way; the sentence says what, and how to go on.
    """
    if wish.action not in (StudyEvent.BUILD_PREVIEW, StudyEvent.REFINE, StudyEvent.APPROVE):
        return
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        if study is None:
            return  # whoever locks it says so
        spec = spec_versions.current_spec(session, study_id)
        if wish.action is StudyEvent.BUILD_PREVIEW or spec is None:
            engine, parameters = study.engine, spec_versions.parameters_for(study, spec, services.engine_parameters)
            way_on = remedy(engine)
        else:
            engine, parameters = str(spec.body["engine"]), spec.body["parameters"]
            way_on = (_FROZEN.format(version=spec.version, engine=engine),)
    if problems := services.engine_problems(engine, parameters):
        raise Refused(" ".join([*problems, *way_on]))
