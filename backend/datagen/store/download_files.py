"""The files of downloads: zips in the folder ``downloads`` of the image store, until they are removed.

All processes of an installation reach the image store, so a worker on one machine writes a zip that the web process on
another sends. ``workflow.studies.destinations`` writes them; here they are read in pieces and removed.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import structlog
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from datagen.errors import StoreError, StoreMissing, StoreUnavailable
from datagen.store.filesystems import open_filesystem
from datagen.store.refusals import is_absence, refusal_of

#: Name of the folder in the image store.
FOLDER = "downloads"
#: Bytes that are read at a time.
PIECE_BYTES = 2**20
#: Format of a file's name. Only a text in this format becomes a path, so that no path leads out of the folder.
_NAME = re.compile(r"[0-9a-f]{16,64}\.zip")

T = TypeVar("T")

log = structlog.get_logger()


class DownloadFiles:
    """The files, in the image store under the fsspec URL ``store_url``.

    Raises:
        StoreError: the installed packages cannot open the URL.
    """

    def __init__(self, store_url: str) -> None:
        self._url = f"{store_url.rstrip('/')}/{FOLDER}"
        self._opened: tuple[int, AbstractFileSystem, str] | None = None
        self._filesystem()

    def place(self, name: str) -> str:
        """Return the place that a zip is exported to: a path of this machine, or an fsspec URL."""
        _check(name)
        filesystem, root = self._filesystem()
        return f"{root if isinstance(filesystem, LocalFileSystem) else self._url}/{name}"

    def size(self, name: str) -> int:
        """Return the size of a file in bytes.

        Raises:
            StoreMissing: there is no such file.
            StoreUnavailable: the store does not answer.
        """
        _check(name)

        def size(filesystem: AbstractFileSystem, root: str) -> int:
            return int(filesystem.info(f"{root}/{name}")["size"])

        return self._run(size)

    def pieces(self, name: str, start: int, stop: int) -> Iterator[bytes]:
        """Yield the bytes ``start`` to ``stop - 1`` of a file, at most ``PIECE_BYTES`` at a time.

        Raises:
            StoreMissing: there is no such file any more.
            StoreUnavailable: the store does not answer.
            StoreError: the file is shorter.
        """
        _check(name)
        while start < stop:
            piece = self._piece(name, start, min(start + PIECE_BYTES, stop))
            if not piece:
                raise StoreError(f"the file {name} ends after {start:,} bytes; make the download again")
            yield piece
            start += len(piece)

    def remove(self, name: str) -> None:
        """Remove a file and the draft of an unfinished one; do nothing if there is neither.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        _check(name)

        def remove(filesystem: AbstractFileSystem, root: str) -> None:
            for each in (name, f".{name}.part", f"{name}.part"):
                try:
                    filesystem.rm_file(f"{root}/{each}")
                except FileNotFoundError as absent:
                    if not is_absence(absent):
                        raise

        self._run(remove)

    def free_bytes(self) -> int | None:
        """Return the free room of the disk that the files lie on; None for an object store, which has no limit."""
        filesystem, root = self._filesystem()
        if not isinstance(filesystem, LocalFileSystem):
            return None
        folder = next((path for path in (Path(root), *Path(root).parents) if path.exists()), Path("/"))
        return self._run(lambda *_: shutil.disk_usage(folder).free)

    def _piece(self, name: str, start: int, stop: int) -> bytes:
        def read(filesystem: AbstractFileSystem, root: str) -> bytes:
            piece: bytes = filesystem.cat_file(f"{root}/{name}", start=start, end=stop)
            return piece

        return self._run(read)

    def _run(self, operation: Callable[[AbstractFileSystem, str], T]) -> T:
        """Run an operation on the folder; errors of drivers, of any class, become StoreUnavailable."""
        filesystem, root = self._filesystem()
        try:
            return operation(filesystem, root)
        except Exception as fault:
            if isinstance(fault, FileNotFoundError) and is_absence(fault):
                raise StoreMissing(
                    "the file of this download is not in the image store any more; make it again"
                ) from fault
            log.warning("download_files.unavailable", error=f"{type(fault).__name__}: {fault}")
            refusal = refusal_of(fault)
            raise StoreUnavailable(
                f"the files of downloads cannot be used: {refusal.reason}; {refusal.remedy}", refusal.reason
            ) from fault

    def _filesystem(self) -> tuple[AbstractFileSystem, str]:
        """Return the filesystem and its root. Each process opens its own: S3's connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *open_filesystem(self._url))
        return self._opened[1], self._opened[2]


def _check(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise StoreError(f"{name[:80]!r} is no name of a download's file")
