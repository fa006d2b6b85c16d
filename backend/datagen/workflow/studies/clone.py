"""A new study with the inputs, the engine and the options of another one, and perhaps the settings of one version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from datagen.domain.foreign_text import plain
from datagen.domain.inputs import ProjectKind, Role
from datagen.errors import NotReady, Refused
from datagen.label_studio.projects.provisioning import ServerAccess
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decision_points import project_in
from datagen.workflow.decisions.spec_versions import spec_of_version
from datagen.workflow.inputs.import_files import Added, add_from_project
from datagen.workflow.services import Services, StudyKey, UnitOfWork, find_study
from datagen.workflow.studies.audit import own_lines
from datagen.workflow.studies.editing import check_name, line_of
from datagen.workflow.studies.open import OpenedStudy, open_study
from datagen.workflow.study_options import options_of

_PROJECTS = {kind.role: kind for kind in ProjectKind if kind.role is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloned:
    """Result of cloning a study."""

    opened: OpenedStudy
    #: what was added as inputs of each role
    added: dict[Role, Added]


def clone_study(
    services: Services, key: StudyKey, new_name: str, who: str, access: ServerAccess, *, version: int | None = None
) -> Cloned:
    """Create a study in projects of its own, with a study's inputs and what is drawn on them. ``key`` is that study.

    Its labels, engine, preview size and options are those of that study. Its versions, verdicts and runs are left out.
    With a ``version``, the first version of the clone begins with that version's engine, parameters and critic. The
    inputs are those that the study has now, not those of the version. After an interruption, another call adds what is
    missing, and keeps what people have set in the clone since.

    Raises:
        Refused: there is no such study or version, or the new name belongs to a study that is not such a clone.
        StudyExists: another process created a study of that name meanwhile.
        NotReady: the study lacks a project.
        InputProblem, LabelStudioError: as ``open_study`` and ``add_from_project``.
    """
    new_name = plain(new_name).strip()
    with services.database.read() as session:
        source = find_study(session, key)
        source_id, projects = source.id, projects_of(source)
        start = starting_point(session, source, version) if version is not None else None
        existing = session.scalar(select(StudyRow.id).where(StudyRow.name == new_name))
        origin, is_begun = _origin(source, version), _is_begun(session, source, new_name, version)
        is_noted = _was_tried(session, source, new_name)
        options, labels = options_of(source), list(source.labels)
        engine = start["engine"] if start is not None else source.engine
        preview_size = source.preview_size
    if existing is not None and not is_begun:
        raise Refused(f"there is a study named {new_name!r} already; give the clone another name")
    if not is_noted:
        with services.unit() as unit:
            unit.note(unit.session.get_one(StudyRow, source_id), who, _trial(new_name))

    def begin(unit: UnitOfWork, clone: StudyRow) -> None:
        clone.starting_point = start
        unit.note(clone, who, origin)

    if existing is None:
        opened = open_study(
            services,
            new_name,
            labels,
            access,
            engine=engine,
            preview_size=preview_size,
            options=options,
            who=who,
            only_new=True,
            begin=begin,
        )
    else:  # what people have set since is kept
        opened = open_study(services, new_name, (), access, engine=None, preview_size=preview_size, who=who)
    added = {
        role: add_from_project(services, opened.study_id, role, project_id) for role, project_id in projects.items()
    }
    return Cloned(opened=opened, added=added)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonePlan:
    """What cloning a study would do."""

    source: str
    name: str
    version: int | None
    engine: str
    labels: tuple[str, ...]
    #: number of input tasks that are copied, by role
    inputs: dict[Role, int]
    #: whether an interrupted call began it, so that only what is missing is added
    is_begun: bool


def plan_clone(services: Services, study_id: int, new_name: str, version: int | None) -> ClonePlan:
    """Check that a study can be cloned under a name, and return what that would do. Nothing is changed.

    Raises:
        Refused: there is no such study or version, or the name belongs to something else.
        InputProblem: the name cannot be used.
        NotReady: the study lacks a project.
    """
    new_name = line_of(new_name)
    with services.database.read() as session:
        source = session.get(StudyRow, study_id)
        if source is None:
            raise Refused("the study is not there any more")
        projects_of(source)
        start = starting_point(session, source, version) if version is not None else None
        counts = dict(
            session.execute(
                select(InputRow.role, func.count()).where(InputRow.study_id == study_id).group_by(InputRow.role)
            ).all()
        )
        is_begun = _is_begun(session, source, new_name, version)
        was_tried = _was_tried(session, source, new_name)
    if not is_begun:
        check_name(services, new_name, may_have_projects=was_tried)
    return ClonePlan(
        source=source.name,
        name=new_name,
        version=version,
        engine=start["engine"] if start is not None else source.engine,
        labels=tuple(source.labels),
        inputs={role: counts.get(role, 0) for role in Role},
        is_begun=is_begun,
    )


def _is_begun(session: Session, source: StudyRow, new_name: str, version: int | None) -> bool:
    """Return whether the study of the new name is such a clone, which an earlier call began."""
    is_clone = AuditRow.what == _origin(source, version), own_lines(new_name)
    return session.scalar(select(AuditRow.id).where(*is_clone).limit(1)) is not None


def _was_tried(session: Session, source: StudyRow, new_name: str) -> bool:
    """Return whether an earlier call tried to make a clone of that name, and may have created projects for it."""
    is_trial = AuditRow.what == _trial(new_name), own_lines(source.name)
    return session.scalar(select(AuditRow.id).where(*is_trial).limit(1)) is not None


def projects_of(source: StudyRow) -> dict[Role, int]:
    """Return the projects that a clone of a study takes its inputs from.

    Raises:
        NotReady: the study lacks one.
    """
    projects = {role: project_in(source, kind) for role, kind in _PROJECTS.items()}
    for role, project_id in projects.items():
        if project_id is None:
            raise NotReady(f"{source.name!r} has no {_PROJECTS[role]} project to take inputs from")
    return {role: project_id for role, project_id in projects.items() if project_id is not None}


def starting_point(session: Session, source: StudyRow, version: int) -> dict[str, Any]:
    """Return what the first version of a clone of a version begins with; see ``StudyRow.starting_point``.

    Raises:
        Refused: the study has no such version.
    """
    body = spec_of_version(session, source, version).body
    start = {"engine": body["engine"], "parameters": body["parameters"], "origin": _in_words(source, version)}
    return start | ({"critic": body["critic"]} if "critic" in body else {})


def _origin(source: StudyRow, version: int | None) -> str:
    """Return the line of the audit log of a clone."""
    return f"cloned from {_in_words(source, version)}"


def _trial(new_name: str) -> str:
    """Return the line of the audit log of a study that is being cloned."""
    return f"cloning as “{new_name}” began"


def _in_words(source: StudyRow, version: int | None) -> str:
    return f"“{source.name}”" + (f", version {version}" if version is not None else "")
