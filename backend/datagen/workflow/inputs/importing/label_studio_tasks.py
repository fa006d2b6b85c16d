"""Tasks of Label Studio exports as items. The drawings of a task are those of its newest annotation that is not a skip.

The formats are: the current JSON, the old JSON (``completions``), JSON-MIN, tasks of a CSV file, a single task, and
annotations of a target storage (one file for each annotation). A malformed task is reported and skipped; the others are
read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from datagen.domain.foreign_text import plain
from datagen.errors import InputProblem
from datagen.label_studio.api.models import stamp
from datagen.workflow.inputs.importing.items import MAX_ITEMS, Draw, Item, Reading, clean_name, fixed
from datagen.workflow.inputs.importing.task_pictures import TaskPicture, assigned, further_pictures, pictures_of

#: Keys of a flat record (JSON-MIN, CSV) that Label Studio adds and that are not part of the task's data.
_FLAT_KEYS = frozenset(
    {"id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "predictions", "drafts"}
)
_SKIPPED = "it was only ever skipped, so it is left out"
_LONGEST_CELL = 16 * 2**20


@dataclass(kw_only=True)
class RawTask:
    """A task as read from an export of any format."""

    where: str
    data: dict[str, Any]
    #: the annotations as in the export, not validated
    annotations: list[Any] = field(default_factory=list)
    predictions: int = 0
    drafts: int = 0


def looks_like_tasks(value: Any) -> bool:
    """Return whether a JSON value is a list of tasks, one task, or one annotation of a target storage."""
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(value, list) and not value:
        return True
    if not isinstance(first, Mapping):
        return False
    if isinstance(first.get("tasks"), list) and first is value:
        return bool(first["tasks"]) and looks_like_tasks(first["tasks"])
    if isinstance(first.get("data"), Mapping) or is_stored_annotation(first):
        return True
    return isinstance(value, list) and bool(pictures_of(_flat_data(first)))


def is_stored_annotation(value: Any) -> bool:
    """Return whether a JSON value is an annotation that contains its task, as in a file of a target storage."""
    return isinstance(value, Mapping) and "result" in value and isinstance(value.get("task"), Mapping)


def read_tasks(value: Any, called: str, reading: Reading) -> None:
    """Add the pictures that a parsed export names, with their drawings.

    Raises:
        InputProblem: the value is not a Label Studio export, or contains no task.
    """
    if isinstance(value, Mapping) and not looks_like_tasks(value):
        raise InputProblem(
            f"{called} is not a list of tasks, as Label Studio exports it, nor a COCO file; give one of these"
        )
    if isinstance(value, Mapping) and isinstance(value.get("tasks"), list):
        value = value["tasks"]
    entries = value if isinstance(value, list) else [value]
    if not isinstance(value, list | Mapping):
        raise InputProblem(f"{called} is not a list of tasks, as Label Studio exports it")
    if not entries:
        raise InputProblem(f"{called} names no picture: its list of tasks is empty")
    short = called.rpartition("/")[2] if " in " not in called else called.partition(" in ")[0]
    add_tasks(_raw_tasks(entries, short, reading), reading)


def add_tasks(tasks: Iterable[RawTask], reading: Reading, config: Mapping[str, str] | None = None) -> None:
    """Add the pictures of tasks to ``reading``, with their drawings.

    ``config`` maps the name of an object tag to the key of the task's data that the tag shows. It is None without a
    label config.
    """
    for task in tasks:
        if len(reading.items) >= MAX_ITEMS:
            reading.report(task.where, f"more than {MAX_ITEMS:,} pictures are not read at once; split the file")
            return
        pictures = pictures_of(task.data)
        if not pictures:
            reading.report(task.where, "its data names no picture")
            continue
        if further_pictures(task.data):
            reading.count("tasks that name further pictures beside “image”, which are not used: {n}")
        valid = [entry for entry in task.annotations if isinstance(entry, Mapping)]
        for entry in task.annotations:
            if not isinstance(entry, Mapping):
                reading.notes.append(f"{task.where}: one of its annotations cannot be read, because it is no object")
        submitted = [entry for entry in valid if not _truthy(entry.get("was_cancelled", entry.get("skipped")))]
        if valid and not submitted:
            reading.report(task.where, _SKIPPED)
            continue
        if not submitted and task.predictions:
            reading.count("tasks with predictions only, added without drawings because they are not confirmed: {n}")
        if not submitted and task.drafts:
            reading.count("tasks with a draft that was not submitted, added without drawings: {n}")
        if len(submitted) > 1:
            reading.count("tasks with several annotations, of which the newest is used: {n}")
        newest = max(enumerate(submitted), key=lambda pair: _age_key(*pair), default=(0, None))[1]
        _add_pictures(task, pictures, newest, reading, config)


def flat_tasks(records: Sequence[Any], called: str, reading: Reading, noun: str = "task") -> list[RawTask]:
    """Return the tasks of flat records (JSON-MIN, CSV). The records of several annotations of one task become one task.

    ``called`` is the file's name in messages, and ``noun`` is what a record is called there.
    """
    tasks: dict[str, RawTask] = {}
    for number, record in enumerate(records, start=1):
        where = f"{called}, {noun} {number}"
        if not isinstance(record, Mapping):
            reading.report(where, "it is no task")
            continue
        data = _flat_data(record)
        pictures = pictures_of(data)
        identity = record.get("id")
        key = f"{identity} {[picture.address for picture in pictures]}" if identity not in (None, "") else where
        task = tasks.setdefault(key, RawTask(where=where, data=data))
        regions = [region for name, value in record.items() for region in _flat_regions(str(name), value)]
        has_annotation = record.get("annotation_id") not in (None, "") or regions
        if has_annotation:
            stamps = {name: record.get(name) for name in ("updated_at", "created_at")}
            task.annotations.append({"id": record.get("annotation_id"), "result": regions, **stamps})
    return list(tasks.values())


def _raw_tasks(entries: Sequence[Any], called: str, reading: Reading) -> Iterable[RawTask]:
    flat: list[Any] = []
    for number, entry in enumerate(entries, start=1):
        where = f"{called}, task {number}"
        if is_stored_annotation(entry):
            data = entry["task"].get("data")
            yield RawTask(where=where, data=data if isinstance(data, dict) else {}, annotations=[entry])
        elif isinstance(entry, Mapping) and isinstance(entry.get("data"), Mapping):
            yield _raw_task(entry, where)
        elif isinstance(entry, Mapping) and "data" not in entry:
            flat.append(entry)
            continue
        else:
            reading.report(where, "it has no data that names a picture")
        flat.append(None)  # keeps the numbering
    if any(entry is not None for entry in flat):
        for task in flat_tasks([{} if entry is None else entry for entry in flat], called, reading):
            number = int(task.where.rpartition(" ")[2])
            if flat[number - 1] is not None:
                yield task


def _raw_task(entry: Mapping[str, Any], where: str) -> RawTask:
    annotations: list[Any] = []
    for name in ("annotations", "completions"):
        entries = entry.get(name)
        annotations += entries if isinstance(entries, list) else [entries] if entries is not None else []
    if not annotations and "result" in entry:  # a task with a result of its own
        annotations = [{"result": entry["result"]}]
    return RawTask(
        where=where,
        data=dict(entry["data"]),
        annotations=annotations,
        predictions=_length(entry.get("predictions")),
        drafts=_length(entry.get("drafts")),
    )


def _add_pictures(
    task: RawTask,
    pictures: Sequence[TaskPicture],
    newest: Mapping[str, Any] | None,
    reading: Reading,
    config: Mapping[str, str] | None,
) -> None:
    """Add an item for each picture of a task, with the regions of the annotation ``newest`` that belong to it."""
    data_name = task.data.get("name")
    name = clean_name(data_name).strip() if isinstance(data_name, str) and len(pictures) == 1 else ""
    if newest is None:
        results: list[Draw | None] = [None] * len(pictures)
    elif len(pictures) == 1:
        results = [fixed(newest.get("result"))]
    else:
        by_picture, problems = assigned(newest.get("result"), pictures, config)
        results = [fixed(regions) for regions in by_picture]
        for sentence in problems:
            reading.report(task.where, sentence)
    if newest is not None and newest.get("result") is None:
        reading.report(task.where, "its annotation has no result")
    for picture, draw in zip(pictures, results, strict=True):
        where = task.where if len(pictures) == 1 else f"{task.where}, {picture.key}"
        reading.items.append(Item(where=where, address=picture.address, name=name, draw=draw))


def _flat_data(record: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): value for key, value in record.items() if key not in _FLAT_KEYS and not _flat_regions("", value)}


def _flat_regions(control: str, value: Any) -> list[dict[str, Any]]:
    """Return the regions of a control in a flat record. ``value`` is a list of regions, or the list as JSON text."""
    if isinstance(value, str) and value.lstrip()[:1] == "[" and len(value) <= _LONGEST_CELL:
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    if not isinstance(value, list) or not value or not all(isinstance(entry, Mapping) for entry in value):
        return []
    if not all(_is_region_value(entry) for entry in value):
        return []
    return [
        {
            "from_name": control,
            "to_name": entry.get("to_name"),
            "type": next((key for key in entry if isinstance(key, str) and key.endswith("labels")), ""),
            "value": dict(entry),
        }
        for entry in value
    ]


def _is_region_value(entry: Mapping[str, Any]) -> bool:
    return any(key in entry for key in ("x", "points", "rle", "vertices", "imageDataURL")) or any(
        isinstance(key, str) and key.endswith("labels") for key in entry
    )


def _age_key(position: int, annotation: Mapping[str, Any]) -> tuple[str, int, int]:
    """Return a key by which annotations sort from old to new: time of the last change, then id, then position."""
    number = annotation.get("id")
    when = _sortable_time(annotation.get("updated_at")) or _sortable_time(annotation.get("created_at"))
    return when, number if isinstance(number, int) and not isinstance(number, bool) else 0, position


def _sortable_time(value: Any) -> str:
    """Return a time as text that sorts by time, or "" if it is invalid. Old exports have seconds since 1970."""
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e11:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        return stamp(value)
    except (ValueError, OverflowError):
        return ""


def _truthy(value: Any) -> bool:
    return plain(value).strip().lower() in ("true", "1", "yes") if isinstance(value, str) else bool(value)


def _length(value: Any) -> int:
    return len(value) if isinstance(value, list) else 0
