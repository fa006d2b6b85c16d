"""The page of a study's inputs: each photo with what is drawn on it, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import select
from sqlalchemy.orm import Session, load_only

from datagen.domain.inputs import MINIMUM_PER_ROLE, Inputs, ProjectKind, Role, recommended_images
from datagen.errors import Refused
from datagen.store.keyset_page import keyset_page
from datagen.store.tables.batches import SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.workflow.decision_points import project_of
from datagen.workflow.generation import run_warnings
from datagen.workflow.inputs import parsed_results
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.study_pages.access import Visible, visible_study
from datagen.workflow.study_pages.learned_pictures import Learned, LearnedPicture, learned_of
from datagen.workflow.study_pages.next_step import LabelStudioTarget

#: Number of photos on a page.
PHOTOS_A_PAGE = 60


class InputStatus(StrEnum):
    """Whether a photo is used, and why not."""

    USED = "used"
    NOT_DRAWN = "nothing drawn yet"
    EXCLUDED = "excluded"
    UNUSABLE = "cannot be used"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputPhoto:
    """A photo on the inputs page."""

    task_id: int
    name: str
    #: digest of its picture; None if there is none
    digest: str | None
    width: int
    height: int
    status: InputStatus
    #: number of boxes or areas that are drawn on it and can be used
    drawn: int
    #: what is wrong with it, and what the engine found about it, as sentences
    problems: tuple[str, ...]
    findings: tuple[str, ...]
    #: what the version of ``InputsPageView.learned`` learned about it
    learned: tuple[LearnedPicture, ...]
    target: LabelStudioTarget | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTab:
    """A role of inputs, with its counts."""

    role: Role
    usable: int
    minimum: int
    recommended: int
    target: LabelStudioTarget | None


@dataclass(frozen=True, slots=True, kw_only=True)
class InputsPageView:
    """A page of a study's inputs of one role."""

    study_id: int
    study: str
    role: Role
    tabs: tuple[RoleTab, ...]
    #: the version whose findings are shown; 0 before the first
    version: int
    #: what the engine found in that version's inputs and is not about one photo, as sentences
    findings: tuple[str, ...]
    photos: tuple[InputPhoto, ...]
    #: what the engine learned about the photos: mattes of concept photos, areas of the others
    learned: Learned
    #: the task after which the next page begins; None on the last page
    next_after: int | None


def inputs_page_of(
    session: Session,
    study_id: int,
    project_ids: Visible,
    role: Role,
    after: int | None = None,
    most: int = PHOTOS_A_PAGE,
) -> InputsPageView:
    """Return a page of a study's inputs, with at most ``most`` photos behind the task ``after``.

    Raises:
        Refused: there is no such study, or the person may not see it.
    """
    study = visible_study(session, study_id, project_ids)
    inputs = collect(session, study)
    version, findings = _findings(session, study.id)
    projects = {kind.role: project_of(session, study.id, kind) for kind in ProjectKind if kind.role is not None}
    query = select(InputRow).where(InputRow.study_id == study.id, InputRow.role == role).order_by(InputRow.task_id)
    if after is not None:
        query = query.where(InputRow.task_id > after)
    rows = session.scalars(query.limit(most + 1)).all()
    shown, next_after = keyset_page(rows, most, lambda row: row.task_id)
    learned = learned_of(session, study, role, {row.digest for row in shown if row.digest is not None})
    photos = tuple(_photo(row, study.labels, inputs, findings, learned, projects[role]) for row in shown)
    named = {line for photo in photos for line in photo.findings}
    return InputsPageView(
        study_id=study.id,
        study=study.name,
        role=role,
        tabs=tuple(_tab(each, inputs, projects[each]) for each in Role),
        version=version,
        findings=tuple(line for line in findings if line not in named),
        photos=photos,
        learned=learned,
        next_after=next_after,
    )


def input_row_of(session: Session, study_id: int, task_id: int, project_ids: Visible) -> tuple[InputRow, list[str]]:
    """Return an input of a study, and the study's labels.

    Raises:
        Refused: there is no such input, or the person may not see the study.
    """
    study = visible_study(session, study_id, project_ids)
    row = session.get(InputRow, task_id)
    if row is None or row.study_id != study.id:
        raise Refused(f"The study “{study.name}” has no input task {task_id}.")
    return row, study.labels


def _tab(role: Role, inputs: Inputs, project_id: int | None) -> RoleTab:
    return RoleTab(
        role=role,
        usable=inputs.count(role),
        minimum=MINIMUM_PER_ROLE,
        recommended=recommended_images(role),
        target=LabelStudioTarget(project_id=project_id) if project_id is not None else None,
    )


def _findings(session: Session, study_id: int) -> tuple[int, tuple[str, ...]]:
    """Return the newest version with findings, and its warnings and findings; methods and numbers are left out."""
    query = select(SpecRow).where(SpecRow.study_id == study_id).order_by(SpecRow.version.desc())
    for spec in session.scalars(query.limit(3).options(load_only(SpecRow.version, SpecRow.findings))):
        lines = run_warnings.by_purpose(spec.findings)
        if lines.warnings or lines.findings:
            return spec.version, (*lines.warnings, *lines.findings)
    return 0, ()


def _photo(
    row: InputRow,
    labels: Sequence[str],
    inputs: Inputs,
    findings: Sequence[str],
    learned: Learned,
    project_id: int | None,
) -> InputPhoto:
    item = f"task {row.task_id} ({row.name})"
    problems = tuple(problem.reason for problem in inputs.problems if problem.role == row.role and problem.item == item)
    parsed = parsed_results.of_row(row, labels) if row.digest is not None else parsed_results.Parsed()
    drawn = len(parsed.regions) + len(parsed.areas)
    if row.digest is None:
        status, problems = InputStatus.UNUSABLE, problems or (row.problem,)
    elif row.role is Role.BACKGROUND:
        status = InputStatus.USED if parsed.used else InputStatus.EXCLUDED
    elif drawn:
        status = InputStatus.USED
    else:
        status = InputStatus.UNUSABLE if problems else InputStatus.NOT_DRAWN
    target = LabelStudioTarget(project_id=project_id, task_id=row.task_id) if project_id is not None else None
    return InputPhoto(
        task_id=row.task_id,
        name=row.name,
        digest=row.digest,
        width=row.width,
        height=row.height,
        status=status,
        drawn=drawn,
        problems=problems,
        findings=tuple(line for line in findings if _names(line, row.role, row.name)),
        learned=learned.pictures.get(row.digest or "", ()),
        target=target,
    )


def _names(line: str, role: Role, name: str) -> bool:
    """Return whether a sentence names a photo of a role.

    “11.jpg” does not name “1.jpg”, and “canvas 1.jpg” does not name the concept photo of that name.
    """
    if not name:
        return False
    named = re.compile(rf"(?:\b({'|'.join(Role)}) )?(?<![\w.-]){re.escape(name)}(?![\w-])")
    return any(mention[1] in (None, role) for mention in named.finditer(line))
