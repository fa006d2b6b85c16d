"""Adding inputs from outside Label Studio's upload form: files, folders, zips, or another Label Studio project.

One pipeline, whatever the source: pictures with what is drawn on them are read, each picture is found, its regions are
mapped to the study's controls and labels, and tasks of the study's project are made or completed. Adding the same
again changes nothing. The parts are in ``importing/``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datagen.domain.inputs import ProjectKind, Role
from datagen.errors import InputProblem, NotReady
from datagen.label_studio.mapping.region_mapping import LabelNames
from datagen.label_studio.mapping.regions import AREA
from datagen.workflow import decision_points
from datagen.workflow.inputs.importing.items import ImportNote, Reading
from datagen.workflow.inputs.importing.picture_files import PictureFiles
from datagen.workflow.inputs.importing.picture_suffixes import PICTURE_SUFFIXES, REFUSED_SUFFIXES
from datagen.workflow.inputs.importing.project_source import read_project
from datagen.workflow.inputs.importing.sources import EXPORT_SUFFIXES, read_file, read_folder
from datagen.workflow.inputs.importing.study_tasks import study_tasks
from datagen.workflow.inputs.importing.task_import import TaskImport
from datagen.workflow.inputs.zip_import import unpacked
from datagen.workflow.services import Services, find_study

_KINDS = {
    Role.CONCEPT: ProjectKind.CONCEPTS,
    Role.CANVAS: ProjectKind.CANVASES,
    Role.BACKGROUND: ProjectKind.BACKGROUNDS,
}


@dataclass(frozen=True, kw_only=True)
class Added:
    """What came of it: new tasks, those that were there already, and a sentence for each thing that was not used."""

    new: int
    known: int
    problems: tuple[str, ...]
    #: tasks that were there and got drawings they lacked
    completed: int = 0
    #: regions that were submitted
    regions: int = 0
    #: sentences about what was used, or need not be
    notes: tuple[str, ...] = ()
    #: the problems by their reason: the reason, and the items it is true of
    grouped: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def usable(self) -> int:
        """How many pictures could be used."""
        return self.new + self.known + self.completed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The study's project that inputs go into."""

    study_id: int
    project_id: int
    kind: ProjectKind
    labels: tuple[str, ...]


def add_files(
    services: Services,
    study_name: str,
    role: Role,
    path: Path,
    *,
    images: Path | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Added:
    """Add the pictures of a folder or zip, or those that an export names, with what is drawn on them.

    Args:
        workshop: what inputs are read and sent with.
        study_name: whose inputs they become.
        role: what they are for.
        path: a folder, a zip, or an export of Label Studio, COCO, Pascal VOC or YOLO.
        images: a further folder in which pictures are looked for.
        aliases: labels of the export that mean one of the study's.

    Raises:
        InputProblem: nothing can be read there.
        NotReady: the study has no such project.
    """
    target = _target(services, study_name, role)
    names = _names(target, aliases)
    reading = Reading()
    if images is not None and not images.is_dir():
        raise InputProblem(f"{images} is no folder; --images names the folder in which the pictures lie")
    further = [images] if images is not None else []
    if path.is_dir():
        read_folder(path, str(path), role, reading, zipped=False)
        return _imported(services, target, role, names, reading, [path, *further])
    if not path.is_file():
        raise InputProblem(f"{path} is neither a folder nor a Label Studio JSON file, nor a zip of one")
    if path.suffix.lower() != ".zip":
        read_file(path, str(path), role, reading)
        return _imported(services, target, role, names, reading, [path.parent, *further])
    suffixes, most = PICTURE_SUFFIXES | EXPORT_SUFFIXES, services.limits.image_bytes
    with unpacked(path, suffixes, most, reading.tell, refused=REFUSED_SUFFIXES) as folder:
        read_folder(folder, str(path), role, reading, zipped=True)
        return _imported(services, target, role, names, reading, [folder, *further])


def add_from_project(
    services: Services,
    study_name: str,
    role: Role,
    source_project: int,
    view_id: int | None = None,
    *,
    aliases: Mapping[str, str] | None = None,
) -> Added:
    """Add the tasks of another Label Studio project (or of one of its tabs), with what was drawn on them.

    The new tasks show the same stored pictures; nothing is uploaded again.
    """
    target = _target(services, study_name, role)
    names = _names(target, aliases)
    reading = Reading()
    read_project(services.label_studio, source_project, view_id, reading)
    return _imported(services, target, role, names, reading, [], on_label_studio=True)


def _imported(
    services: Services,
    target: _Target,
    role: Role,
    names: LabelNames,
    reading: Reading,
    folders: Sequence[Path],
    *,
    on_label_studio: bool = False,
) -> Added:
    """Bring what was read into the study's project."""
    import_ = TaskImport(
        services=services,
        project_id=target.project_id,
        kind=target.kind,
        names=names,
        files=PictureFiles(folders=folders),
        on_label_studio=on_label_studio,
    )
    outcome = import_.run(reading, study_tasks(services, target.project_id, target.study_id, role))
    return Added(
        new=outcome.new,
        known=outcome.known,
        completed=outcome.completed,
        regions=outcome.regions,
        problems=tuple(map(str, reading.told)),
        notes=tuple(reading.all_notes()),
        grouped=_grouped(reading.told),
    )


def _grouped(told: Sequence[ImportNote]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The reasons, the most frequent first, with their items."""
    groups: dict[str, list[str]] = {}
    for one in told:
        groups.setdefault(one.reason, []).append(one.item)
    return tuple(sorted(((reason, tuple(items)) for reason, items in groups.items()), key=lambda one: -len(one[1])))


def _target(services: Services, study_name: str, role: Role) -> _Target:
    with services.database.read() as session:
        study = find_study(session, study_name)
        project_id = decision_points.project_of(session, study.id, _KINDS[role])
        study_id, labels = study.id, tuple(study.labels)
    if project_id is None:
        raise NotReady(f"{study_name!r} has no {_KINDS[role]} project; run: datagen provision {study_name!r}")
    return _Target(study_id=study_id, project_id=project_id, kind=_KINDS[role], labels=labels)


def _names(target: _Target, aliases: Mapping[str, str] | None) -> LabelNames:
    known = (*target.labels, AREA) if target.kind is ProjectKind.CANVASES else target.labels
    for other, own in (aliases or {}).items():
        if own not in known:
            raise InputProblem(f"--label {other}={own}: the study has no label “{own}” (it has: {', '.join(known)})")
    return LabelNames(labels=target.labels, aliases=dict(aliases or {}))
