"""Destinations of an export on this machine: a zip or a folder. Neither is visible before it is complete.

The export is written to a hidden draft beside its place. An interrupted export leaves the draft, and the next export to
the same place goes on with it: it writes what is missing or differs.
"""

from __future__ import annotations

import fcntl
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, cast

from datagen.errors import StoreError
from datagen.export.continued_file import ContinuedFile
from datagen.export.sinks import INTERRUPTIONS, Sink, cannot_write
from datagen.export.zip_sink import ZipSink

#: Folder in the draft of a folder with the files of the interrupted export that are not part of this one yet.
_FORMER = ".former"


@contextmanager
def local_sink(path: Path) -> Iterator[Sink]:
    """Context manager of a zip (a ``path`` that ends with .zip) or of a folder.

    The export is written to ``draft_of(path)``, which replaces ``path`` when the block ends. If the block fails, what
    was at ``path`` is unchanged, and the draft and newly created folders are removed; after one of ``INTERRUPTIONS``
    they are kept. A folder is replaced only if it is empty or an export.

    Raises:
        StoreError: the path is of the other kind, a folder with other files, or cannot be written, or another process
            exports to it.
    """
    try:
        path = _checked(path)
    except OSError as refusal:
        raise cannot_write(path, refusal) from refusal
    zipped = path.suffix.lower() == ".zip"
    draft = draft_of(path)
    with _parent_folders(path):
        try:
            with _zip(draft, path) if zipped else _folder(draft, path) as sink:
                yield sink
        except OSError as refusal:
            raise cannot_write(path, refusal) from refusal


def draft_of(path: Path) -> Path:
    """Return the path of the draft of an export to ``path``."""
    return path.with_name(f".{path.name}.part")


def _checked(path: Path) -> Path:
    """Return the path at which an export is written.

    Raises:
        StoreError: a file is at the path of a folder or a folder at that of a zip file, or the folder has other files.
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
            with suppress(OSError):  # it was not created, or holds the draft, or another process has added files to it
                folder.rmdir()
        raise


def _lock(descriptor: int, draft: Path, path: Path) -> None:
    """Lock a draft until its descriptor is closed.

    Raises:
        StoreError: another process has locked it, or has completed it since it was opened.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if draft.exists() and os.path.samestat(os.fstat(descriptor), draft.stat()):
            return
    except BlockingIOError:
        pass
    raise StoreError(f"another export to {path} is running; wait until it ends, or choose another place")


@contextmanager
def _zip(draft: Path, path: Path) -> Iterator[Sink]:
    file = ContinuedFile(draft)
    try:
        _lock(file.fileno(), draft, path)
        sink = ZipSink(file, draft.parent)
        try:
            try:
                yield sink
                sink.discard_open()
                sink.finish()
            except BaseException:
                sink.discard_open()
                sink.abandon()
                raise
        except INTERRUPTIONS:
            file.keep()
            raise
        except BaseException:
            draft.unlink()
            raise
        file.truncate_rest()
        os.fsync(file.fileno())
        _replace(draft, path)
    finally:
        file.close()


@contextmanager
def _folder(draft: Path, path: Path) -> Iterator[Sink]:
    draft.mkdir(exist_ok=True)
    descriptor = os.open(draft, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, draft, path)
        try:
            sink = _FolderSink(draft, _set_aside(draft))
            try:
                yield sink
            finally:
                sink.discard_open()
            shutil.rmtree(draft / _FORMER, ignore_errors=True)
            _replace(draft, path)
        except INTERRUPTIONS:
            raise
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _set_aside(draft: Path) -> Path | None:
    """Move the files of an interrupted export to a folder in its draft, and return that; None if there are none."""
    former = draft / _FORMER
    for folder, subfolders, files in os.walk(draft):
        if _FORMER in subfolders:
            subfolders.remove(_FORMER)
        for file in files:
            place = former / Path(folder).relative_to(draft) / file
            place.parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / file).replace(place)
    return former if former.exists() else None


class _FolderSink(Sink):
    """Writes to a draft; equal files of an interrupted export are moved to their place in it."""

    def __init__(self, folder: Path, former: Path | None) -> None:
        super().__init__()
        self.scratch_folder = folder
        self._folder = str(folder)
        self._former = former
        self._made: set[str] = set()

    def write(self, path: str, data: bytes, *, packed: bool = False) -> None:  # noqa: ARG002 - for zips
        place = self._place(path)
        if self._former is not None and self._is_restored(self._former / path, data, place):
            return
        with open(place, "xb", buffering=0) as file:  # noqa: PTH123 - Path takes half the time of a write
            rest = memoryview(data)
            while rest:  # the system writes less than it was given if the disk has room for less, and at 2 GiB
                rest = rest[file.write(rest) :]

    def _create(self, path: str, *, packed: bool) -> IO[bytes]:  # noqa: ARG002 - for zips
        place = Path(self._place(path))
        if self._former is None or not (self._former / path).is_file():
            place.touch(exist_ok=False)
        else:
            (self._former / path).rename(place)
        return cast("IO[bytes]", io.BufferedWriter(ContinuedFile(place)))

    def _place(self, path: str) -> str:
        folder, _, _ = path.rpartition("/")
        if folder not in self._made:
            Path(self._folder, folder).mkdir(parents=True, exist_ok=True)
            self._made.add(folder)
        return f"{self._folder}/{path}"

    @staticmethod
    def _is_restored(former: Path, data: bytes, place: str) -> bool:
        """Move a file of the interrupted export to ``place`` if it holds ``data``, else remove it."""
        try:
            if former.read_bytes() == data:
                former.rename(place)
                return True
            former.unlink()
        except FileNotFoundError:
            pass
        return False
