"""The decisions on the page of a study: which are possible now, what each does, and what to know before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from datagen.domain.decision import ACTIONS
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState, next_transition
from datagen.domain.wording import counted
from datagen.errors import Refused
from datagen.store.tables.reviews import DecisionRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.decision_tasks.decision_view import DecisionView, OpenDecision, view_of
from datagen.workflow.decisions.batch_end import has_shards_to_begin
from datagen.workflow.decisions.shown_state import state_token
from datagen.workflow.decisions.spec_versions import current_spec, next_version, running_batch
from datagen.workflow.study_pages.next_step import LabelStudioTarget

#: The decisions that end work; they are shown apart from those that start some.
ENDING = (StudyEvent.CANCEL, StudyEvent.STOP)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionOffer:
    """One decision as a form."""

    action: StudyEvent
    #: what it will do, as sentences
    effect: str
    #: why it is not possible now, as a sentence; empty if it is possible
    why_not: str

    @property
    def is_ending(self) -> bool:
        """Whether the decision ends work."""
        return self.action in ENDING


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionForm:
    """All decisions of a study, and what its decision task shows before one."""

    #: the state that the form is shown for; it is sent with the form
    state_token: str
    #: in the order of the decision task
    offers: tuple[ActionOffer, ...]
    #: the newest decision task; None before the first decision point
    view: DecisionView | None
    #: the task of the newest decision; None before it is published
    target: LabelStudioTarget | None

    @property
    def possible(self) -> tuple[ActionOffer, ...]:
        """The decisions that are possible now."""
        return tuple(offer for offer in self.offers if not offer.why_not)

    @property
    def impossible(self) -> tuple[ActionOffer, ...]:
        """The decisions that are not possible now."""
        return tuple(offer for offer in self.offers if offer.why_not)


def decision_form_of(session: Session, study: StudyRow) -> DecisionForm:
    """Return the decisions of a study."""
    newest = decision_points.newest_decision(session, study.id)
    view = view_of(session, newest) if newest is not None else None
    is_open = view.open if view is not None else None
    effects = dict(_effects(session, study, is_open))
    return DecisionForm(
        state_token=state_token(session, study),
        offers=tuple(
            ActionOffer(action=action, effect=effects[action], why_not=_why_not(session, study, action, is_open))
            for action in ACTIONS
        ),
        view=view,
        target=_target(session, newest) if newest is not None else None,
    )


def _target(session: Session, decision: DecisionRow) -> LabelStudioTarget | None:
    project_id = decision_points.project_of(session, decision.study_id, ProjectKind.DECISIONS)
    if project_id is None or decision.task_id is None:
        return None
    return LabelStudioTarget(project_id=project_id, task_id=decision.task_id)


def _why_not(session: Session, study: StudyRow, action: StudyEvent, is_open: OpenDecision | None) -> str:
    try:
        next_transition(study.state, action)
    except Refused as refusal:
        return str(refusal)
    missing: Sequence[str] = is_open.missing if is_open is not None else ()
    if action is StudyEvent.BUILD_PREVIEW and missing:
        return f"“{action}” is not possible now. Missing: {'; '.join(missing)}."
    if action is StudyEvent.PAUSE:
        run = running_batch(session, study.id)
        if run is None or not has_shards_to_begin(session, run):
            return f"“{action}” is not possible now: no image of the run is left to begin."
    return ""


def _effects(session: Session, study: StudyRow, is_open: OpenDecision | None) -> Iterator[tuple[StudyEvent, str]]:
    """Yield each decision with what it does in the present state of the study."""
    new, images = next_version(session, study.id), counted(study.preview_size, "image")
    spec = current_spec(session, study.id)
    version = f"version {spec.version}" if spec is not None else "the version under review"
    subject = is_open.subject if is_open is not None else None
    ends = ""
    if subject is not None and subject.is_open:
        ends = f" It ends round {subject.round_number}, whose verdicts change nothing in the new version."
    yield (
        StudyEvent.BUILD_PREVIEW,
        f"Makes version {new} from the inputs as they are now, and synthesizes a preview round of {images}.{ends}",
    )
    until = f" up to round {subject.round_number}" if subject is not None else ""
    yield (
        StudyEvent.REFINE,
        f"Makes version {new} from {version} by the verdicts{until}, and synthesizes its preview round of {images}.",
    )
    yield (
        StudyEvent.AUDIT,
        f"Synthesizes further samples of {version}, to state what share of them is acceptable. They train nothing.",
    )
    is_further = subject is not None and not subject.is_open
    yield (
        StudyEvent.APPROVE,
        f"Generates another run of {version}."
        if is_further
        else f"Accepts {version}, which ends its review, and generates the dataset.",
    )
    yield StudyEvent.PAUSE, "Finishes the images of the run that are being rendered, and begins no further one."
    yield StudyEvent.RESUME, "Resumes the run where it was paused."
    yield StudyEvent.CANCEL, _cancelled(study.state)
    yield (
        StudyEvent.STOP,
        "Ends all work on the study. What was made is kept, and “build preview” opens the study again.",
    )


def _cancelled(state: StudyState) -> str:
    match state:
        case StudyState.PREVIEWING:
            return "Ends the preview round that is being made. The version before it waits for a decision again."
        case StudyState.AUDITING:
            return "Ends the audit that is being made. The version waits for a decision again."
        case _:
            return "Ends the run. The images that are finished are kept."
