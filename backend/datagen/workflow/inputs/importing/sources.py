"""Reads the path that is given to ``datagen add``, a file or a folder, after detecting its format.

If a folder contains one export (Label Studio's JSON, JSONL, CSV, COCO, Pascal VOC, YOLO), the export is read. If it
contains none, its pictures are read. A zip is unpacked and read as a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.domain.inputs import Role
from datagen.domain.wording import counted
from datagen.errors import InputProblem
from datagen.workflow.inputs.importing import csv_tasks, manifest_lines, voc_files, yolo_folders
from datagen.workflow.inputs.importing.coco_files import looks_like_coco, read_coco
from datagen.workflow.inputs.importing.items import Item, Reading, clean_name, examples
from datagen.workflow.inputs.importing.label_studio_tasks import (
    add_tasks,
    flat_tasks,
    is_stored_annotation,
    looks_like_tasks,
    read_tasks,
)
from datagen.workflow.inputs.importing.picture_files import LeftOut, files_below
from datagen.workflow.inputs.importing.picture_suffixes import PICTURE_SUFFIXES, REFUSED_SUFFIXES, refusal
from datagen.workflow.inputs.importing.text_files import MAX_TEXT_BYTES, parse_json, read_text

_JSON, _LINES, _TABLES = frozenset({".json"}), frozenset({".jsonl", ".ndjson"}), frozenset({".csv", ".tsv"})
#: Suffixes of files that may contain the drawings on the pictures beside them.
EXPORT_SUFFIXES = _JSON | _LINES | _TABLES | {".xml", ".txt", ".yaml", ".yml"}
#: Largest number of files of a folder that are opened in search of exports.
_MAX_CANDIDATES = 20_000
#: Largest total size of a folder's exports, bytes. It is limited because all are parsed before the first one is used.
_MAX_KEPT_BYTES = 2 * MAX_TEXT_BYTES
#: Keys of the JSON file that Label Studio adds to its YOLO exports.
_YOLO_NOTES_KEYS = frozenset({"categories", "info"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Export:
    """An export that was detected and parsed."""

    #: “tasks”, “annotation” (of a target storage), “coco”, “manifest” (of an export of Datagen), or “other” for JSON of
    #: an unknown format
    kind: str
    path: Path
    called: str
    read: Callable[[Reading], None]


def read_file(path: Path, called: str, role: Role, reading: Reading) -> None:
    """Read one file of any supported format. ``called`` is its name in messages.

    Raises:
        InputProblem: the format is not supported.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        reading.items.append(Item(where=clean_name(path.name), file=path, name=clean_name(path.name)))
    elif suffix in REFUSED_SUFFIXES:
        reading.report(clean_name(path.name), refusal(path))
    elif suffix == ".xml":
        voc_files.read_voc([(path, path.name)], role, reading)
    elif suffix in (".yaml", ".yml"):
        files = manifest_lines.without_masks(list(files_below(path.parent)), path.parent)
        yolo_folders.read_yolo(files, _pictures(files), path.parent, reading)
    else:
        export = _open_export(path, called, role)
        if export is None:
            raise InputProblem(f"{called} is not a list of tasks, as Label Studio exports it, nor a COCO file")
        export.read(reading)


