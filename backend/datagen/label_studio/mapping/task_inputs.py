"""Reader of a study's inputs from the tasks of its projects, or of any other project or tab.

The workflow, not this module, decides whether an input can be used."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote, urlsplit

from datagen.domain.foreign_text import plain
from datagen.label_studio.api.models import Result, Task

#: Length of the random prefix in the name of an uploaded file: eight hexadecimal digits. A dash and the original name
#: follow it.
_PREFIX_LENGTH = 8

#: Largest number of characters of an image's URL that are kept. A database column holds no more, and servers refuse
#: longer URLs.
LONGEST_ADDRESS = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RawInput:
    """One input image, with its newest annotation."""

    task_id: int
    #: a URL, or a path on Label Studio; empty for a task without an image
    image_url: str
    #: the file's original name
    name: str
    #: the result of the newest annotation; None without one
    result: Result | None
    updated_at: str = ""
    #: the id of the newest annotation; None without one
    annotation_id: int | None = None


def read_tasks(tasks: Iterable[Task]) -> Iterator[RawInput]:
    """Yield the input of each task, with its newest annotation that is not a skip.

    A task that has only skips is left out.
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
            updated_at=newest.updated_at if newest else "",
            annotation_id=newest.id if newest else None,
        )


def image_of(task: Task) -> str:
    """The URL of a task's image: ``image`` in its data, or else the only value in its data that looks like a URL."""
    if isinstance(task.data.get("image"), str):
        return str(task.data["image"]).strip()
    addresses = [value for value in task.data.values() if isinstance(value, str) and _looks_like_address(value)]
    return addresses[0].strip() if len(addresses) == 1 else ""


def _looks_like_address(value: str) -> bool:
    return value.startswith(("/data/", "/tasks/", "http://", "https://", "s3://", "gs://", "azure-blob://"))


def name_of(task: Task) -> str:
    """The name of a task's input: ``name`` in its data, else the original file name, else “task” and the task's id."""
    given = task.data.get("name")
    if isinstance(given, str) and given.strip():
        return plain(given).strip()
    try:
        address = urlsplit(image_of(task))
    except ValueError:  # not a valid URL: the download will report it
        return f"task {task.id}"
    query = parse_qs(address.query)
    if address.path.endswith("/resolve/") and "fileuri" in query:  # an object in a storage, served by Label Studio
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
