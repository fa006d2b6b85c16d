"""The inputs on a decision page: how many images there are and are needed, and which of them are not used."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.inputs import MINIMUM_PER_ROLE, RECOMMENDED_BACKGROUNDS, Inputs, ProjectKind, Role
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleCount:
    """Numbers of images of one role: usable, needed and recommended."""

    role: Role
    usable: int
    minimum: int
    #: None if this is the same as ``minimum``
    recommended: int | None
    #: the Label Studio project of these images; None before provisioning
    project_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnlabelledImages:
    """Uploaded images of a role without labels. They are not used, and only this page says so."""

    role: Role
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InputsView:
    """The inputs of a study."""

    roles: tuple[RoleCount, ...]
    advice: tuple[str, ...]
    unlabelled: tuple[UnlabelledImages, ...]
    #: a sentence for each image that is not used
    problems: tuple[str, ...]


def inputs_of(session: Session, study: StudyRow, inputs: Inputs) -> InputsView:
    """Return the view of a study's inputs."""
    return InputsView(
        roles=tuple(
            RoleCount(
                role=role,
                usable=inputs.count(role),
                minimum=MINIMUM_PER_ROLE,
                recommended=RECOMMENDED_BACKGROUNDS if role is Role.BACKGROUND else None,
                project_id=decision_points.project_in(study, project_kind),
            )
            for project_kind in ProjectKind
            if (role := project_kind.role) is not None
        ),
        advice=inputs.advice(),
        unlabelled=_unlabelled_images(session, study.id),
        problems=tuple(map(str, inputs.problems)),
    )


def _unlabelled_images(session: Session, study_id: int) -> tuple[UnlabelledImages, ...]:
    counts = dict(
        session.execute(
            select(InputRow.role, func.count())
            .where(InputRow.study_id == study_id, InputRow.answered.is_(False), InputRow.role != Role.BACKGROUND)
            .group_by(InputRow.role)
        ).all()
    )
    return tuple(
        UnlabelledImages(role=role, count=counts[role]) for role in (Role.CONCEPT, Role.CANVAS) if role in counts
    )
