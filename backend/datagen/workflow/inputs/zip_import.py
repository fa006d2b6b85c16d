"""Inputs that come as a zip: unpacked into a temporary folder, as far as they can be trusted.

A zip is written by whoever made it: its names may point anywhere, and its sizes may lie. So names are checked before
anything is written, sizes while it is. Only pictures and JSON files come out; what else lies in it is passed over.
"""

from __future__ import annotations

import io
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from datagen.domain.foreign_text import is_showable
from datagen.errors import InputProblem

#: More entries than a study has use for.
MOST_ENTRIES = 20_000
#: Bytes of all files together, unpacked.
MOST_BYTES = 8 * 2**30
#: Unpacked over packed size: pictures are packed already, and even a plain bitmap rarely goes beyond.
HIGHEST_RATIO = 200
#: Below this size the ratio of a file says nothing, bytes …
SMALL_BYTES = 2**20
#: … nor that of all files together below this: a few plain bitmaps.
SMALL_TOGETHER_BYTES = 64 * 2**20
#: Bytes of a zip's table of contents: a kilobyte an entry is plenty.
_MOST_CONTENTS_BYTES = MOST_ENTRIES * 1024
_DEEPEST, _LONGEST_NAME = 16, 255
#: Bytes of a name with its folders; systems take 4,096, and the temporary folder is in front of it.
_LONGEST_PATH = 1_000
#: Bytes of an entry in the table of contents, in front of its name; the bit that marks a name as UTF-8, in the tenth.
_ENTRY_BYTES, _IS_UTF_8 = 46, 0x08
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar"})
_ENCRYPTED = 0x1
_CHUNK = 2**20


@contextmanager
def unpacked(
    path: Path,
    suffixes: frozenset[str],
    max_file_bytes: int,
    tell: Callable[[str, str], None],
    *,
    refused: frozenset[str] = frozenset(),
) -> Iterator[Path]:
    """A temporary folder with the zip's files of these suffixes; it is gone afterwards.

    Each entry that cannot be used, and each with a suffix of ``refused``, is passed to ``tell`` with the reason; the
    others are there, under their own names.

    Raises:
        InputProblem: the file is no zip, or too much of one.
    """
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_Unmarked(path, _wrong_marks(_contents(path))))
            archive = opened.enter_context(zipfile.ZipFile(file))
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as fault:
            raise InputProblem(f"{path} is not a zip file that can be read ({fault}); pack it again") from None
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="datagen-zip-"))
        entries = archive.infolist()
        if len(entries) > MOST_ENTRIES:
            raise InputProblem(f"{path} has {len(entries):,} entries, at most {MOST_ENTRIES:,} are taken; split it")
        _check_together(path, [entry for entry in entries if _is_used(entry, suffixes)], Path(folder))
        for entry in entries:
            if entry.is_dir() or _is_chaff(entry.filename):
                continue
            try:
                target = _place(entry, Path(folder), suffixes, refused)
                if target is not None:
                    _unpack(archive, entry, target, max_file_bytes)
            except InputProblem as problem:
                tell(f"{path.name}, {shown(entry.orig_filename)}", str(problem))
        yield Path(folder)


