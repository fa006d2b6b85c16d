"""Adding inputs from outside Label Studio's upload form: a folder, a zip, a Label Studio JSON file, another project.

Whatever the way, they become tasks at the study's desk, where people see and correct them. Adding the same again adds
nothing: a task's key is its picture's digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.domain.foreign_text import plain, read_json
from datagen.domain.inputs import Desk, Role
from datagen.errors import BadPicture, InputProblem, NotReady
from datagen.label_studio import publisher
from datagen.label_studio.publisher import TaskDraft
from datagen.label_studio.sources import adopted, read_desk
from datagen.store.decode import check_bytes
from datagen.store.kinds import kind_of
from datagen.workflow import points
from datagen.workflow.archives import MOST_ENTRIES, unpacked
from datagen.workflow.workshop import Workshop, find_study

#: Files of a folder that Label Studio takes as pictures.
PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"})
#: What people mean as a picture too, and must hear why it is left out; any other file is passed over.
REFUSED_SUFFIXES = frozenset(
    {".svg", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".psd", ".pdf", ".dcm", ".exr", ".npy", ".zip"}
)
#: Bytes of a task list; Python's objects take some twenty times that.
MOST_LIST_BYTES = 64 * 2**20
#: Tasks of a list, as entries of a zip.
MOST_TASKS = MOST_ENTRIES
#: Pictures uploaded at a time, so that memory stays bounded.
UPLOAD_BATCH = 50
_DESKS = {Role.CONCEPT: Desk.CONCEPTS, Role.CANVAS: Desk.CANVASES, Role.BACKGROUND: Desk.BACKGROUNDS}


@dataclass(frozen=True, kw_only=True)
class Added:
    """What came of it: new tasks, those that were there already, and a sentence for each that was not used."""

    new: int
    known: int
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """A picture file and what was drawn on it."""

    path: Path
    name: str
    results: tuple[list[dict[str, Any]], ...] = ()


def add_files(workshop: Workshop, study_name: str, role: Role, path: Path) -> Added:
    """Add the pictures of a folder, or those that a Label Studio JSON file names (with annotations); either zipped.

    Raises:
        InputProblem: the path is none of these.
    """
    project_id = _project(workshop, study_name, role)
    problems: list[str] = []
    if path.suffix.lower() == ".zip" and path.is_file():
        suffixes = PICTURE_SUFFIXES | {".json"}
        with unpacked(path, suffixes, workshop.limits.image_bytes, problems) as folder:
            return _add_all(workshop, project_id, role, _zipped(path, folder, role, problems), problems)
    return _add_all(workshop, project_id, role, _lying(path, problems), problems)


def _lying(path: Path, problems: list[str]) -> list[_Found]:
    """The pictures in a folder, or those that a task list names."""
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if file.is_file()]
        found = [_Found(path=file, name=plain(file.name)) for file in files if file.suffix.lower() in PICTURE_SUFFIXES]
        problems += (_refusal(file) for file in files if file.suffix.lower() in REFUSED_SUFFIXES)
        if not found and not problems:
            raise InputProblem(f"{path} has no picture files ({', '.join(sorted(PICTURE_SUFFIXES))})")
        return found
    if path.suffix == ".json" and path.is_file():
        return _listed(path, str(path), problems)
    raise InputProblem(f"{path} is neither a folder nor a Label Studio JSON file, nor a zip of one")


def _zipped(path: Path, folder: Path, role: Role, problems: list[str]) -> list[_Found]:
    """The same in an unpacked zip: its task list (the one named after the role, of several), else all its pictures."""
    lists = sorted(folder.rglob("*.json"))
    if len(lists) > 1:
        lists = [one for one in lists if one.stem == role] or lists
    if len(lists) > 1:
        names = ", ".join(str(one.relative_to(folder)) for one in lists[:5])
        raise InputProblem(f"{path} has several task lists ({names}); pack one of them, or name it {role}.json")
    if lists:
        return _listed(lists[0], f"{lists[0].name} in {path}", problems)
    files = [one for one in sorted(folder.rglob("*")) if one.is_file()]
    if not files and not problems:
        raise InputProblem(f"{path} has no picture files ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return [_Found(path=file, name=plain(str(file.relative_to(folder)))) for file in files]


def _add_all(workshop: Workshop, project_id: int, role: Role, found: Sequence[_Found], problems: list[str]) -> Added:
    """Add what was found, some at a time."""
    before = _keys(workshop, project_id)
    new, unusable = 0, len(problems)
    for start in range(0, len(found), UPLOAD_BATCH):
        new += _add(workshop, project_id, role, found[start : start + UPLOAD_BATCH], before, problems)
    known = len(found) - new - (len(problems) - unusable)
    return Added(new=new, known=known, problems=tuple(problems))


def add_from_project(
    workshop: Workshop, study_name: str, role: Role, source_project: int, view_id: int | None = None
) -> Added:
    """Add the tasks of another Label Studio project (or of one of its tabs), with what was drawn on them.

    The new tasks show the same stored pictures; nothing is uploaded again.
    """
    project_id = _project(workshop, study_name, role)
    before = _keys(workshop, project_id)
    drafts: list[TaskDraft] = []
    results: dict[str, list[list[dict[str, Any]]]] = {}
    known = 0
    unreadable: list[int] = []
    for raw in read_desk(workshop.label_studio, source_project, view_id=view_id, unreadable=unreadable):
        key = f"{role}-from-{source_project}-{raw.task_id}"
        if key in before:
            known += 1
            continue
        drafts.append(TaskDraft(key=key, data={"image": raw.image_url, "name": raw.name}))
        results[key] = [adopted(raw.result, _DESKS[role])] if raw.result else []
    _publish(workshop, project_id, drafts, results)
    problems = [
        f"task {task_id} of project {source_project}: Label Studio cannot send it; text in there is none (half a "
        "character). Delete it there, or import it again without that."
        for task_id in unreadable
    ]
    return Added(new=len(drafts), known=known, problems=tuple(problems))


def _project(workshop: Workshop, study_name: str, role: Role) -> int:
    with workshop.database.read() as session:
        study = find_study(session, study_name)
        project_id = points.project_of(session, study.id, _DESKS[role])
    if project_id is None:
        raise NotReady(f"{study_name!r} has no {_DESKS[role]} project; run: datagen provision {study_name!r}")
    return project_id


def _refusal(file: Path) -> str:
    """Why a file that is meant as a picture is left out."""
    with file.open("rb") as opened:
        beginning = opened.read(4096)
    try:
        kind = kind_of(beginning)
    except BadPicture as problem:
        return f"{plain(file.name)}: {problem}"
    return f"{plain(file.name)}: Label Studio takes no file of this name (it is a {kind}); save it as PNG and add that"


def _listed(path: Path, called: str, problems: list[str]) -> list[_Found]:
    """The pictures that a Label Studio JSON file names, relative to it; those that are missing become problems."""
    tasks = _read_json(path, called)
    if not isinstance(tasks, list):
        raise InputProblem(f"{called} is not a list of tasks, as Label Studio exports it")
    if not tasks:
        raise InputProblem(f"{called} names no picture: its list of tasks is empty")
    if len(tasks) > MOST_TASKS:
        raise InputProblem(f"{called} has {len(tasks):,} tasks, at most {MOST_TASKS:,} are taken; split it")
    found = []
    for number, task in enumerate(tasks, 1):
        data = task.get("data") if isinstance(task, dict) else None
        name = data.get("image") if isinstance(data, dict) else None
        if not isinstance(name, str) or "\0" in name:
            problems.append(f"{path.name}, task {number}: it has no data.image")
            continue
        file = (path.parent / name).resolve()
        if not file.is_relative_to(path.parent.resolve()):
            problems.append(f"{path.name}, task {number}: {name} is outside the folder of {path.name}")
        elif not file.is_file():
            problems.append(f"{path.name}, task {number}: the file {name} is missing")
        else:
            found.append(_Found(path=file, name=plain(file.name), results=_drawn(task.get("annotations"))))
    return found


def _read_json(path: Path, called: str) -> Any:
    try:
        if (size := path.stat().st_size) > MOST_LIST_BYTES:
            raise InputProblem(f"{called} has {size:,} bytes, at most {MOST_LIST_BYTES:,} are read; split it")
        return read_json(path.read_bytes())
    except (OSError, ValueError) as fault:
        raise InputProblem(f"{called} is not a JSON file that can be read: {fault}") from None
    except RecursionError:
        raise InputProblem(f"{called} is nested too deeply for a list of tasks; export it again") from None


def _drawn(annotations: Any) -> tuple[list[dict[str, Any]], ...]:
    """What a task's annotations hold, as far as they have the form of annotations."""
    listed = annotations if isinstance(annotations, list) else []
    return tuple(a["result"] for a in listed if isinstance(a, dict) and isinstance(a.get("result"), list))


