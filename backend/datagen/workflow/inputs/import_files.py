"""Adding inputs from files, folders, zips, or another Label Studio project, without Label Studio's upload form.

All sources share one pipeline. It reads which pictures a source names, with their drawings. It finds each picture, and
maps its regions to the study's controls and labels. Then it creates or completes tasks of the study's project. Adding
the same input again changes nothing. The steps are in ``importing/``.
"""

from __future__ import annotations

import shlex
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
from datagen.workflow.services import Services, StudyKey, find_study

_KINDS = {
    Role.CONCEPT: ProjectKind.CONCEPTS,
    Role.CANVAS: ProjectKind.CANVASES,
    Role.BACKGROUND: ProjectKind.BACKGROUNDS,
}


@dataclass(frozen=True, kw_only=True)
class Added:
    """Result of an import: the numbers of new and of known tasks, and a sentence for each item that was not used."""

    new: int
    known: int
    problems: tuple[str, ...]
    #: number of known tasks whose given drawings were all refused
    refused: int = 0
    #: number of existing tasks to which missing drawings were added; ``known`` does not count them
    completed: int = 0
    #: number of regions that were submitted
    regions: int = 0
    #: sentences that are not problems
    notes: tuple[str, ...] = ()
    #: the problems by reason: each reason with its items
    grouped: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def usable(self) -> int:
        """Number of tasks that are in use after the import: new, known and completed ones, without the refused ones."""
        return self.new + self.known - self.refused + self.completed


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The study's project that receives the inputs."""

    study_id: int
    role: Role
    project_id: int
    kind: ProjectKind
    #: the study's labels, and the source's names for them
    names: LabelNames


def add_files(
    services: Services,
    key: StudyKey,
    role: Role,
    path: Path,
    *,
    images: Path | None = None,
    aliases: Mapping[str, str] | None = None,
    only_files: bool = False,
) -> Added:
    """Add the pictures of a folder or zip, or those that an export names, with their drawings.

    Args:
        services: the services that read and send inputs.
        key: the study that receives the inputs.
        role: the inputs' role in the study.
        path: a folder, a zip, or an export of Label Studio, COCO, Pascal VOC or YOLO.
        images: an additional folder that is searched for pictures.
        aliases: maps labels of the export to labels of the study.
        only_files: whether pictures that an export names are taken from the given files alone. Otherwise those at
            addresses of Label Studio are read with the installation's rights.

    Raises:
        InputProblem: the path or an option cannot be used.
        NotReady: the study has no project for this role.
    """
    target = _find_target(services, key, role, aliases)
    reading = Reading()
    if images is not None and not images.is_dir():
        raise InputProblem(f"{images} is no folder; --images names the folder in which the pictures lie")
    image_folders = [images] if images is not None else []
    if path.is_dir():
        read_folder(path, str(path), role, reading, zipped=False)
        return _import(services, target, reading, [path, *image_folders], only_files=only_files)
    if not path.exists():
        raise InputProblem(f"{path} does not exist; give a folder of images, an export, or a zip of one")
    if not path.is_file():
        raise InputProblem(f"{path} is neither a folder nor a file")
    if path.suffix.lower() != ".zip":
        read_file(path, str(path), role, reading)
        return _import(services, target, reading, [path.parent, *image_folders], only_files=only_files)
    suffixes, most = PICTURE_SUFFIXES | EXPORT_SUFFIXES, services.limits.image_bytes
    with unpacked(path, suffixes, most, reading.report, refused=REFUSED_SUFFIXES) as folder:
        read_folder(folder, str(path), role, reading, zipped=True)
        return _import(services, target, reading, [folder, *image_folders], only_files=only_files)


def add_from_project(
    services: Services,
    key: StudyKey,
    role: Role,
    source_project: int,
    view_id: int | None = None,
    *,
    task_ids: Sequence[int] | None = None,
    aliases: Mapping[str, str] | None = None,
) -> Added:
    """Add the tasks of another Label Studio project (of one of its tabs, or some of them), with their drawings.

    The new tasks refer to the same stored pictures; no picture is uploaded again.
    """
    target = _find_target(services, key, role, aliases)
    reading = Reading()
    read_project(services.label_studio, source_project, view_id, reading, task_ids)
    return _import(services, target, reading, [], on_label_studio=True)


def _import(
    services: Services,
    target: _Target,
    reading: Reading,
    folders: Sequence[Path],
    *,
    on_label_studio: bool = False,
    only_files: bool = False,
) -> Added:
    """Import the items of a reading into the study's project."""
    import_ = TaskImport(
        services=services,
        project_id=target.project_id,
        kind=target.kind,
        names=target.names,
        files=PictureFiles(folders=folders),
        on_label_studio=on_label_studio,
        only_files=only_files,
    )
    outcome = import_.run(reading, study_tasks(services, target.project_id, target.study_id, target.role))
    return Added(
        new=outcome.new,
        known=outcome.known,
        refused=outcome.refused,
        completed=outcome.completed,
        regions=outcome.regions,
        problems=tuple(map(str, reading.problems)),
        notes=tuple(reading.all_notes()),
        grouped=_group_by_reason(reading.problems),
    )


def _group_by_reason(notes: Sequence[ImportNote]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return the reasons, the most frequent first, with their items."""
    groups: dict[str, list[str]] = {}
    for note in notes:
        groups.setdefault(note.reason, []).append(note.item)
    return tuple(sorted(((reason, tuple(items)) for reason, items in groups.items()), key=lambda group: -len(group[1])))


def _find_target(services: Services, key: StudyKey, role: Role, aliases: Mapping[str, str] | None) -> _Target:
    with services.database.read() as session:
        study = find_study(session, key)
        project_id = decision_points.project_of(session, study.id, _KINDS[role])
        study_id, study_name, labels = study.id, study.name, tuple(study.labels)
    if project_id is None:
        raise NotReady(
            f"{study_name!r} has no {_KINDS[role]} project; run: datagen provision {shlex.quote(study_name)}"
        )
    kind = _KINDS[role]
    names = _label_names(labels, kind, aliases or {})
    return _Target(study_id=study_id, role=role, project_id=project_id, kind=kind, names=names)


def _label_names(labels: tuple[str, ...], kind: ProjectKind, aliases: Mapping[str, str]) -> LabelNames:
    known = (*labels, AREA) if kind is ProjectKind.CANVASES else labels
    for other, own in aliases.items():
        if own not in known:
            raise InputProblem(f"--label {other}={own}: the study has no label “{own}” (it has: {', '.join(known)})")
    return LabelNames(labels=labels, aliases=dict(aliases))
