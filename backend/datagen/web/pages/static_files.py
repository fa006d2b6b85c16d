"""The static files of the pages: style sheet, scripts, icon, and third-party files.

``scripts/third_party/fetch.py`` puts the third-party files into a separate folder. Without them the pages work, and
link to whole pictures instead of opening the viewer.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from datagen.web.pages.compression import packed

_FOLDER = Path(__file__).parent / "static"
#: Folder of the third-party files, and the list of their packages.
_THIRD_PARTY, _PACKAGES = "third_party", "packages.json"
_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
#: The picture viewer: its program and its style sheet.
VIEWER = ("photoswipe.js", "photoswipe.css")


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file, as it is and compressed by gzip, its media type, and the beginning of its digest."""

    data: bytes
    packed: bytes
    media_type: str
    version: str


@dataclass(frozen=True, slots=True)
class Package:
    """A third-party package whose files the pages use, and the text of its licence."""

    name: str
    version: str
    #: identifier of the licence, as SPDX lists it
    licence: str
    text: str


class StaticFiles:
    """The files by their names. They are read once."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        self._files = {
            path.name: StaticFile(data, packed(data), _TYPES[path.suffix], hashlib.sha256(data).hexdigest()[:12])
            for path in sorted([*folder.glob("*.*"), *folder.glob(f"{_THIRD_PARTY}/*.*")])
            if path.suffix in _TYPES and (data := path.read_bytes())
        }
        self.packages = tuple(_packages(folder / _THIRD_PARTY))

    def get(self, name: str) -> StaticFile | None:
        """Return a file; None if there is none of that name."""
        return self._files.get(name)

    def version(self, name: str) -> str:
        """Return the version of a file, which is part of its address and changes with its content."""
        return self._files[name].version

    @property
    def has_viewer(self) -> bool:
        """Whether the picture viewer was fetched when the package was built or set up."""
        return all(name in self._files for name in VIEWER)


def _packages(folder: Path) -> list[Package]:
    listed = folder / _PACKAGES
    if not listed.is_file():
        return []
    return [
        Package(entry["name"], entry["version"], entry["licence"], (folder / entry["text"]).read_text(encoding="utf-8"))
        for entry in json.loads(listed.read_text(encoding="utf-8"))
    ]
