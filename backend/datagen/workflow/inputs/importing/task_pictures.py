"""Pictures in a task's data, and the assignment of regions to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from datagen.label_studio.mapping.region_parts import MAX_RESULTS

#: Suffixes of picture files, of any format.
PICTURE_LIKE = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".svg", ".heic", ".heif", ".avif", ".jp2"}
)
#: Prefixes of addresses that Label Studio resolves.
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
#: Keys under which a task's data commonly names a picture.
_KEYS = ("image", "img", "picture", "photo", "image_url", "img_url", "image_path", "file", "filename", "url", "path")
#: Longest address of a picture, in characters.
_LONGEST = 4_000
#: Largest number of pictures that are read of one task.
_MAX_PICTURES = 500
#: Number of characters to which keys are cut before similar ones are searched.
_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPicture:
    """A picture that a task's data names."""

    #: the key in the data that names the picture. If it names several, the number of the page is appended
    key: str
    address: str
    page: int | None = None


def pictures_of(data: Mapping[str, Any]) -> list[TaskPicture]:
    """Return the pictures that a task's data names.

    If ``image`` is a text, return only this picture. Otherwise return every value that looks like the address of a
    picture. If there is none, return the value of the first key of ``_KEYS`` that is a text.
    """
    first = data.get("image")
    if isinstance(first, str) and first.strip():
        return [TaskPicture(key="image", address=first.strip()[:_LONGEST])]
    pictures: list[TaskPicture] = []
    for key, value in data.items():
        pages = value if isinstance(value, list) else _list_from_text(value)
        if pages is None:
            if isinstance(value, str) and _is_address(value, str(key)):
                pictures.append(TaskPicture(key=str(key), address=value.strip()[:_LONGEST]))
        elif pages and all(isinstance(page, str) and _is_address(page, "") for page in pages):
            pictures += [
                TaskPicture(key=f"{key} {page + 1}", address=str(address).strip()[:_LONGEST], page=page)
                for page, address in enumerate(pages)
            ]
    if not pictures:
        named_keys = [key for key in _KEYS if isinstance(data.get(key), str) and data[key].strip()]
        pictures = [TaskPicture(key=key, address=data[key].strip()[:_LONGEST]) for key in named_keys[:1]]
    return pictures[:_MAX_PICTURES]


def further_pictures(data: Mapping[str, Any]) -> int:
    """Return the number of pictures that a task's data names besides ``image``."""
    if not isinstance(data.get("image"), str):
        return 0
    return len(pictures_of({key: value for key, value in data.items() if key not in ("image", "name")}))


def assigned(
    result: Any, pictures: Sequence[TaskPicture], config: Mapping[str, str] | None
) -> tuple[list[list[Any]], list[str]]:
    """Assign the results of an annotation to the pictures of its task.

    Return a list of results for each picture, and sentences about results that cannot be assigned or are too many.

    Args:
        result: the annotation's result.
        pictures: the two or more pictures of its task.
        config: maps the name of an object tag to the key of the data that it shows; None without a label config.
    """
    by_picture: list[list[Any]] = [[] for _ in pictures]
    entries = result if isinstance(result, list) else [result] if isinstance(result, Mapping) else []
    matcher = _Places(pictures, config)
    unassigned_count = 0
    for entry in entries[:MAX_RESULTS]:
        index = matcher.of(entry) if isinstance(entry, Mapping) else None
        if index is None:
            unassigned_count += 1
        else:
            by_picture[index].append(entry)
    problems = []
    if len(entries) > MAX_RESULTS:
        problems.append(f"it has more than {MAX_RESULTS:,} results; the rest is not read")
    if unassigned_count:
        problems.append(
            "on which of its pictures a region was drawn is not in the file; add the project with --from-project, "
            "whose label config contains it"
        )
    return by_picture, problems


class _Places:
    """Finds the picture that a region was drawn on, among those of its task."""

    def __init__(self, pictures: Sequence[TaskPicture], config: Mapping[str, str] | None) -> None:
        self._pictures, self._config = pictures, config or {}
        keys = [picture.key if picture.page is None else picture.key.rpartition(" ")[0] for picture in pictures]
        #: key in the data → indices of its pictures
        self._by_key: dict[str, list[int]] = {}
        for index, key in enumerate(keys):
            self._by_key.setdefault(key, []).append(index)
        self._compared = {key: key[:_LONGEST_KEY].casefold() for key in self._by_key}
        #: name of an object tag → indices of the pictures that it may show
        self._matching: dict[str, list[int]] = {}

    def of(self, region: Mapping[str, Any]) -> int | None:
        """Return the index of a region's picture; None if it is unknown."""
        tag = region.get("to_name")
        tag = tag if isinstance(tag, str) else ""
        if (matching := self._matching.get(tag)) is None:
            matching = self._matching[tag] = self._match(self._config.get(tag, tag))
        if len(matching) == 1:
            return matching[0]
        page = region.get("item_index", 0)
        pages = [index for index in matching if self._pictures[index].page == page]
        return pages[0] if len(pages) == 1 else None

    def _match(self, key: str) -> list[int]:
        """Return the indices of the pictures with this key.

        If there is no such key, return those of the only key, or of the only similar key; empty if there is none.
        """
        if key in self._by_key:
            return self._by_key[key]
        if len(self._by_key) == 1:
            return list(range(len(self._pictures)))
        if not key:
            return []
        compared_key = key[:_LONGEST_KEY].casefold()
        similar = [
            name for name, compared in self._compared.items() if compared_key in compared or compared in compared_key
        ]
        return self._by_key[similar[0]] if len(similar) == 1 else []


def _list_from_text(value: Any) -> list[Any] | None:
    """Return the list that a value of a CSV file holds as JSON text; None if it holds none."""
    if not isinstance(value, str) or value[:1] != "[" or len(value) > _LONGEST * 10:
        return None
    try:
        parsed = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, list) else None


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
