"""The one next step of a study: what to do, who does it, and where: on a page, or in Label Studio."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyState
from datagen.domain.wording import counted
from datagen.store.tables.base import BatchKind


class Turn(StrEnum):
    """The party that has to act next."""

    PEOPLE = "your turn"
    DATAGEN = "Datagen works"
    NOBODY = "nothing to do"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelStudioTarget:
    """A project of Label Studio, or one of its tasks."""

    project_id: int
    task_id: int | None = None


class BatchName(NamedTuple):
    """A round, audit or run of a study."""

    kind: BatchKind
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NextStep:
    """The next step of a study."""

    turn: Turn
    #: the step as the text of a button
    text: str
    #: a sentence with the reason, or what comes after it
    why: str
    #: where it is done in Label Studio; None before provisioning, and if it is done on the study's page alone
    target: LabelStudioTarget | None
    #: the round or audit on whose review sheet it is done; None if it is done elsewhere
    sheet: BatchName | None = None
    #: whether it is a decision, or the progress of what one started: both are on the study's page
    is_decision: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySituation:
    """The values that determine the next step."""

    state: StudyState
    projects: Mapping[ProjectKind, int]
    #: role → number of images that are missing for a preview; roles with enough images are left out
    missing: Mapping[Role, int] = field(default_factory=dict)
    #: the person who paused the run; empty if its spot checks did, or it is not paused
    paused_by: str = ""
    #: number of previews without a verdict, the review task of the first of them, and the first batch with any
    unjudged: int = 0
    first_unjudged_task: int | None = None
    unjudged_batch: BatchName | None = None


#: Role → what a person does with its images.
_TO_DO = {
    Role.CONCEPT: "Add concept photos and draw boxes",
    Role.CANVAS: "Outline where the concept may appear",
    Role.BACKGROUND: "Add background photos",
}
_PROJECT_OF = {kind.role: kind for kind in ProjectKind if kind.role is not None}


def next_step(situation: StudySituation) -> NextStep:
    """Return the next step of a study in this situation."""
    people, datagen = Turn.PEOPLE, Turn.DATAGEN
    match situation.state:
        case StudyState.COLLECTING if situation.missing:
            role = next(role for role in _PROJECT_OF if role in situation.missing)
            number = situation.missing[role]
            return NextStep(
                turn=people,
                text=_TO_DO[role],
                why=f"{counted(number, f'more {role} image')} {'is' if number == 1 else 'are'} needed for a preview.",
                target=_target(situation, _PROJECT_OF[role]),
            )
        case StudyState.COLLECTING:
            why = "The inputs are complete: “build preview” synthesizes the first round."
            return _decision(people, "Build the first preview", why)
        case StudyState.PREVIEWING | StudyState.AUDITING | StudyState.GENERATING:
            subject = {
                StudyState.PREVIEWING: "A preview round is",
                StudyState.AUDITING: "An audit is",
                StudyState.GENERATING: "The dataset is",
            }[situation.state]
            why = f"{subject} being synthesized; nothing has to be done meanwhile."
            return _decision(datagen, "See how far it is", why)
        case StudyState.REVIEWING if situation.unjudged:
            previews = _target(situation, ProjectKind.PREVIEWS, situation.first_unjudged_task)
            text = f"Judge {counted(situation.unjudged, 'preview')}"
            return NextStep(
                turn=people,
                text=text,
                why="A verdict takes a second: good or bad.",
                target=previews,
                sheet=situation.unjudged_batch,
            )
        case StudyState.REVIEWING:
            why = "Every preview is judged: refine, audit or approve."
            return _decision(people, "Decide what follows", why)
        case StudyState.PAUSED if situation.paused_by:
            why = f"{situation.paused_by} paused the run. “go on” resumes it."
            return _decision(people, "Resume the run", why)
        case StudyState.PAUSED:
            why = "Spot checks contradict what the approval stated, so the run waits."
            return _decision(people, "Decide whether the run goes on", why)
        case StudyState.ACCEPTED:
            dataset = _target(situation, ProjectKind.DATASET)
            why = "The version is accepted, and no run is under way."
            return NextStep(turn=Turn.NOBODY, text="Open the dataset", why=why, target=dataset)
        case StudyState.STOPPED:
            why = "The study is stopped; “build preview” opens it again."
            return _decision(Turn.NOBODY, "Open it again", why)


def _decision(turn: Turn, text: str, why: str) -> NextStep:
    return NextStep(turn=turn, text=text, why=why, target=None, is_decision=True)


def _target(situation: StudySituation, kind: ProjectKind, task_id: int | None = None) -> LabelStudioTarget | None:
    project_id = situation.projects.get(kind)
    return None if project_id is None else LabelStudioTarget(project_id=project_id, task_id=task_id)