def shown(name: str) -> str:
    """A name as it is, but on one line and without what a terminal would obey."""
    return "".join(
        one if is_showable(one) else one.encode("unicode_escape", "surrogatepass").decode() for one in name[:200]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contents:
    """A zip's table of contents, where it begins, and where its first entry's offset is counted from."""

    data: bytes
    start: int
    first: int


def _contents(path: Path) -> _Contents:
    """The table of contents, if it is of a size to be read: Python's zipfile reads the whole of it at once.

    The end record stands in the last 64 KiB; the format's extension beyond 4 GiB or 65,535 entries is not needed here.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 65_557))
            tail = file.read()
    except OSError as fault:
        raise InputProblem(f"{path} cannot be read: {fault.strerror}") from None
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        raise InputProblem(f"{path} is not a zip file, or its end is missing; pack it again")
    contents = int.from_bytes(tail[at + 12 : at + 16], "little")
    if b"PK\x06\x07" in tail[max(0, at - 20) : at] or contents > _MOST_CONTENTS_BYTES:
        raise InputProblem(f"{path} has too many entries or is larger than 4 GiB; split it")
    start = size - len(tail) + at - contents
    if start < 0:
        raise InputProblem(f"{path} is damaged: its table of contents is missing; pack it again")
    # entries count from where the zip began before anything was put in front of it
    first = start - int.from_bytes(tail[at + 16 : at + 20], "little")
    with path.open("rb") as file:
        file.seek(start)
        return _Contents(data=file.read(contents), start=start, first=first)


def _wrong_marks(contents: _Contents) -> list[int]:
    """The places in the file where a name is marked as UTF-8 that is none, in the contents and before the entry.

    At one such name Python's zipfile refuses the whole file; unmarked, it is read in the code page of old zips.
    """
    data, places, at = contents.data, [], 0
    while data[at : at + 4] == b"PK\x01\x02" and at + _ENTRY_BYTES <= len(data):
        name, extra, comment = struct.unpack_from("<HHH", data, at + 28)
        try:
            data[at + _ENTRY_BYTES : at + _ENTRY_BYTES + name].decode()
        except UnicodeDecodeError:
            if data[at + 9] & _IS_UTF_8:
                places += [contents.start + at + 9, contents.first + struct.unpack_from("<I", data, at + 42)[0] + 7]
        at += _ENTRY_BYTES + name + extra + comment
    return places


class _Unmarked(io.FileIO):
    """A zip's file that reads as if the marks at some places were not set."""

    def __init__(self, path: Path, places: Iterable[int]) -> None:
        super().__init__(path)
        self._places = sorted(places)

    def read(self, size: int | None = -1, /) -> bytes:
        """The next ``size`` bytes, or all that are left."""
        at = self.tell()
        data = super().read(-1 if size is None else size) or b""
        places = self._places[bisect_left(self._places, at) : bisect_left(self._places, at + len(data))]
        if not places:
            return data
        other = bytearray(data)
        for place in places:
            other[place - at] &= ~_IS_UTF_8
        return bytes(other)


def _is_used(entry: zipfile.ZipInfo, suffixes: frozenset[str]) -> bool:
    suffix = PurePosixPath(entry.orig_filename).suffix.lower()
    return suffix in suffixes and not entry.is_dir() and not _is_chaff(entry.filename)


def _check_together(path: Path, used: list[zipfile.ZipInfo], folder: Path) -> None:
    """That all files together are of a size to be unpacked; none gives more than it announces, see ``_unpack``."""
    announced = sum(entry.file_size for entry in used)
    if announced > MOST_BYTES:
        raise InputProblem(f"{path} unpacks to more than {MOST_BYTES / 2**30:g} GiB; split it")
    # over the file's own size: what entries say of theirs may be the same bytes again and again
    if announced > max(SMALL_TOGETHER_BYTES, HIGHEST_RATIO * path.stat().st_size):
        raise InputProblem(
            f"{path} unpacks to {announced:,} bytes, more than {HIGHEST_RATIO} times its size, as bombs do; "
            "pack other files, or give the folder itself"
        )
    if announced > (free := shutil.disk_usage(folder).free):
        raise InputProblem(
            f"{path} unpacks to {announced:,} bytes, and {folder.parent} has room for {free:,}; "
            "set TMPDIR to a folder with more room"
        )


def _is_chaff(name: str) -> bool:
    """What macOS and Windows put beside the pictures."""
    parts = PurePosixPath(name).parts
    return bool(parts) and (
        "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in {"Thumbs.db", ".DS_Store"}
    )


def _place(entry: zipfile.ZipInfo, folder: Path, suffixes: frozenset[str], refused: frozenset[str]) -> Path | None:
    """Where an entry goes below ``folder``; None for a file that is passed over."""
    name = entry.orig_filename  # as it stands in the file: Python cuts the other one at a NUL
    parts = name.split("/")
    if not all(map(is_showable, name)):
        raise InputProblem("its name has characters that cannot be shown; rename it")
    if "\\" in name or name.startswith("/") or ":" in parts[0] or ".." in parts or "." in parts or "" in parts:
        raise InputProblem("its name leads out of the archive; pack the folder again")
    longest = max(len(part.encode()) for part in parts)
    if len(parts) > _DEEPEST or longest > _LONGEST_NAME or len(name.encode()) > _LONGEST_PATH:
        raise InputProblem("its name is too long or too deep; rename it")
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise InputProblem("it is a link or a device, not a file; pack the file itself")
    suffix = PurePosixPath(name).suffix.lower()
    if suffix in _ARCHIVES:
        raise InputProblem("it is an archive in the archive; unpack it first")
    if suffix in refused:
        raise InputProblem("Label Studio takes no file of this name; save it as PNG and add that")
    if suffix not in suffixes:
        return None
    target = folder.joinpath(*parts)
    if not target.resolve().is_relative_to(folder.resolve()):
        raise InputProblem("its name leads out of the archive; pack the folder again")
    if target.exists():
        raise InputProblem("there are two of that name; the first one is used")
    return target


def _unpack(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, max_bytes: int) -> None:
    """Write one entry, and not more than it announced."""
    if entry.flag_bits & _ENCRYPTED:
        raise InputProblem("it is encrypted; pack it without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputProblem("it is packed in an uncommon way; pack it as an ordinary zip")
    if entry.file_size > max(SMALL_BYTES, HIGHEST_RATIO * entry.compress_size):
        raise InputProblem(f"it unpacks to more than {HIGHEST_RATIO} times its size, as bombs do; pack another file")
    most = min(max_bytes, entry.file_size)
    size = 0
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as packed, target.open("xb") as file:
            while size <= most and (chunk := packed.read(_CHUNK)):
                size += len(chunk)
                file.write(chunk)
    except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError, zlib.error) as damage:
        target.unlink(missing_ok=True)
        raise InputProblem(f"it is damaged ({shown(str(damage))}); pack it again") from None
    except (FileExistsError, NotADirectoryError):
        raise InputProblem("a file and a folder have the same name; rename one") from None
    except OSError as refusal:
        target.unlink(missing_ok=True)
        raise InputProblem(f"it cannot be written to {target.parent} ({refusal.strerror})") from None
    if size > most:
        target.unlink()
        raise InputProblem(f"it unpacks to more than {most:,} bytes; use a smaller file")
