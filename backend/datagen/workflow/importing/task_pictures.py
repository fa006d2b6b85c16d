"""Which pictures a task's data names, and which region was drawn on which of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

#: Suffixes of files that people mean as pictures.
PICTURE_LIKE = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".svg", ".heic", ".heif", ".avif", ".jp2"}
)
#: Beginnings of addresses that Label Studio resolves.
_ADDRESSES = (
    "/data/",
    "/tasks/",
    "/storage-data/",
    "http://",
    "https://",
    "s3://",
    "gs://",
    "azure-blob://",
    "file://",
)
#: Names that people give to the key of a picture.
_KEYS = ("image", "img", "picture", "photo", "image_url", "img_url", "image_path", "file", "filename", "url", "path")
#: Characters of an address.
_LONGEST = 4_000
#: Pictures of one task that are read.
_MOST_PICTURES = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPicture:
    """A picture that a task's data names."""

    #: the key in the data; with the page where a key names several
    key: str
    address: str
    page: int | None = None


def pictures_of(data: Mapping[str, Any]) -> list[TaskPicture]:
    """The pictures that a task's data names: ``image`` alone where it is there, else all that look like one."""
    first = data.get("image")
    if isinstance(first, str) and first.strip():
        return [TaskPicture(key="image", address=first.strip()[:_LONGEST])]
    found: list[TaskPicture] = []
    for key, value in data.items():
        pages = value if isinstance(value, list) else _listed(value)
        if pages is None:
            if isinstance(value, str) and _is_address(value, str(key)):
                found.append(TaskPicture(key=str(key), address=value.strip()[:_LONGEST]))
        elif pages and all(isinstance(page, str) and _is_address(page, "") for page in pages):
            found += [
                TaskPicture(key=f"{key} {page + 1}", address=str(address).strip()[:_LONGEST], page=page)
                for page, address in enumerate(pages)
            ]
    if not found:
        named = [key for key in _KEYS if isinstance(data.get(key), str) and data[key].strip()]
        found = [TaskPicture(key=key, address=data[key].strip()[:_LONGEST]) for key in named[:1]]
    return found[:_MOST_PICTURES]


def further_pictures(data: Mapping[str, Any]) -> int:
    """How many pictures a task's data names beside ``image``."""
    if not isinstance(data.get("image"), str):
        return 0
    return len(pictures_of({key: value for key, value in data.items() if key not in ("image", "name")}))


def assigned(
    result: Any, pictures: Sequence[TaskPicture], config: Mapping[str, str] | None
) -> tuple[list[list[Any]], list[str]]:
    """The results of an annotation by the picture they were drawn on, and a sentence for those of which nobody knows.

    Args:
        result: the annotation's.
        pictures: of its task, two or more.
        config: the key of the data that an object tag shows, by the tag's name; None where no label config is known.
    """
    sorted_out: list[list[Any]] = [[] for _ in pictures]
    entries = result if isinstance(result, list) else [result] if isinstance(result, Mapping) else []
    lost = 0
    for entry in entries:
        place = _place(entry, pictures, config) if isinstance(entry, Mapping) else None
        if place is None:
            lost += 1
        else:
            sorted_out[place].append(entry)
    if not lost:
        return sorted_out, []
    return sorted_out, [
        "on which of its pictures a region was drawn is not in the file; add the project with --from-project, "
        "whose label config tells it"
    ]


def _place(entry: Mapping[str, Any], pictures: Sequence[TaskPicture], config: Mapping[str, str] | None) -> int | None:
    shown = entry.get("to_name")
    shown = shown if isinstance(shown, str) else ""
    key = (config or {}).get(shown, shown)
    page = entry.get("item_index", 0)
    keys = [picture.key if picture.page is None else picture.key.rpartition(" ")[0] for picture in pictures]
    matching = [place for place, name in enumerate(keys) if name == key]
    if not matching and len(set(keys)) == 1:
        matching = list(range(len(pictures)))
    if not matching and key:
        near = {name for name in keys if key.casefold() in name.casefold() or name.casefold() in key.casefold()}
        matching = [place for place, name in enumerate(keys) if near == {name}]
    if len(matching) == 1:
        return matching[0]
    pages = [place for place in matching if pictures[place].page == page]
    return pages[0] if len(pages) == 1 else None


def _listed(value: Any) -> list[Any] | None:
    """A list that a CSV file holds as text."""
    if not isinstance(value, str) or value[:1] != "[" or len(value) > _LONGEST * 10:
        return None
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, list) else None


def _is_address(value: str, key: str) -> bool:
    text = value.strip()
    if not text or len(text) > _LONGEST or "\n" in text:
        return False
    try:
        path = urlsplit(text).path
    except ValueError:
        path = text
    suffixes = {PurePosixPath(text).suffix.lower(), PurePosixPath(path).suffix.lower()}
    if suffixes & PICTURE_LIKE:
        return True
    return text.startswith(_ADDRESSES) and (key.casefold() in _KEYS or text.startswith(("/data/", "s3://", "gs://")))
