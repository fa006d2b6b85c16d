"""Where a study's inputs come from: the tasks of a desk, or of any other project and tab, as plain values.

Reads; decides nothing: whether an input can be used is for the workflow to find out.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from datagen.domain.foreign_text import plain
from datagen.label_studio.api.models import Result, Task

#: How an upload is named on disk: eight hexadecimal digits before the name it was given.
_PREFIX_LENGTH = 8

#: Characters of an image's address that are kept: a column holds no more, and no server takes one that long.
LONGEST_ADDRESS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RawInput:
    """One image that people gave, and what they drew on it or answered."""

    task_id: int
    #: an address, or a path on Label Studio; empty when the task has no image
    image_url: str
    #: the file's name as people know it
    name: str
    #: the newest annotation's result; None when nobody submitted one
    result: Result | None
    #: who submitted it
    completed_by: str = ""
    updated_at: str = ""
    #: which annotation it is; None when nobody submitted one
    annotation_id: int | None = None


def read_tasks(tasks: Iterable[Task]) -> Iterator[RawInput]:
    """The inputs in these tasks: of each task the newest annotation that is no skip.

    A task that was only ever skipped is left out.
    """
    for task in tasks:
        newest = task.newest
        if newest is None and task.annotations:
            continue
        yield RawInput(
            task_id=task.id,
            image_url=image_of(task)[:LONGEST_ADDRESS],
            name=name_of(task),
            result=newest.result if newest else None,
            completed_by=newest.completed_by if newest else "",
            updated_at=newest.updated_at if newest else "",
            annotation_id=newest.id if newest else None,
        )


def image_of(task: Task) -> str:
    """The address of a task's image: ``image`` in its data, else the only value there that looks like one."""
    if isinstance(task.data.get("image"), str):
        return str(task.data["image"]).strip()
    looks = [value for value in task.data.values() if isinstance(value, str) and _looks_like_address(value)]
    return looks[0].strip() if len(looks) == 1 else ""


def _looks_like_address(value: str) -> bool:
    return value.startswith(("/data/", "/tasks/", "http://", "https://", "s3://", "gs://", "azure-blob://"))


def name_of(task: Task) -> str:
    """What the task says its name is, else the file's name as people know it, else the task's number."""
    given = task.data.get("name")
    if isinstance(given, str) and given.strip():
        return plain(given).strip()
    try:
        address = urlsplit(image_of(task))
    except ValueError:  # an address that is none: fetching it will say so
        return f"task {task.id}"
    query = parse_qs(address.query)
    if address.path.endswith("/resolve/") and "fileuri" in query:  # a storage's object, by way of Label Studio
        path = _decoded(query["fileuri"][0])
    else:
        path = query.get("d", [unquote(address.path)])[0]
    name = PurePosixPath(path).name
    prefix, dash, rest = name.partition("-")
    if address.path.startswith("/data/upload/") and dash and len(prefix) == _PREFIX_LENGTH and rest:
        name = rest
    return plain(name) or f"task {task.id}"  # %00 in an address is NUL


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""