def read_folder(folder: Path, called: str, role: Role, reading: Reading, *, zipped: bool) -> None:
    """Read the export in a folder, or its pictures if there is no export.

    ``called`` is the name of the folder or zip in messages; ``zipped`` is true if the folder is an unpacked zip.

    Raises:
        InputProblem: the folder contains several exports, or nothing usable.
    """
    left_out = LeftOut()
    files = manifest_lines.without_masks(list(files_below(folder, left_out=left_out)), folder)
    links = _report_left_out(left_out, folder, reading)
    exports = _exports(files, folder, called if zipped else "", role, reading)
    role_exports = [export for export in exports if export.path.stem.lower() == role]
    if role_exports or (exports and (zipped or role is not Role.BACKGROUND)):
        for export in _choose(role_exports or exports, called, role, folder):
            export.read(reading)
        return
    if exports:
        names = examples(export.called for export in exports)
        reading.notes.append(f"all pictures of the folder are added; {names} is not read for backgrounds")
    pictures = _pictures(files)
    if role is not Role.BACKGROUND:
        documents = [path for path in files if path.suffix.lower() == ".xml"]
        if any(map(_is_voc, documents)):  # damaged ones among the others are reported by name
            voc_files.read_voc([(path, str(path.relative_to(folder))) for path in documents], role, reading)
            return
        if yolo_folders.is_yolo(files, pictures, folder):
            yolo_folders.read_yolo(files, pictures, folder, reading)
            return
    for path in files:
        name = clean_name(str(path.relative_to(folder)))
        if path.suffix.lower() in PICTURE_SUFFIXES:
            reading.items.append(Item(where=name, file=path, name=name))
        elif path.suffix.lower() in REFUSED_SUFFIXES:
            reading.report(name, refusal(path))
    if not reading.items and not reading.problems:
        raise InputProblem(f"{called} has no picture files ({', '.join(sorted(PICTURE_SUFFIXES))}){links}")


def _report_left_out(left_out: LeftOut, folder: Path, reading: Reading) -> str:
    """Report the links and folders that were not read.

    Return a clause about skipped links, with which an error message may end; empty if none was skipped.
    """
    for fault in left_out.unlisted:
        path = Path(str(fault.filename))
        name = clean_name(str(path.relative_to(folder) if path.is_relative_to(folder) else path))
        reading.report(name, f"the folder cannot be listed ({fault.strerror})")
    if not left_out.links:
        return ""
    names = examples(clean_name(str(path.relative_to(folder))) for path in left_out.links)
    note = f"links to elsewhere are not followed ({names}): copy the files, or name their folder with --images"
    reading.notes.append(note)
    return f"; {note}"


def _choose(exports: Sequence[_Export], called: str, role: Role, folder: Path) -> Sequence[_Export]:
    """Return the exports that were found in a folder, if they can be read together.

    Raises:
        InputProblem: the exports cannot be combined.
    """
    manifests = [export for export in exports if export.kind == "manifest"]
    if len(manifests) == 1:  # of an export of Datagen, whose other formats hold the same labels
        return manifests
    kinds = {export.kind for export in exports}
    if len(exports) == 1 or kinds in ({"coco"}, {"annotation"}):
        return exports
    names = ", ".join(str(export.path.relative_to(folder)) for export in exports[:5])
    raise InputProblem(f"{called} has several task lists ({names}); pack one of them, or name it {role}.json")


def _exports(files: Sequence[Path], folder: Path, zip_name: str, role: Role, reading: Reading) -> list[_Export]:
    """Return all exports of a folder; a candidate that is not an export is reported.

    Raises:
        InputProblem: the only candidate, or the one named after the role, cannot be used.
    """
    exports: list[_Export] = []
    candidates = [path for path in files if path.suffix.lower() in _JSON | _LINES | _TABLES]
    candidates += [path for path in files if not path.suffix and _begins_with_brace(path)]
    used_bytes = 0
    for path in candidates[:_MAX_CANDIDATES]:
        relative_path = str(path.relative_to(folder))
        if used_bytes + path.stat().st_size > _MAX_KEPT_BYTES:
            reading.report(
                clean_name(relative_path),
                f"with the files before it, it has more than {_MAX_KEPT_BYTES:,} bytes; add it on its own",
            )
            continue
        try:
            export = _open_export(path, f"{path.name} in {zip_name}" if zip_name else str(path), role)
        except InputProblem as problem:
            if path.stem.lower() == role or len(candidates) == 1:
                raise
            reading.report(clean_name(relative_path), str(problem))
            continue
        if export is not None and export.kind != "other":
            exports.append(export)
            used_bytes += path.stat().st_size
        elif path.stem.lower() == role:
            raise InputProblem(f"{relative_path} is not a list of tasks, as Label Studio exports it, nor a COCO file")
        elif role is Role.BACKGROUND or path.stem.lower() in tuple(Role):  # not for this role
            continue
        elif path.suffix.lower() in _TABLES:
            reading.report(clean_name(relative_path), "no row of it names a picture, so it is not used")
        elif export is not None and path.suffix:
            reading.report(
                clean_name(relative_path), "it is neither a list of tasks nor a COCO file, so it is not used"
            )
    if len(candidates) > _MAX_CANDIDATES:
        reading.report(
            clean_name(folder.name),
            f"it has {counted(len(candidates), 'file')} that may hold tasks; only {_MAX_CANDIDATES:,} are read; "
            "split it",
        )
    return exports


