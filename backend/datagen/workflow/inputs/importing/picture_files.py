"""Finding the file that an address refers to: beside the source's file, or in the folder of ``--images``.

Only files below these folders are found. Links that lead out of them are not followed. A folder is listed at most once.
It is not listed if every picture is at the exact path of its address.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from datagen.errors import InputProblem
from datagen.workflow.inputs.importing.addresses import paths_of
from datagen.workflow.inputs.importing.items import examples, folded

#: Largest number of files in a folder. If a folder has more, the user probably named the wrong one.
MAX_FILES = 200_000
_DEEPEST = 24
#: Files of one name are compared by their bytes if there are at most this many, and if none has more than this many
#: bytes.
_MAX_ALIKE, _MAX_COMPARED_BYTES = 11, 64 * 2**20
#: Metadata files and folders of archives and systems, which are skipped.
_METADATA_NAMES = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "node_modules"})
#: Characters that Label Studio (Django) removes from an upload's name; blanks become underscores.
_INVALID = re.compile(r"[^-\w.]")


@dataclass
class LeftOut:
    """Links and folders that were not read."""

    #: broken links, and links that lead out of the folder
    links: list[Path] = field(default_factory=list)
    #: folders that cannot be listed
    unlisted: list[OSError] = field(default_factory=list)


def files_below(folder: Path, *, most: int = MAX_FILES, left_out: LeftOut | None = None) -> Iterator[Path]:
    """Yield the regular files below a folder, in the order of their names.

    Hidden files, and links that lead out of the folder, are left out. Such links, and folders that cannot be listed,
    are recorded in ``left_out``.

    Raises:
        InputProblem: there are more than ``most`` files.
    """
    root = folder.resolve()
    count = 0
    left_out = left_out if left_out is not None else LeftOut()
    for parent, folders, names in os.walk(folder, onerror=left_out.unlisted.append):
        depth = len(Path(parent).relative_to(folder).parts)
        entries = [Path(parent, name) for name in sorted([*folders, *names]) if not _is_skipped(name)]
        left_out.links += [path for path in entries if _leads_out(path, root)]
        folders[:] = sorted(name for name in folders if not _is_skipped(name)) if depth < _DEEPEST else []
        for name in sorted(names):
            path = Path(parent, name)
            if _is_skipped(name) or not _is_inside(path, root):
                continue
            count += 1
            if count > most:
                raise InputProblem(f"{folder} holds more than {most:,} files; give the folder of the pictures alone")
            yield path


@dataclass(frozen=True, slots=True, order=True)
class _Listed:
    """A file below one of the folders, ordered by its reversed path."""

    #: the normalized parts of its path below the folder, in reverse order: the file's name is first
    reversed: tuple[str, ...]
    #: its position in the listing
    number: int
    path: Path = field(compare=False)
    shown: str = field(compare=False)


@dataclass
class PictureFiles:
    """Index of the files below some folders by name."""

    folders: Sequence[Path]
    #: two lists of the same files, each sorted: by the file's own name, and by the name that Label Studio gives an
    #: upload
    _indices: list[list[_Listed]] = field(default_factory=list)
    _listed: bool = False

    def find(self, address: str) -> Path | None:
        """Return the file that an address refers to; None if there is none.

        Raises:
            InputProblem: the address is ambiguous.
        """
        candidates = paths_of(address)
        for folder in self.folders:
            root = folder.resolve()
            for parts in candidates:
                path = folder.joinpath(*parts)
                try:
                    if path.is_file() and _is_inside(path, root):
                        return path
                except (OSError, ValueError):  # a name too long for the system, for example
                    continue
        self._build_indices()
        for index, name_of in zip(self._indices, (folded, _stored_name), strict=True):
            for parts in candidates:
                if (nearest := _nearest(index, _reversed(parts, name_of))) is not None:
                    return nearest
        return None

    def _build_indices(self) -> None:
        if self._listed:
            return
        self._listed = True
        files = [(path, path.relative_to(folder)) for folder in self.folders for path in files_below(folder)]
        self._indices = [
            sorted(
                _Listed(_reversed(inside.parts, name_of), number, path, inside.as_posix())
                for number, (path, inside) in enumerate(files)
            )
            for name_of in (folded, _stored_name)
        ]


def _reversed(parts: Sequence[str], name_of: Callable[[str], str]) -> tuple[str, ...]:
    *folders, name = parts
    return (name_of(name), *map(folded, reversed(folders)))


def _nearest(index: Sequence[_Listed], wanted: tuple[str, ...]) -> Path | None:
    """Return the file that has the wanted name and shares most folders with the wanted path.

    Return None if no file has the name. ``index`` is sorted by reversed paths, and ``wanted`` is a reversed path. The
    files that share most parts with ``wanted`` are therefore next to its position in the index.

    Raises:
        InputProblem: several files match equally well.
    """
    position = bisect_left(index, wanted, key=lambda file: file.reversed)
    best = max((_common(file.reversed, wanted) for file in index[max(0, position - 1) : position + 1]), default=0)
    if not best or not wanted[0]:
        return None
    first = bisect_left(index, wanted[:best], key=lambda file: file.reversed)
    matches = [file for file in index[first : first + _MAX_ALIKE + 1] if file.reversed[:best] == wanted[:best]]
    matches.sort(key=lambda file: file.number)
    resolved = list(dict.fromkeys(file.path.resolve() for file in matches))
    if len(matches) > _MAX_ALIKE or (len(resolved) > 1 and not _have_same_bytes(resolved)):
        names = examples(file.shown for file in matches)
        raise InputProblem(f"several files may be meant ({names}); give the folder of the right ones with --images")
    return matches[0].path


def _have_same_bytes(paths: Sequence[Path]) -> bool:
    """Return whether all files have the same bytes."""
    first, *others = paths
    try:
        size = first.stat().st_size
        if size > _MAX_COMPARED_BYTES or any(other.stat().st_size != size for other in others):
            return False
        data = first.read_bytes()
        return all(other.read_bytes() == data for other in others)
    except OSError:  # an unreadable file is not known to be the same
        return False


def _common(first: Iterable[str], second: Iterable[str]) -> int:
    """Return the length of the common prefix of two sequences of parts."""
    count = 0
    for part, counterpart in zip(first, second, strict=False):
        if part != counterpart:
            break
        count += 1
    return count


def _stored_name(name: str) -> str:
    return folded(_INVALID.sub("", name.strip().replace(" ", "_")))


def _is_skipped(name: str) -> bool:
    return name.startswith(".") or name in _METADATA_NAMES


def _is_inside(path: Path, root: Path) -> bool:
    """Return whether a path is a regular file below ``root`` after all links are resolved."""
    try:
        resolved = path.resolve()
        return resolved.is_file() and resolved.is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False


def _leads_out(path: Path, root: Path) -> bool:
    """Return whether a path is a broken link or a link out of ``root``."""
    try:
        return path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root))
    except (OSError, RuntimeError, ValueError):
        return True
