"""Unpacks zip files with inputs safely into a temporary folder.

A zip is untrusted: the names in it may lead out of the folder, and the declared sizes may be wrong. A name is checked
before its file is written, and the size while the file is written. Only files with the wanted suffixes are unpacked.
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

#: Largest number of entries of a zip.
MAX_ENTRIES = 20_000
#: Largest unpacked size of all files together, bytes.
MAX_BYTES = 8 * 2**30
#: Largest ratio of unpacked to packed size. Pictures are compressed already; even a plain bitmap rarely exceeds it.
HIGHEST_RATIO = 200
#: Unpacked size of a file below which its ratio is not checked, bytes.
SMALL_BYTES = 2**20
#: Unpacked size of all files together below which their ratio is not checked, bytes. This allows a few plain bitmaps.
SMALL_TOGETHER_BYTES = 64 * 2**20
#: Largest central directory of a zip, bytes: one kilobyte per entry.
_MAX_DIRECTORY_BYTES = MAX_ENTRIES * 1024
_DEEPEST, _LONGEST_NAME = 16, 255
#: Longest name of an entry with its folders, bytes. Systems accept 4,096 bytes, with the path of the temporary folder.
_LONGEST_PATH = 1_000
#: Number of bytes of an entry of the central directory before its name, and the bit of the entry's tenth byte that
#: marks the name as UTF-8.
_ENTRY_BYTES, _IS_UTF_8 = 46, 0x08
_ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar"})
_ENCRYPTED = 0x1
_CHUNK = 2**20


@contextmanager
def unpacked(
    path: Path,
    suffixes: frozenset[str],
    max_file_bytes: int,
    report: Callable[[str, str], None],
    *,
    refused: frozenset[str] = frozenset(),
) -> Iterator[Path]:
    """Yield a temporary folder with the zip's files of these suffixes; it is deleted when the block ends.

    ``report`` is called with an entry's name and a reason, if the entry cannot be used or has a suffix of ``refused``.
    The other entries with the wanted suffixes are unpacked under their own names.

    Raises:
        InputProblem: the file is not a zip, or exceeds a limit.
    """
    with ExitStack() as opened:
        try:
            file = opened.enter_context(_PatchedFile(path, _wrong_utf_8_marks(_central_directory(path))))
            archive = opened.enter_context(zipfile.ZipFile(file))
        except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as fault:
            raise InputProblem(f"{path} is not a zip file that can be read ({fault}); pack it again") from None
        folder = opened.enter_context(tempfile.TemporaryDirectory(prefix="datagen-zip-"))
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise InputProblem(f"{path} has {len(entries):,} entries, at most {MAX_ENTRIES:,} are taken; split it")
        _check_total_size(path, [entry for entry in entries if _is_used(entry, suffixes)], Path(folder))
        for entry in entries:
            if entry.is_dir() or _is_metadata(entry.filename):
                continue
            try:
                target = _target_path(entry, Path(folder), suffixes, refused)
                if target is not None:
                    _unpack(archive, entry, target, max_file_bytes)
            except InputProblem as problem:
                report(f"{path.name}, {shown(entry.orig_filename)}", str(problem))
        yield Path(folder)


def shown(name: str) -> str:
    """Return a name on one line, with the control characters escaped."""
    return "".join(
        letter if is_showable(letter) else letter.encode("unicode_escape", "surrogatepass").decode()
        for letter in name[:200]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _CentralDirectory:
    """A zip's central directory (``data``) and its position in the file (``start``).

    ``first`` is the position in the file to which the offsets of entries are relative.
    """

    data: bytes
    start: int
    first: int


def _central_directory(path: Path) -> _CentralDirectory:
    """Return the central directory. Its size is checked first, because Python's zipfile reads all of it at once.

    The end record lies in the last 64 KiB. Zip64, for more than 4 GiB or 65,535 entries, is not supported.

    Raises:
        InputProblem: the file cannot be read, is damaged, or exceeds a limit.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 65_557))
            tail = file.read()
    except OSError as fault:
        raise InputProblem(f"{path} cannot be read: {fault.strerror}") from None
    end_record = tail.rfind(b"PK\x05\x06")
    if end_record < 0 or len(tail) < end_record + 22:
        raise InputProblem(f"{path} is not a zip file, or its end is missing; pack it again")
    directory_bytes = int.from_bytes(tail[end_record + 12 : end_record + 16], "little")
    if b"PK\x06\x07" in tail[max(0, end_record - 20) : end_record] or directory_bytes > _MAX_DIRECTORY_BYTES:
        raise InputProblem(f"{path} has too many entries or is larger than 4 GiB; split it")
    start = size - len(tail) + end_record - directory_bytes
    if start < 0:
        raise InputProblem(f"{path} is damaged: its table of contents is missing; pack it again")
    # offsets are relative to the zip's own beginning; other data may precede it in the file
    first = start - int.from_bytes(tail[end_record + 16 : end_record + 20], "little")
    with path.open("rb") as file:
        file.seek(start)
        return _CentralDirectory(data=file.read(directory_bytes), start=start, first=first)


