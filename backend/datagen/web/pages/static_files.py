"""The files of the pages that are the same for everyone: style sheet, script and icon. They are read once."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file, its media type, and the beginning of its digest."""

    data: bytes
    media_type: str
    version: str


class StaticFiles:
    """The files by their names."""

    def __init__(self) -> None:
        self._files = {
            path.name: StaticFile(data, _TYPES[path.suffix], hashlib.sha256(data).hexdigest()[:12])
            for path in sorted(_FOLDER.iterdir())
            if path.suffix in _TYPES and (data := path.read_bytes())
        }

    def get(self, name: str) -> StaticFile | None:
        """Return a file; None if there is none of that name."""
        return self._files.get(name)

    def version(self, name: str) -> str:
        """Return what changes in a file's address when its content does."""
        return self._files[name].version
