"""Finding the picture that an address means: beside the source's file, or in the folder of ``--images``.

Only files below these folders are found: links that lead out of them are not followed. A folder is listed once, and
only when a picture does not lie exactly where its address says.
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

#: Files that a folder is searched for; beyond it, people have given the wrong one.
MOST_FILES = 200_000
_DEEPEST = 24
#: Files of one name that are compared by their bytes, and the size up to which they are.
_MOST_ALIKE, _MOST_COMPARED_BYTES = 11, 64 * 2**20
#: What archives and systems put beside people's files.
_PASSED_OVER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini", "node_modules"})
#: What Label Studio (Django) takes out of an upload's name; blanks become underscores.
_INVALID = re.compile(r"[^-\w.]")


@dataclass
class LeftOut:
    """What was not read of a folder."""

    #: links to what lies outside of it, or to nothing
    links: list[Path] = field(default_factory=list)
    #: folders that cannot be listed
    unlisted: list[OSError] = field(default_factory=list)


def files_below(folder: Path, *, most: int = MOST_FILES, left_out: LeftOut | None = None) -> Iterator[Path]:
    """The regular files below a folder in the order of their names; hidden ones and links to elsewhere are left out.

    The links, and folders that cannot be listed, are noted in ``left_out``.

    Raises:
        InputProblem: there are more than ``most``.
    """
    root = folder.resolve()
    count = 0
    left_out = left_out if left_out is not None else LeftOut()
    for place, folders, names in os.walk(folder, onerror=left_out.unlisted.append):
        depth = len(Path(place).relative_to(folder).parts)
        below = [Path(place, name) for name in sorted([*folders, *names]) if not _is_passed_over(name)]
        left_out.links += [path for path in below if _leads_out(path, root)]
        folders[:] = sorted(name for name in folders if not _is_passed_over(name)) if depth < _DEEPEST else []
        for name in sorted(names):
            path = Path(place, name)
            if _is_passed_over(name) or not _is_inside(path, root):
                continue
            count += 1
            if count > most:
                raise InputProblem(f"{folder} holds more than {most:,} files; give the folder of the pictures alone")
            yield path


@dataclass(frozen=True, slots=True, order=True)
class _Listed:
    """A file below one of the folders, in the order of its path read from its end."""

    #: the parts of its path below the folder as they are compared, the name first
    reversed: tuple[str, ...]
    #: its place in the listing
    number: int
    path: Path = field(compare=False)
    shown: str = field(compare=False)


@dataclass
class PictureFiles:
    """The files below some folders, by their names."""

    folders: Sequence[Path]
    #: by the name of the file as it is, and as Label Studio stores it
    _indices: list[list[_Listed]] = field(default_factory=list)
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
        for index, name_of in zip(self._indices, (folded, _stored_name), strict=True):
            for parts in wanted:
                if (found := _nearest(index, _reversed(parts, name_of))) is not None:
                    return found
        return None

    def _list(self) -> None:
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
    """The file of that name whose folders are most like those wanted; None: none has the name.

    The files that have most in common with a path, read from the end, stand together where it would stand itself.

    Raises:
        InputProblem: several are.
    """
    at = bisect_left(index, wanted, key=lambda file: file.reversed)
    best = max((_common(file.reversed, wanted) for file in index[max(0, at - 1) : at + 1]), default=0)
    if not best or not wanted[0]:
        return None
    first = bisect_left(index, wanted[:best], key=lambda file: file.reversed)
    alike = [file for file in index[first : first + _MOST_ALIKE + 1] if file.reversed[:best] == wanted[:best]]
    alike.sort(key=lambda file: file.number)
    nearest = list(dict.fromkeys(file.path.resolve() for file in alike))
    if len(alike) > _MOST_ALIKE or (len(nearest) > 1 and not _are_the_same(nearest)):
        names = examples(file.shown for file in alike)
        raise InputProblem(f"several files may be meant ({names}); give the folder of the right ones with --images")
    return alike[0].path


def _are_the_same(paths: Sequence[Path]) -> bool:
    """Whether files hold the same bytes, so that it does not matter which is taken."""
    first, *others = paths
    try:
        size = first.stat().st_size
        if size > _MOST_COMPARED_BYTES or any(other.stat().st_size != size for other in others):
            return False
        data = first.read_bytes()
        return all(other.read_bytes() == data for other in others)
    except OSError:  # what cannot be read is not known to be the same
        return False


def _common(one: Iterable[str], other: Iterable[str]) -> int:
    """How many parts two paths have in common, from their beginnings."""
    count = 0
    for part, wanted in zip(one, other, strict=False):
        if part != wanted:
            break
        count += 1
    return count


def _stored_name(name: str) -> str:
    return folded(_INVALID.sub("", name.strip().replace(" ", "_")))


def _is_passed_over(name: str) -> bool:
    return name.startswith(".") or name in _PASSED_OVER


def _is_inside(path: Path, root: Path) -> bool:
    """Whether it is a regular file below ``root``, whatever links lead to it."""
    try:
        resolved = path.resolve()
        return resolved.is_file() and resolved.is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False


def _leads_out(path: Path, root: Path) -> bool:
    """Whether it is a link to what lies outside of ``root``, or to nothing."""
    try:
        return path.is_symlink() and not (path.exists() and path.resolve().is_relative_to(root))
    except (OSError, RuntimeError, ValueError):
        return True
