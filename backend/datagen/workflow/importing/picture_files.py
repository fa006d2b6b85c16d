"""Finding the picture that an address means: beside the source's file, or in the folder of ``--images``.

Only files below these folders are found: links that lead out of them are not followed. A folder is listed once, and
only when a picture does not lie exactly where its address says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from datagen.errors import InputProblem
from datagen.workflow.importing.addresses import paths_of
from datagen.workflow.importing.items import examples, folded

#: Files that a folder is searched for; beyond it, people have given the wrong one.
MOST_FILES = 200_000
_DEEPEST = 24
#: What archives and systems put beside people's files.
_PASSED_OVER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "node_modules"})
#: What Label Studio (Django) takes out of an upload's name; blanks become underscores.
_INVALID = re.compile(r"[^-\w.]")


def files_below(folder: Path, *, most: int = MOST_FILES) -> Iterator[Path]:
    """The regular files below a folder in the order of their names; hidden ones and links to elsewhere are left out.

    Raises:
        InputProblem: there are more than ``most``.
    """
    root = folder.resolve()
    count = 0
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not _is_passed_over(name)) if depth < _DEEPEST else []
        for name in sorted(names):
            path = Path(place, name)
            if _is_passed_over(name) or not _is_inside(path, root):
                continue
            count += 1
            if count > most:
                raise InputProblem(f"{folder} holds more than {most:,} files; give the folder of the pictures alone")
            yield path


@dataclass
class PictureFiles:
    """The files below some folders, by their names."""

    folders: Sequence[Path]
    #: name as it is compared → the paths with that name, relative to their folder
    _by_name: dict[str, list[tuple[Path, tuple[str, ...]]]] = field(default_factory=dict)
    _by_stored_name: dict[str, list[tuple[Path, tuple[str, ...]]]] = field(default_factory=dict)
    _listed: bool = False

    def find(self, address: str) -> Path | None:
        """The file that an address means; None: there is none.

        Raises:
            InputProblem: several files may be meant.
        """
        wanted = paths_of(address)
        for folder in self.folders:
            root = folder.resolve()
            for parts in wanted:
                path = folder.joinpath(*parts)
                try:
                    if path.is_file() and _is_inside(path, root):
                        return path
                except (OSError, ValueError):  # a name too long for the system, for example
                    continue
        self._list()
        for index, key in ((self._by_name, folded), (self._by_stored_name, _stored_name)):
            for parts in wanted:
                if candidates := index.get(key(parts[-1])):
                    return _nearest(candidates, parts)
        return None

    def _list(self) -> None:
        if self._listed:
            return
        self._listed = True
        for folder in self.folders:
            for path in files_below(folder):
                parts = path.relative_to(folder).parts
                self._by_name.setdefault(folded(parts[-1]), []).append((path, parts))
                self._by_stored_name.setdefault(_stored_name(parts[-1]), []).append((path, parts))


def _nearest(candidates: Sequence[tuple[Path, tuple[str, ...]]], wanted: tuple[str, ...]) -> Path:
    """The candidate whose folders are most like those wanted."""
    scored = [(_common(parts, wanted), path) for path, parts in candidates]
    best = max(score for score, _ in scored)
    nearest = list(dict.fromkeys(path.resolve() for score, path in scored if score == best))
    if len(nearest) > 1 and not _are_the_same(nearest):
        names = examples(str(PurePosixPath(*parts)) for _, parts in candidates)
        raise InputProblem(f"several files may be meant ({names}); give the folder of the right ones with --images")
    return next(path for score, path in scored if score == best)


def _are_the_same(paths: Sequence[Path]) -> bool:
    """Whether files hold the same bytes, so that it does not matter which is taken."""
    first, *others = paths
    size = first.stat().st_size
    if size > 64 * 2**20 or any(other.stat().st_size != size for other in others) or len(others) > 10:
        return False
    data = first.read_bytes()
    return all(other.read_bytes() == data for other in others)


def _common(parts: Iterable[str], wanted: Iterable[str]) -> int:
    """How many parts two paths have in common, from their ends."""
    count = 0
    for one, other in zip(reversed(tuple(parts)), reversed(tuple(wanted)), strict=False):
        if folded(one) != folded(other):
            break
        count += 1
    return count


def _stored_name(name: str) -> str:
    return folded(_INVALID.sub("", name.strip().replace(" ", "_")))


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name in _PASSED_OVER


def _is_inside(path: Path, root: Path) -> bool:
    try:
        resolved = path.resolve()
        return resolved.is_file() and resolved.is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False
