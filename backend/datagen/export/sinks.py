"""Destinations of an export on this machine: a zip or a folder. Neither is visible before it is complete.

A destination gets whole files (``write``) and files that are written in pieces, of which several may be open at a time
(``open``). Its paths have forward slashes. Equal calls give equal bytes.
"""

from __future__ import annotations

import io
import os
import secrets
import shutil
import tempfile
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, cast

from datagen.errors import StoreError

#: Bytes that are copied at a time.
_PIECE = 2**16

#: Date of every entry of a zip: the earliest that the format allows. It is constant, so that equal samples give equal
#: bytes.
_DATE = (1980, 1, 1, 0, 0, 0)

#: Unix permissions of every entry of a zip: a regular file that everyone may read.
_PERMISSIONS = 0o100644 << 16


class Sink(ABC):
    """Receives the files of one export, each once."""

    def __init__(self) -> None:
        self._opened: list[IO[bytes]] = []

    @abstractmethod
    def write(self, path: str, data: bytes, *, packed: bool = False) -> None:
        """Write a whole file; ``packed`` data (PNG, JPEG) is not compressed further.

        Raises:
            FileExistsError: there is a file of this path in the export already.
        """

    def open(self, path: str, *, packed: bool = False) -> IO[bytes]:
        """Return a new file to be written in pieces, which is complete once it is closed.

        Raises:
            FileExistsError: there is a file of this path in the export already.
        """
        file = self._create(path, packed=packed)
        self._opened.append(file)
        return file

    def scratch(self) -> IO[bytes]:
        """Return a temporary file beside the export; it is removed when it is closed, at the end of the export."""
        file = self._create_scratch()
        self._opened.append(file)
        return file

    def discard_open(self) -> None:
        """Close what is still open; a file that was not closed by its writer does not become part of the export."""
        for file in self._opened:
            if isinstance(file, _ZipEntryFile):
                file.discard()
            else:
                file.close()
        self._opened.clear()

    @abstractmethod
    def _create(self, path: str, *, packed: bool) -> IO[bytes]:
        """Return a new file of the export."""

    @abstractmethod
    def _create_scratch(self) -> IO[bytes]:
        """Return a new temporary file."""


@contextmanager
def local_sink(path: Path) -> Iterator[Sink]:
    """Context manager of a zip (a ``path`` that ends with .zip) or of a folder.

    The export is written to a draft beside ``path``, which replaces it when the block ends. If the block fails, the
    draft and newly created folders are removed, and what was at ``path`` is unchanged. A folder is replaced only if it
    is empty or an export.

    Raises:
        StoreError: the path is of the other kind, a folder with other files, or cannot be written.
    """
    try:
        path = _checked(path)
    except OSError as refusal:
        raise cannot_write(path, refusal) from refusal
    zipped = path.suffix.lower() == ".zip"
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with _parent_folders(path):
        try:
            with _zip(draft) if zipped else _folder(draft) as sink:
                yield sink
            _replace(draft, path)
        except OSError as refusal:
            raise cannot_write(path, refusal) from refusal
        finally:
            if zipped:
                draft.unlink(missing_ok=True)
            else:
                shutil.rmtree(draft, ignore_errors=True)


def _checked(path: Path) -> Path:
    """Return the path at which an export is written.

    Raises:
        StoreError: the path is of the other kind, or a folder with other files.
        OSError: the file system refuses the name.
    """
    zipped = path.suffix.lower() == ".zip"
    if not path.is_dir():
        if not zipped and path.exists():
            raise StoreError(f"{path} is a file; name a folder to write, or a file that ends with .zip")
        return path
    if zipped:
        raise StoreError(f"{path} is a folder; name the file to write, e.g. {path / 'dataset.zip'}")
    if any(path.iterdir()) and not (path / "manifest.jsonl").is_file():
        raise StoreError(f"{path} is a folder with other files, no export; name a new folder")
    return path.resolve()  # “.” has no name, and a link is not the folder that is replaced


def cannot_write(place: object, refusal: OSError) -> StoreError:
    """Return the error of an export whose destination refuses a write."""
    return StoreError(f"{place} cannot be written: {refusal}; choose another place, or make room")