def _wrong_utf_8_marks(directory: _CentralDirectory) -> list[int]:
    """Return the file positions of marks that declare a name as UTF-8 although it is not.

    Each such name has two marks: in the central directory, and in its local header. One such name makes Python's
    zipfile refuse the whole file. Without the marks, the name is decoded with the code page of old zips.
    """
    data, positions, offset = directory.data, [], 0
    while data[offset : offset + 4] == b"PK\x01\x02" and offset + _ENTRY_BYTES <= len(data):
        name, extra, comment = struct.unpack_from("<HHH", data, offset + 28)
        try:
            data[offset + _ENTRY_BYTES : offset + _ENTRY_BYTES + name].decode()
        except UnicodeDecodeError:
            if data[offset + 9] & _IS_UTF_8:
                positions += [
                    directory.start + offset + 9,
                    directory.first + struct.unpack_from("<I", data, offset + 42)[0] + 7,
                ]
        offset += _ENTRY_BYTES + name + extra + comment
    return positions


class _PatchedFile(io.FileIO):
    """A zip file, read as if the UTF-8 marks at the given positions were cleared. The file itself is not changed."""

    def __init__(self, path: Path, positions: Iterable[int]) -> None:
        super().__init__(path)
        self._positions = sorted(positions)

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next ``size`` bytes, or all remaining ones."""
        offset = self.tell()
        data = super().read(-1 if size is None else size) or b""
        positions = self._positions[
            bisect_left(self._positions, offset) : bisect_left(self._positions, offset + len(data))
        ]
        if not positions:
            return data
        patched = bytearray(data)
        for position in positions:
            patched[position - offset] &= ~_IS_UTF_8
        return bytes(patched)


def _is_used(entry: zipfile.ZipInfo, suffixes: frozenset[str]) -> bool:
    suffix = PurePosixPath(entry.orig_filename).suffix.lower()
    return suffix in suffixes and not entry.is_dir() and not _is_metadata(entry.filename)


def _check_total_size(path: Path, used: list[zipfile.ZipInfo], folder: Path) -> None:
    """Check the total size of all used files; ``_unpack`` checks that none exceeds its declared size.

    Raises:
        InputProblem: the files together exceed a limit, or the free space of the disk.
    """
    declared_size = sum(entry.file_size for entry in used)
    if declared_size > MAX_BYTES:
        raise InputProblem(f"{path} unpacks to more than {MAX_BYTES / 2**30:g} GiB; split it")
    # relative to the size of the zip file, because several entries may refer to the same bytes
    if declared_size > max(SMALL_TOGETHER_BYTES, HIGHEST_RATIO * path.stat().st_size):
        raise InputProblem(
            f"{path} unpacks to {declared_size:,} bytes, more than {HIGHEST_RATIO} times its size, as bombs do; "
            "pack other files, or give the folder itself"
        )
    if declared_size > (free := shutil.disk_usage(folder).free):
        raise InputProblem(
            f"{path} unpacks to {declared_size:,} bytes, and {folder.parent} has room for {free:,}; "
            "set TMPDIR to a folder with more room"
        )


def _is_metadata(name: str) -> bool:
    """Return whether an entry is a metadata file of macOS or Windows."""
    parts = PurePosixPath(name).parts
    return bool(parts) and (
        "__MACOSX" in parts or parts[-1].startswith("._") or parts[-1] in {"Thumbs.db", ".DS_Store"}
    )


def _target_path(
    entry: zipfile.ZipInfo, folder: Path, suffixes: frozenset[str], refused: frozenset[str]
) -> Path | None:
    """Return the path of an entry below ``folder``; None for a file that is skipped.

    Raises:
        InputProblem: the entry cannot be used.
    """
    name = entry.orig_filename  # the complete name: ``filename`` ends at a NUL
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
    """Write one entry, at most with its declared size.

    Raises:
        InputProblem: the entry cannot be unpacked.
    """
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
