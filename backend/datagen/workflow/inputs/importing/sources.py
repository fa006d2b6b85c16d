"""What a path given to ``datagen add`` is, and reading it: a file of one of the formats, or a folder that holds one.

A folder is read as the one export that lies in it (Label Studio's JSON, JSONL, CSV, COCO, Pascal VOC, YOLO), else as
its pictures. A zip is such a folder once it is unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datagen.domain.inputs import Role
from datagen.domain.wording import counted
from datagen.errors import InputProblem
from datagen.workflow.inputs.importing import csv_tasks, voc_files, yolo_folders
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
from datagen.workflow.inputs.importing.text_files import MOST_TEXT_BYTES, parse_json, read_text

_JSON, _LINES, _TABLES = frozenset({".json"}), frozenset({".jsonl", ".ndjson"}), frozenset({".csv", ".tsv"})
#: Files that may say what is drawn on the pictures beside them.
EXPORT_SUFFIXES = _JSON | _LINES | _TABLES | {".xml", ".txt", ".yaml", ".yml"}
#: Files of a folder that are opened to see whether they are exports.
_MOST_CANDIDATES = 20_000
#: Bytes of the exports of a folder together: all of them are in memory before the first is read.
_MOST_KEPT_BYTES = 2 * MOST_TEXT_BYTES
#: The keys of the file that Label Studio lays beside its exports of YOLO.
_NOTES_KEYS = frozenset({"categories", "info"})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Export:
    """An export that was found, parsed and ready to be read."""

    #: “tasks”, “annotation” (of a target storage), “coco”, or “other” for JSON of no form that is known
    kind: str
    path: Path
    called: str
    read: Callable[[Reading], None]


def read_file(path: Path, called: str, role: Role, reading: Reading) -> None:
    """Read one file of whatever format.

    Raises:
        InputProblem: it is of none.
    """
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        reading.items.append(Item(where=clean_name(path.name), file=path, name=clean_name(path.name)))
    elif suffix in REFUSED_SUFFIXES:
        reading.tell(clean_name(path.name), refusal(path))
    elif suffix == ".xml":
        voc_files.read_voc([(path, path.name)], role, reading)
    elif suffix in (".yaml", ".yml"):
        files = list(files_below(path.parent))
        yolo_folders.read_yolo(files, _pictures(files), path.parent, reading)
    else:
        export = _opened(path, called, role)
        if export is None:
            raise InputProblem(f"{called} is not a list of tasks, as Label Studio exports it, nor a COCO file")
        export.read(reading)


def read_folder(folder: Path, called: str, role: Role, reading: Reading, *, zipped: bool) -> None:
    """Read a folder: the export in it, else its pictures.

    Raises:
        InputProblem: it holds several exports, or nothing that can be used.
    """
    left_out = LeftOut()
    files = list(files_below(folder, left_out=left_out))
    links = _tell_left_out(left_out, folder, reading)
    exports = _exports(files, folder, called if zipped else "", role, reading)
    own = [export for export in exports if export.path.stem.lower() == role]
    if own or (exports and (zipped or role is not Role.BACKGROUND)):
        for export in _chosen(own or exports, called, role, folder):
            export.read(reading)
        return
    if exports:
        names = examples(export.called for export in exports)
        reading.notes.append(f"all pictures of the folder are added; {names} is not read for backgrounds")
    pictures = _pictures(files)
    if role is not Role.BACKGROUND:
        documents = [path for path in files if path.suffix.lower() == ".xml"]
        if any(map(_is_voc, documents)):  # the damaged ones among the others are told, each by its name
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
            reading.tell(name, refusal(path))
    if not reading.items and not reading.told:
        raise InputProblem(f"{called} has no picture files ({', '.join(sorted(PICTURE_SUFFIXES))}){links}")


def _tell_left_out(left_out: LeftOut, folder: Path, reading: Reading) -> str:
    """Say what was not read of a folder; the end of a sentence on its links, for where nothing else was found."""
    for fault in left_out.unlisted:
        path = Path(str(fault.filename))
        name = clean_name(str(path.relative_to(folder) if path.is_relative_to(folder) else path))
        reading.tell(name, f"the folder cannot be listed ({fault.strerror})")
    if not left_out.links:
        return ""
    names = examples(clean_name(str(path.relative_to(folder))) for path in left_out.links)
    note = f"links to elsewhere are not followed ({names}): copy the files, or name their folder with --images"
    reading.notes.append(note)
    return f"; {note}"


def _chosen(exports: Sequence[_Export], called: str, role: Role, folder: Path) -> Sequence[_Export]:
    """The exports of a folder that are read together."""
    kinds = {export.kind for export in exports}
    if len(exports) == 1 or kinds in ({"coco"}, {"annotation"}):
        return exports
    names = ", ".join(str(export.path.relative_to(folder)) for export in exports[:5])
    raise InputProblem(f"{called} has several task lists ({names}); pack one of them, or name it {role}.json")


def _exports(files: Sequence[Path], folder: Path, zip_name: str, role: Role, reading: Reading) -> list[_Export]:
    """Every file of a folder that is an export. What only looks like one is told."""
    found: list[_Export] = []
    candidates = [path for path in files if path.suffix.lower() in _JSON | _LINES | _TABLES]
    candidates += [path for path in files if not path.suffix and _begins_with_brace(path)]
    kept = 0
    for path in candidates[:_MOST_CANDIDATES]:
        inside = str(path.relative_to(folder))
        if kept + path.stat().st_size > _MOST_KEPT_BYTES:
            reading.tell(
                clean_name(inside),
                f"with the files before it, it has more than {_MOST_KEPT_BYTES:,} bytes; add it on its own",
            )
            continue
        try:
            export = _opened(path, f"{path.name} in {zip_name}" if zip_name else str(path), role)
        except InputProblem as problem:
            if path.stem.lower() == role or len(candidates) == 1:
                raise
            reading.tell(clean_name(inside), str(problem))
            continue
        if export is not None and export.kind != "other":
            found.append(export)
            kept += path.stat().st_size
        elif path.stem.lower() == role:
            raise InputProblem(f"{inside} is not a list of tasks, as Label Studio exports it, nor a COCO file")
        elif role is Role.BACKGROUND or path.stem.lower() in tuple(Role):  # not asked for
            continue
        elif path.suffix.lower() in _TABLES:
            reading.tell(clean_name(inside), "no row of it names a picture, so it is not used")
        elif export is not None and path.suffix:
            reading.tell(clean_name(inside), "it is neither a list of tasks nor a COCO file, so it is not used")
    if len(candidates) > _MOST_CANDIDATES:
        reading.tell(
            clean_name(folder.name),
            f"it has {counted(len(candidates), 'file')} that may hold tasks; only {_MOST_CANDIDATES:,} are read; "
            "split it",
        )
    return found


def _opened(path: Path, called: str, role: Role) -> _Export | None:
    """A file as an export, parsed; None: it is none.

    Raises:
        InputProblem: it cannot be parsed.
    """
    text = read_text(path, called, max_bytes=MOST_TEXT_BYTES)
    suffix = path.suffix.lower()
    if suffix in _TABLES:
        return _table(text, path, called)
    if suffix in _LINES or _is_lines(text):
        return _Export(
            kind="tasks", path=path, called=called, read=lambda reading: _read_lines(text, path, called, reading)
        )
    value = parse_json(text, called)
    if looks_like_coco(value):
        return _Export(
            kind="coco", path=path, called=called, read=lambda reading: read_coco(value, path.name, role, reading)
        )
    if isinstance(value, Mapping) and value.keys() == _NOTES_KEYS:
        return None
    named = looks_like_tasks(value)
    if isinstance(value, list):  # an empty one counts where its name says what it is
        named = path.stem.lower() in tuple(Role) or any(looks_like_tasks([entry]) for entry in value)
    kind = "annotation" if is_stored_annotation(value) else "tasks" if named else "other"
    return _Export(kind=kind, path=path, called=called, read=lambda reading: read_tasks(value, called, reading))


def _table(text: str, path: Path, called: str) -> _Export | None:
    records = csv_tasks.records_of(text, called)
    if not any(looks_like_tasks([record]) for record in records):
        return None

    def read(reading: Reading) -> None:
        for number in csv_tasks.rows_over_lines(records):
            reading.tell(
                f"{path.name}, row {number}",
                "a cell of it names a picture and goes over several lines, which are not read as rows; close the quote",
            )
        add_tasks(flat_tasks(records, path.name, reading, noun="row"), reading)

    return _Export(kind="tasks", path=path, called=called, read=read)


def _is_lines(text: str) -> bool:
    """Whether a text is an object a line, whatever its file is called."""
    lines = text.lstrip().split("\n", 2)
    if len(lines) < 2 or not lines[0].rstrip().endswith("}") or not lines[1].lstrip().startswith("{"):
        return False
    try:
        return isinstance(parse_json(lines[0], ""), dict)
    except InputProblem:
        return False


def _read_lines(text: str, path: Path, called: str, reading: Reading) -> None:
    values: list[Any] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values.append(parse_json(line, f"line {number}"))
        except InputProblem:
            reading.tell(f"{path.name}, line {number}", "it is not JSON; export the file again, or mend the line")
    read_tasks(values, called, reading)


def _pictures(files: Sequence[Path]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in PICTURE_SUFFIXES]


def _is_voc(path: Path) -> bool:
    try:
        return voc_files.parsed(path, path.name) is not None
    except InputProblem:
        return False


def _begins_with_brace(path: Path) -> bool:
    """Whether a file without a suffix may be an annotation of a target storage."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip().startswith(b"{")
    except OSError:
        return False
