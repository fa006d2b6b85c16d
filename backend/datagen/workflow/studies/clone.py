"""A new study with the inputs, the engine and the options of another one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import ProjectKind, Role
from datagen.errors import NotReady, Refused
from datagen.label_studio.projects.provisioning import ServerAccess
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decision_points import project_in
from datagen.workflow.inputs.import_files import Added, add_from_project
from datagen.workflow.services import Services, find_study
from datagen.workflow.studies.audit import own_lines
from datagen.workflow.studies.open import OpenedStudy, open_study
from datagen.workflow.study_options import options_of

_PROJECTS = {kind.role: kind for kind in ProjectKind if kind.role is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloned:
    """Result of cloning a study."""

    opened: OpenedStudy
    #: what was added as inputs of each role
    added: dict[Role, Added]


def clone_study(services: Services, name: str, new_name: str, who: str, access: ServerAccess) -> Cloned:
    """Create a study in projects of its own, with the inputs of the study ``name`` and what is drawn on them.

    Its labels, engine, preview size and options are those of that study. Its versions, verdicts and runs are left out.
    After an interruption, another call adds what is missing.

    Raises:
        Refused: there is no such study, or the new name belongs to a study that is not such a clone.
        NotReady: the study lacks a project.
        InputProblem, LabelStudioError: as ``open_study`` and ``add_from_project``.
    """
    new_name = plain(new_name).strip()
    with services.database.read() as session:
        source = find_study(session, name)
        projects = {role: project_in(source, kind) for role, kind in _PROJECTS.items()}
        existing = session.scalar(select(StudyRow.id).where(StudyRow.name == new_name))
        origin = f"cloned from “{source.name}”"
        is_clone = AuditRow.what == origin, own_lines(new_name)
        is_begun = session.scalar(select(AuditRow.id).where(*is_clone).limit(1)) is not None
        options, labels = options_of(source), list(source.labels)
        engine, preview_size = source.engine, source.preview_size
    if existing is not None and not is_begun:
        raise Refused(f"there is a study named {new_name!r} already; give the clone another name")
    for role, project_id in projects.items():
        if project_id is None:
            raise NotReady(f"{name!r} has no {_PROJECTS[role]} project to take inputs from")
    opened = open_study(services, new_name, labels, access, engine=engine, preview_size=preview_size, options=options)
    if not is_begun:
        with services.unit() as unit:
            unit.note(find_study(unit.session, opened.study_id), who, origin)
    added = {
        role: add_from_project(services, opened.study_id, role, project_id)
        for role, project_id in projects.items()
        if project_id is not None
    }
    return Cloned(opened=opened, added=added)