def _replace(draft: Path, path: Path) -> None:
    if not path.is_dir():
        draft.replace(path)
        return
    former = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")  # a folder with files cannot be replaced
    path.rename(former)
    try:
        draft.rename(path)
    except BaseException:
        if not path.exists():
            former.rename(path)
        raise
    shutil.rmtree(former)


@contextmanager
def _parent_folders(path: Path) -> Iterator[None]:
    """Create a file's missing parent folders; remove them again if the block fails.

    Raises:
        StoreError: the folders cannot be created.
    """
    missing = [folder for folder in path.parents if not folder.exists()]  # innermost first
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as refusal:
            raise cannot_write(path, refusal) from refusal
        yield
    except BaseException:
        for folder in missing:
            with suppress(OSError):  # it was not created, or another process has added files to it
                folder.rmdir()
        raise


@contextmanager
def _zip(draft: Path) -> Iterator[Sink]:
    with draft.open("xb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            sink = _ZipSink(archive, draft.parent)
            try:
                yield sink
            finally:
                sink.discard_open()
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _folder(draft: Path) -> Iterator[Sink]:
    draft.mkdir()
    sink = _FolderSink(draft)
    try:
        yield sink
    finally:
        sink.discard_open()


class _ZipSink(Sink):
    def __init__(self, archive: zipfile.ZipFile, scratch_folder: Path) -> None:
        super().__init__()
        self._archive = archive
        self._scratch_folder = scratch_folder

    def write(self, path: str, data: bytes, *, packed: bool = False) -> None:
        self._archive.writestr(self._entry(path, packed), data)

    def add_file(self, path: str, file: IO[bytes], *, packed: bool) -> None:
        """Add the content of a file as one entry of any size."""
        file.seek(0)
        with self._archive.open(self._entry(path, packed), "w", force_zip64=True) as entry:
            shutil.copyfileobj(file, entry, _PIECE)

    def _create(self, path: str, *, packed: bool) -> IO[bytes]:
        return cast("IO[bytes]", _ZipEntryFile(self, self._create_scratch(), path, packed))

    def _create_scratch(self) -> IO[bytes]:
        return cast("IO[bytes]", tempfile.TemporaryFile(dir=self._scratch_folder))

    def _entry(self, path: str, packed: bool) -> zipfile.ZipInfo:
        if path in self._archive.NameToInfo:
            raise FileExistsError(f"{path} comes twice")
        entry = zipfile.ZipInfo(path, _DATE)
        entry.external_attr = _PERMISSIONS
        entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
        return entry


class _ZipEntryFile(io.RawIOBase):
    """An entry that is written in pieces: a temporary file until it is closed, as a zip takes one entry at a time."""

    def __init__(self, sink: _ZipSink, file: IO[bytes], path: str, packed: bool) -> None:
        super().__init__()
        self._sink, self._file, self._path, self._packed = sink, file, path, packed

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        if not self._file.closed:
            with self._file:
                self._sink.add_file(self._path, self._file, packed=self._packed)
        super().close()

    def discard(self) -> None:
        """Close it without an entry in the zip."""
        self._file.close()
        super().close()


class _FolderSink(Sink):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = str(folder)
        self._made: set[str] = set()

    def write(self, path: str, data: bytes, *, packed: bool = False) -> None:  # noqa: ARG002 - for zips
        with open(self._place(path), "xb", buffering=0) as file:  # noqa: PTH123 - Path takes half the time of a write
            rest = memoryview(data)
            while rest:  # the system writes less than it was given if the disk has room for less, and at 2 GiB
                rest = rest[file.write(rest) :]

    def _create(self, path: str, *, packed: bool) -> IO[bytes]:  # noqa: ARG002 - for zips
        return Path(self._place(path)).open("xb")

    def _create_scratch(self) -> IO[bytes]:
        return cast("IO[bytes]", tempfile.TemporaryFile(dir=self._folder))

    def _place(self, path: str) -> str:
        folder, _, _ = path.rpartition("/")
        if folder not in self._made:
            Path(self._folder, folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        return f"{self._folder}/{path}"
