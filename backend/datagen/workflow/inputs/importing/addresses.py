"""What an address in an export may be called on disk: the paths to look for, most exact first.

Pure: an address goes in, relative paths come out. None of them is opened here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

#: How Label Studio names an upload: eight hexadecimal digits before the name it was given.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def paths_of(address: str) -> list[tuple[str, ...]]:
    """The relative paths that an address may have on disk, as parts; without “.” and “..”, each once."""
    found: dict[tuple[str, ...], None] = {}
    for text in _texts(address, depth=2):
        parts = tuple(part for part in text.split("/") if part not in ("", ".", "..")) if "\0" not in text else ()
        if parts:
            found.setdefault(parts)
    for parts in list(found):
        if shorter := _UPLOAD_PREFIX.sub("", parts[-1]):
            found.setdefault((*parts[:-1], shorter))
    return list(found)


def is_on_a_server(address: str) -> bool:
    """Whether an address names a place elsewhere, such as ``s3://…``, and not a file or a path on Label Studio."""
    return bool(_SCHEME.match(address)) and not address.lower().startswith("file://")


def is_label_studio_path(address: str) -> bool:
    """Whether an address is a path that Label Studio serves files at."""
    return address.startswith(("/data/upload/", "/data/local-files/", "/tasks/", "/storage-data/", "/data/avatars/"))


def _texts(address: str, depth: int) -> Iterator[str]:
    """The address as it is, and everything that is encoded in it."""
    text = address.strip()
    yield from _spellings(text)
    if not depth:
        return
    try:
        url = urlsplit(text)
        query = parse_qs(url.query, max_num_fields=50)
    except ValueError:
        return
    for name in ("d", "filepath", "path"):
        for value in query.get(name, [])[:1]:
            yield from _texts(value, depth - 1)
    for value in query.get("fileuri", [])[:1]:
        if decoded := _from_base64(value):
            yield from _texts(decoded, depth - 1)
    if url.scheme or url.query:
        yield from _spellings(url.path)


def _spellings(text: str) -> Iterator[str]:
    """A path as it is and decoded, with slashes of either kind."""
    for one in (text, unquote(text), unquote_plus(text)):
        yield one
        if "\\" in one:
            yield _DRIVE.sub("", one).replace("\\", "/")


def _from_base64(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""
