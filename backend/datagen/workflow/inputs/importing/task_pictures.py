"""Which pictures a task's data names, and which region was drawn on which of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from datagen.label_studio.mapping.region_parts import MOST_RESULTS

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
#: Characters of a key that are compared with those of a tag that is called otherwise.
_LONGEST_KEY = 200


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
    places = _Places(pictures, config)
    lost = 0
    for entry in entries[:MOST_RESULTS]:
        place = places.of(entry) if isinstance(entry, Mapping) else None
        if place is None:
            lost += 1
        else:
            sorted_out[place].append(entry)
    problems = []
    if len(entries) > MOST_RESULTS:
        problems.append(f"it has more than {MOST_RESULTS:,} results; the rest is not read")
    if lost:
        problems.append(
            "on which of its pictures a region was drawn is not in the file; add the project with --from-project, "
            "whose label config tells it"
        )
    return sorted_out, problems


class _Places:
    """Finds the picture that a region was drawn on, among those of its task."""

    def __init__(self, pictures: Sequence[TaskPicture], config: Mapping[str, str] | None) -> None:
        self._pictures, self._config = pictures, config or {}
        keys = [picture.key if picture.page is None else picture.key.rpartition(" ")[0] for picture in pictures]
        #: the places of each key's pictures
        self._by_key: dict[str, list[int]] = {}
        for place, key in enumerate(keys):
            self._by_key.setdefault(key, []).append(place)
        self._compared = {key: key[:_LONGEST_KEY].casefold() for key in self._by_key}
        #: the places that a region's tag may mean
        self._matching: dict[str, list[int]] = {}

    def of(self, region: Mapping[str, Any]) -> int | None:
        """The place of its picture; None where nobody knows."""
        shown = region.get("to_name")
        shown = shown if isinstance(shown, str) else ""
        if (matching := self._matching.get(shown)) is None:
            matching = self._matching[shown] = self._match(self._config.get(shown, shown))
        if len(matching) == 1:
            return matching[0]
        page = region.get("item_index", 0)
        pages = [place for place in matching if self._pictures[place].page == page]
        return pages[0] if len(pages) == 1 else None

    def _match(self, key: str) -> list[int]:
        """The places of the pictures with that key, else with the only one that is like it."""
        if key in self._by_key:
            return self._by_key[key]
        if len(self._by_key) == 1:
            return list(range(len(self._pictures)))
        if not key:
            return []
        wanted = key[:_LONGEST_KEY].casefold()
        near = [name for name, compared in self._compared.items() if wanted in compared or compared in wanted]
        return self._by_key[near[0]] if len(near) == 1 else []


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
