"""The paths that a picture may have on disk, from its address in an export; the most exact one is first.

The functions are pure; no path is opened here.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from urllib.parse import parse_qs, unquote, unquote_plus, urlsplit

#: Prefix that Label Studio adds to the name of an upload: eight hexadecimal digits.
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-(?=.)")
_DRIVE = re.compile(r"^[A-Za-z]:(?=[\\/])")
_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*://")


def paths_of(address: str) -> list[tuple[str, ...]]:
    """Return the relative paths that an address may have on disk, the most exact one first.

    Each path is a tuple of its parts, without “.” and “..”. The paths are distinct.
    """
    paths: dict[tuple[str, ...], None] = {}
    for text in _texts(address, depth=2):
        parts = tuple(part for part in text.split("/") if part not in ("", ".", "..")) if "\0" not in text else ()
        if parts:
            paths.setdefault(parts)
    for parts in list(paths):
        if shorter := _UPLOAD_PREFIX.sub("", parts[-1]):
            paths.setdefault((*parts[:-1], shorter))
    return list(paths)


def is_on_a_server(address: str) -> bool:
    """Return whether an address names another server, as ``s3://…`` does, and not a file or a path on Label Studio."""
    return bool(_SCHEME.match(address)) and not address.lower().startswith("file://")


def is_label_studio_path(address: str) -> bool:
    """Return whether an address is a path at which Label Studio serves files."""
    return address.startswith(("/data/upload/", "/data/local-files/", "/tasks/", "/storage-data/", "/data/avatars/"))


def _texts(address: str, depth: int) -> Iterator[str]:
    """Yield the address itself and every path that is encoded in it."""
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
    """Yield a path as it is and percent-decoded, both also with slashes in place of backslashes."""
    for spelling in (text, unquote(text), unquote_plus(text)):
        yield spelling
        if "\\" in spelling:
            yield _DRIVE.sub("", spelling).replace("\\", "/")


def _from_base64(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError:
        return ""
