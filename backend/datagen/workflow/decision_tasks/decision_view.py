"""The view model of a decision page: plain values that are read from the rows. The template formats them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.decision import ACTIONS
from datagen.domain.inputs import Inputs, ProjectKind
from datagen.domain.lifecycle import TABLE, SpecState, StudyEvent, StudyState
from datagen.domain.spec import Spec
from datagen.domain.wording import counted
from datagen.learning import acceptance
from datagen.learning.acceptance import ThresholdAcceptance
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decision_tasks.batch_view import Progress, Run, progress_of, run_of
from datagen.workflow.decision_tasks.decision_sheet import Caption, caption_of
from datagen.workflow.decision_tasks.inputs_view import InputsView, inputs_of
from datagen.workflow.decision_tasks.round_view import Round, round_of
from datagen.workflow.decisions import spec_versions
from datagen.workflow.inputs import input_changes, unreadable_tasks
from datagen.workflow.inputs.input_requests import reading_problem
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.reviews import audits, late_verdicts


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The decision that was made."""

    action: str
    by: str
    at: datetime | None
    #: the name of the run that it started; empty if it started none
    run_name: str
    #: what the approval of that run stated; empty if it stated nothing
    promise: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewestDecision:
    """The newest decision of the study, to which the page of an earlier one links."""

    number: int
    #: its task; None before it is published
    task_id: int | None
    #: the Decisions project; None before provisioning
    project_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputChanges:
    """The changes of the inputs since the current version was built."""

    version: int
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LateVerdicts:
    """The verdicts on one round or audit that came or changed after the decision about its version."""

    #: the kind and the number of the round or audit
    batch: str
    count: int
    #: what was decided about the version, as a clause such as “it was refined”
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionSubject:
    """The version that *refine* and *approve* are about."""

    version: int
    #: its newest round
    round_number: int
    #: True: the round waits for verdicts; False: the version is accepted
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """The promise of the version's audits, as sentences."""

    #: empty if it was not audited, or no audit verdict is given yet
    promise: str
    #: what a threshold of the critic would give; empty if there is nothing to state
    threshold: str
    #: what would promise more, or a first promise; empty if nothing is to be advised
    next_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDecision:
    """The state of a study that waits for this decision."""

    #: a sentence for each Label Studio project of which all or some tasks cannot be read
    unreadable: tuple[str, ...]
    #: why the inputs are not read now; empty if nothing prevents it
    reading_problem: str
    #: a sentence for each role with too few images
    missing: tuple[str, ...]
    #: the answers that the study's state permits; the form always offers all answers
    actions: tuple[StudyEvent, ...]
    #: the version to refine or approve; None if no version waits for a decision, and none is accepted
    subject: DecisionSubject | None
    input_changes: InputChanges | None
    #: None if *approve* would state nothing, and no audit is to be advised
    acceptance: Acceptance | None
    inputs: InputsView


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionView:
    """The page of a decision task."""

    study: str
    number: int
    #: why the last answer was not applied; empty if it was applied
    problem: str
    #: whether the task has an answer in Label Studio. If it has, the button there is “Update”, else “Submit”
    was_submitted: bool
    #: exactly one of the two is None: ``answer`` until the decision is made, ``open`` from then on
    answer: Answer | None
    open: OpenDecision | None
    #: the work that the decision started
    progress: Progress | None
    #: the round or audit, or the run, that the decision is about; both are None if it is about the inputs alone
    round: Round | None
    run: Run | None
    newest: NewestDecision | None
    late: tuple[LateVerdicts, ...]
    caption: Caption | None


#: State of a version → the decision that led to it, as a clause.
_DECIDED = {
    SpecState.REFINED: "it was refined",
    SpecState.SUPERSEDED: "a preview was built anew",
    SpecState.ACCEPTED: "it was approved",
    SpecState.STOPPED: "the study was stopped",
    SpecState.FAILED: "it failed",
}
#: The outcome of an audit without a decision about its version, and of the run of spot checks.
_ENDED = "it was cancelled"


def view_of(session: Session, decision: DecisionRow) -> DecisionView:
    """Read the view of a decision task."""
    batch, started = decision.batch, decision.started
    under_way = started is not None and started.state == WorkState.RUNNING
    answer = None
    if decision.action is not None:
        answer = Answer(
            action=decision.action,
            by=str(decision.answered_by),
            at=decision.answered_at,
            run_name=started.name if started is not None and started.kind == BatchKind.RUN else "",
            promise=acceptance.sentence_of(started.promise) if started is not None else "",
            note=decision.note,
        )
    return DecisionView(
        study=decision.study.name,
        number=decision.number,
        problem=decision.problem,
        was_submitted=bool(decision.answer),
        answer=answer,
        open=_open_decision(session, decision.study) if answer is None else None,
        progress=progress_of(session, started) if started is not None else None,
        round=round_of(session, batch) if batch is not None and batch.kind.is_reviewed else None,
        run=run_of(session, batch) if batch is not None and batch.kind == BatchKind.RUN else None,
        newest=_newest_decision(session, decision) if answer is not None and not under_way else None,
        late=tuple(
            LateVerdicts(
                batch=late.batch,
                count=late.count,
                outcome=_ENDED if late.state is None else _DECIDED.get(late.state, _ENDED),
            )
            for late in late_verdicts.late(session, decision)
        ),
        caption=caption_of(decision),
    )