def _add(
    workshop: Workshop, project_id: int, role: Role, found: Sequence[_Found], before: set[str], problems: list[str]
) -> int:
    """Upload the pictures that are not there yet, and note them in ``before``; returns how many they were."""
    files: dict[str, tuple[str, bytes]] = {}
    results: dict[str, list[list[dict[str, Any]]]] = {}
    for one in found:
        try:
            check_bytes(one.path.stat().st_size, workshop.limits.image_bytes)  # before it is in memory
            data = one.path.read_bytes()
            workshop.decoder.size_of(data)
        except BadPicture as problem:
            problems.append(f"{one.name}: {problem}")
            continue
        key = f"{role}-{hashlib.sha256(data).hexdigest()[:20]}"
        if key not in before:
            before.add(key)
            files[key] = (one.name, data)
            results[key] = [list(result) for result in one.results]
    urls = workshop.label_studio.upload(project_id, list(files.values()))
    drafts = [
        TaskDraft(key=key, data={"image": url, "name": files[key][0]}) for key, url in zip(files, urls, strict=True)
    ]
    _publish(workshop, project_id, drafts, results)
    return len(drafts)


def _publish(
    workshop: Workshop,
    project_id: int,
    drafts: Sequence[TaskDraft],
    results: dict[str, list[list[dict[str, Any]]]],
) -> None:
    """Make the tasks, then submit what was drawn on them."""
    if not drafts:
        return
    batch = "added-" + hashlib.sha256("".join(draft.key for draft in drafts).encode()).hexdigest()[:12]
    task_ids = publisher.ensure_tasks(workshop.label_studio, project_id, batch, drafts)
    for draft in drafts:
        for result in results[draft.key]:
            workshop.label_studio.annotate(task_ids[draft.key], result)


def _keys(workshop: Workshop, project_id: int) -> set[str]:
    """Our keys at a desk."""
    tasks = workshop.label_studio.tasks(project_id, annotations=False, unreadable=[])
    return {str(task.data.get("datagen_key")) for task in tasks}
