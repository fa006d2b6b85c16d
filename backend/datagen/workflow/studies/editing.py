"""A study's name, its description, and whether it is archived."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass

from sqlalchemy import select, update

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import ProjectKind
from datagen.domain.wording import counted
from datagen.errors import InputProblem, LabelStudioMissing, Refused
from datagen.label_studio.projects import project_templates
from datagen.store.tables.base import now
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow import decision_points
from datagen.workflow.services import Services, find_study
from datagen.workflow.studies.audit import own_lines

#: Smallest and largest length of a name, and largest length of a description, characters. A name that a study has
#: already stays valid.
SHORTEST_NAME, LONGEST_NAME, LONGEST_DESCRIPTION = 3, 50, 200
#: Categories of characters that a line of text has none of: controls, surrogates, line and paragraph separators.
_NOT_IN_A_LINE = {"Cc", "Cs", "Zl", "Zp"}
#: Marks that would change the direction of the text after a name: embeddings, overrides and isolates.
_DIRECTING = {*range(0x202A, 0x202F), *range(0x2066, 0x206A)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited:
    """Result of an edit."""

    name: str
    description: str
    #: sentences about what was left as it is
    notes: tuple[str, ...] = ()


def edit_study(
    services: Services, study_id: int, who: str, *, name: str | None = None, description: str | None = None
) -> Edited:
    """Change a study's name, its description or both; None leaves one as it is.

    The titles of its Label Studio projects follow the name if nobody gave them another, and if Label Studio stores
    titles of that length. Its audit lines are kept under the new name.

    Raises:
        InputProblem: the name or the description cannot be used.
        Refused: there is no such study, or another study or projects of Label Studio have the name.
        NotReady: other studies are being created or renamed at this moment.
        LabelStudioError: a project could not be renamed; the study keeps its name, and another call goes on.
    """
    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        if study is None:
            raise Refused("the study is not there any more")
        projects = {project.kind: project.project_id for project in study.projects}
    before = study.name
    wanted = before if name is None or line_of(name) == line_of(before) else line_of(name)
    described = study.description if description is None else line_of(description)
    if len(described) > LONGEST_DESCRIPTION:
        raise InputProblem(
            f"the description has {counted(len(described), 'character')}; give {LONGEST_DESCRIPTION} at most"
        )
    notes: tuple[str, ...] = ()
    with ExitStack() as turn:
        if wanted != before:
            turn.enter_context(services.names_turn())
            check_name(services, wanted, {*projects.values()})
            notes = _rename_projects(services, before, wanted, projects)
        _store(services, study_id, who, before=before, name=wanted, description=described)
    return Edited(name=wanted, description=described, notes=notes)


def _store(services: Services, study_id: int, who: str, *, before: str, name: str, description: str) -> None:
    """Write the name and the description of a study whose name was ``before``.

    Raises:
        Refused: it has another name by now, or is not there any more.
    """
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        if study.name != before:
            raise Refused(f"somebody else renamed the study to “{study.name}” meanwhile; look at it, and try again")
        if name != before:
            unit.session.execute(update(AuditRow).where(own_lines(before)).values(study=name))
            study.name = name
            unit.note(study, who, f"renamed from “{before}”")
            decision_points.republish_open_decision(unit, study_id)
        if description != study.description:
            study.description = description
            unit.note(study, who, f"described as “{description}”" if description else "removed the description")


def archive_study(services: Services, study_id: int, who: str, *, archived: bool) -> None:
    """Archive a study, so that lists hide it unless they are asked for archived ones; or take it out of the archive.

    Nothing else changes: its projects stay, and work goes on. A study that is archived already stays so.

    Raises:
        Refused: there is no such study.
    """
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        if (study.archived_at is not None) == archived:
            return
        study.archived_at = now() if archived else None
        unit.note(study, who, "archived" if archived else "taken out of the archive")


def study_id_of(services: Services, name: str) -> int:
    """Return the id of the study with that name.

    Raises:
        Refused: there is no such study.
    """
    with services.database.read() as session:
        return find_study(session, name).id


def line_of(text: str) -> str:
    """Return text as one line: runs of spaces and line breaks become one space."""
    return " ".join(plain(text).split())


def check_name(
    services: Services, name: str, own_projects: Collection[int] = (), *, may_have_projects: bool = False
) -> None:
    """Check that a study can get a name, which is a line of text.

    Args:
        services: the services that know the names in use.
        name: the name.
        own_projects: the study's projects in Label Studio, which may have it in their titles.
        may_have_projects: any projects may have it, because an earlier attempt created them.

    Raises:
        InputProblem: it is too short or too long, or has a character that cannot be used.
        Refused: another study or projects of Label Studio have it.
    """
    if not SHORTEST_NAME <= len(name) <= LONGEST_NAME:
        raise InputProblem(
            f"the name has {counted(len(name), 'character')}; give {SHORTEST_NAME} to {LONGEST_NAME} characters"
        )
    if any(unicodedata.category(letter) in _NOT_IN_A_LINE or ord(letter) in _DIRECTING for letter in name):
        raise InputProblem("the name has a character that cannot be shown, or that turns the text after it; remove it")
    _check_free(services, name)
    if may_have_projects:
        return
    titles = {project_templates.title(name, kind) for kind in ProjectKind}
    for project in services.label_studio.find_projects(f"{name} · "):
        if project.title in titles and project.id not in own_projects:
            raise Refused(f"Label Studio has a project “{project.title}” already; choose another name")


def _check_free(services: Services, name: str) -> None:
    with services.database.read() as session:
        if session.scalar(select(StudyRow.id).where(StudyRow.name == name)) is not None:
            raise Refused(f"there is another study named “{name}”; choose another name")
        if session.scalar(select(AuditRow.id).where(AuditRow.study == name).limit(1)) is not None:
            raise Refused(f"a deleted study was named “{name}”, and its history is kept; choose another name")


def _rename_projects(services: Services, before: str, name: str, projects: dict[ProjectKind, int]) -> tuple[str, ...]:
    """Rename the Label Studio projects that have their first titles; return a sentence if they cannot be renamed."""
    if len(name) > project_templates.longest_name():
        return (
            "The projects in Label Studio keep their titles, because it stores titles of "
            f"{project_templates.LONGEST_TITLE} characters at most.",
        )
    for kind, project_id in projects.items():
        try:
            if services.label_studio.project(project_id).title == project_templates.title(before, kind):
                title = project_templates.title(name, kind)
                services.label_studio.update_project(project_id, {"title": title})
        except LabelStudioMissing:
            continue  # deleted there; provisioning creates it again
    return ()