def title_of(view: DecisionView) -> str:
    """Return the title in the list of decision tasks: the batch, its verdicts, and the decision."""
    parts = [f"Decision {view.number}"]
    if view.run is not None:
        size = f"{counted(view.run.count, 'image')}, {view.run.state}"
        parts.append(f"run “{view.run.name}”, version {view.run.version}, {size}")
    elif view.round is not None:
        shown = view.round
        images = "" if shown.judged == shown.good + shown.bad else f" on {shown.judged}"
        verdicts = f"{shown.good} good, {shown.bad} bad{images} of {shown.count}"
        parts.append(f"{str(shown.name).removeprefix('preview ')}, version {shown.version}, {verdicts}")
    else:
        parts.append("inputs")
    if view.answer is not None:
        parts.append(view.answer.action)
    return " · ".join(parts)


def _newest_decision(session: Session, decision: DecisionRow) -> NewestDecision | None:
    """Return the newest decision; None if it is this one."""
    newest = decision_points.newest_decision(session, decision.study_id)
    if newest is None or newest.id == decision.id:
        return None
    project_id = decision_points.project_in(decision.study, ProjectKind.DECISIONS)
    return NewestDecision(number=newest.number, task_id=newest.task_id, project_id=project_id)


def _open_decision(session: Session, study: StudyRow) -> OpenDecision:
    inputs = collect(session, study)
    missing = inputs.missing()
    return OpenDecision(
        unreadable=tuple(unreadable_tasks.problems_of(session, study.id)),
        reading_problem=reading_problem(session, study),
        missing=missing,
        actions=tuple(
            action
            for action in ACTIONS
            if (study.state, action) in TABLE and not (missing and action is StudyEvent.BUILD_PREVIEW)
        ),
        subject=_subject(session, study),
        input_changes=_input_changes(session, study, inputs),
        acceptance=_acceptance(session, study),
        inputs=inputs_of(session, study, inputs),
    )


def _subject(session: Session, study: StudyRow) -> DecisionSubject | None:
    """Return the version that *refine* and *approve* are about; None if the study's state permits neither."""
    spec = spec_versions.current_spec(session, study.id)
    if spec is None or study.state not in (StudyState.REVIEWING, StudyState.ACCEPTED):
        return None
    newest = session.scalar(
        select(func.max(BatchRow.number)).where(BatchRow.spec_id == spec.id, BatchRow.kind == BatchKind.ROUND)
    )
    is_open = study.state is StudyState.REVIEWING
    return DecisionSubject(version=spec.version, round_number=newest, is_open=is_open) if newest is not None else None


def _acceptance(session: Session, study: StudyRow) -> Acceptance | None:
    """Return the promise of an approval of the current version, or the offer of an audit after a good round."""
    spec = spec_versions.current_spec(session, study.id)
    if spec is None or study.state not in (StudyState.REVIEWING, StudyState.ACCEPTED):
        return None
    can_audit = (study.state, StudyEvent.AUDIT) in TABLE
    audited = audits.acceptance_of(session, spec.id)
    if audited is not None:
        threshold = audits.threshold_acceptance_of(session, spec)
        return Acceptance(
            promise=audited.sentence,
            threshold=_threshold_in_words(threshold, study) if threshold is not None else "",
            next_step=audited.next_step if can_audit else "",
        )
    if not can_audit or audits.acceptance_of(session, spec.id, begun=False) is not None:
        return None
    offer = acceptance.offer(*audits.round_verdicts(session, spec.id))
    return Acceptance(promise="", threshold="", next_step=offer) if offer else None


def _threshold_in_words(threshold: ThresholdAcceptance, study: StudyRow) -> str:
    return (
        f"{threshold.sentence} The threshold was chosen from predictions, before a sample of the version was judged. "
        "To reject below it in versions that are refined from now on, run: datagen provision "
        f"{shlex.quote(study.name)} --reject-below {threshold.threshold:g}"
    )


def _input_changes(session: Session, study: StudyRow, inputs: Inputs) -> InputChanges | None:
    """Return the changes of the inputs since the current version was built; None if there are none."""
    spec = spec_versions.current_spec(session, study.id)
    if spec is None or inputs.unread or study.state not in (StudyState.REVIEWING, StudyState.ACCEPTED):
        return None
    changes = input_changes.changes(Spec.from_json(spec.body), inputs)
    return InputChanges(version=spec.version, changes=tuple(changes)) if changes else None