def _open_export(path: Path, called: str, role: Role) -> _Export | None:
    """Return a file as a parsed export; None if it is not an export.

    Raises:
        InputProblem: the file cannot be parsed.
    """
    text = read_text(path, called, max_bytes=MAX_TEXT_BYTES)
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return _table(text, path, called)
    if suffix in _LINES or _is_lines(text):
        return _Export(
            kind="manifest" if _is_manifest(text) else "tasks",
            path=path,
            called=called,
            read=lambda reading: _read_lines(text, path, called, role, reading),
        )
    value = parse_json(text, called)
    if looks_like_coco(value):
        return _Export(
            kind="coco", path=path, called=called, read=lambda reading: read_coco(value, path.name, role, reading)
        )
    if isinstance(value, Mapping) and value.keys() == _YOLO_NOTES_KEYS:
        return None
    is_tasks = looks_like_tasks(value)
    if isinstance(value, list):  # an empty list is accepted if the file is named after a role
        is_tasks = path.stem.lower() in tuple(Role) or any(looks_like_tasks([entry]) for entry in value)
    kind = "annotation" if is_stored_annotation(value) else "tasks" if is_tasks else "other"
    return _Export(kind=kind, path=path, called=called, read=lambda reading: read_tasks(value, called, reading))


def _table(text: str, path: Path, called: str) -> _Export | None:
    records = csv_tasks.records_of(text, called)
    if not any(looks_like_tasks([record]) for record in records):
        return None

    def read(reading: Reading) -> None:
        for number in csv_tasks.rows_over_lines(records):
            reading.report(
                f"{path.name}, row {number}",
                "a cell of it names a picture and goes over several lines, which are not read as rows; close the quote",
            )
        add_tasks(flat_tasks(records, path.name, reading, noun="row"), reading)

    return _Export(kind="tasks", path=path, called=called, read=read)


def _is_lines(text: str) -> bool:
    """Return whether a text has one JSON object per line. The file's suffix does not matter."""
    lines = text.lstrip().split("\n", 2)
    if len(lines) < 2 or not lines[0].rstrip().endswith("}") or not lines[1].lstrip().startswith("{"):
        return False
    try:
        return isinstance(parse_json(lines[0], ""), dict)
    except InputProblem:
        return False


def _is_manifest(text: str) -> bool:
    """Return whether the first line of a text is one of a manifest."""
    try:
        return manifest_lines.is_manifest_line(parse_json(text.lstrip().partition("\n")[0], ""))
    except InputProblem:
        return False


def _read_lines(text: str, path: Path, called: str, role: Role, reading: Reading) -> None:
    values: list[Any] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append(parse_json(line, f"line {number}"))
        except InputProblem:
            reading.report(f"{path.name}, line {number}", "it is not JSON; export the file again, or mend the line")
    if _is_manifest(text):
        manifest_lines.read_manifest(values, path.name, role, reading)
    else:
        read_tasks(values, called, reading)


def _pictures(files: Sequence[Path]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]


def _is_voc(path: Path) -> bool:
    try:
        return voc_files.parsed(path, path.name) is not None
    except InputProblem:
        return False


def _begins_with_brace(path: Path) -> bool:
    """Return whether a file without a suffix begins with a brace, and so may be an annotation of a target storage."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"{")
    except OSError:
        return False
