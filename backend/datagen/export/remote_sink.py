"""Destinations of an export in an object store or on another machine: a folder or a zip.

A folder is written file by file, several at a time, and goes on after an interruption: what is there and equal is not
written again. While it is not complete, it holds the file ``UNFINISHED``. A zip is one object, which becomes visible
when it is complete, and is begun anew after an interruption: an object store cannot append to an object, and fsspec has
no interface to continue the upload of an earlier process.
"""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Protocol

from datagen.errors import InputProblem, StoreError, StoreUnavailable
from datagen.export.sinks import DeferringSink, Sink, cannot_write
from datagen.export.zip_sink import ZipSink

#: Name of the file in a folder whose export is not complete; it holds the choice that is exported.
UNFINISHED = "export.unfinished"
#: Number of files that are written at the same time. An object store takes tens of milliseconds for one, but serves
#: many at a time.
WRITTEN_AT_A_TIME = 16


class RemoteFolder(Protocol):
    """A folder in an object store, whose files are visible only when they are complete. Its text is its address.

    Every method raises StoreUnavailable if the store cannot be used.
    """

    def names(self) -> set[str]:
        """Return the names of the files and folders in the folder itself."""
        ...

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None if there is none."""
        ...

    def holds(self, path: str, data: bytes) -> bool:
        """Return whether a file holds exactly ``data``."""
        ...

    def holds_file(self, path: str, file: IO[bytes]) -> bool:
        """Return whether a file has the content of ``file``."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or replace it."""
        ...

    def write_file(self, path: str, file: IO[bytes]) -> None:
        """Write a file of any size with the content of ``file``, or replace it."""
        ...

    def stream(self, path: str) -> AbstractContextManager[IO[bytes]]:
        """Context manager of a file that is written in pieces."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file, if there is one."""
        ...

    def remove_all(self, except_for: str) -> None:
        """Remove all files but this one."""
        ...


def check_remote(folder: RemoteFolder, choice: str, *, overwrite: bool) -> bool:
    """Check that ``choice`` can be exported to a folder; return whether this goes on with an interrupted export.

    Args:
        folder: the destination.
        choice: a text that is equal for exports with files of the same names.
        overwrite: whether an export that is there is removed.

    Raises:
        InputProblem: there is an export, or an interrupted one of another choice, and ``overwrite`` is false.
        StoreError: there are other files, which are never removed.
    """
    names = folder.names()
    if not names:
        return False
    unfinished = folder.read(UNFINISHED)
    if unfinished is None and "manifest.jsonl" not in names:
        raise StoreError(f"{folder} holds other files, no export; name a new folder")
    if unfinished == choice.encode():
        return True
    if overwrite:
        return False
    if unfinished is not None:
        raise InputProblem(
            f"{folder} holds an interrupted export with other options; go on with the same options, "
            "or replace it with --overwrite"
        )
    raise InputProblem(f"{folder} holds an export already; name another folder, or replace it with --overwrite")


@contextmanager
def remote_folder_sink(folder: RemoteFolder, choice: str, *, overwrite: bool = False) -> Iterator[Sink]:
    """Context manager of a folder as the destination of an export; see ``check_remote``.

    If the block fails, the files are left for the next export of the same choice, which goes on.

    Raises:
        InputProblem: see ``check_remote``.
        StoreError: see ``check_remote``, or the store cannot be used.
    """
    resumed = check_remote(folder, choice, overwrite=overwrite)
    if not resumed:
        # first, so that an export that is interrupted while files are removed can be replaced, too
        folder.write(UNFINISHED, choice.encode())
        folder.remove_all(except_for=UNFINISHED)
    with ThreadPoolExecutor(WRITTEN_AT_A_TIME, thread_name_prefix="export-to") as pool:
        sink = _RemoteSink(folder, pool, resumed=resumed)
        with _scratch_reported():
            try:
                yield sink
                sink.wait()
            finally:
                pool.shutdown(cancel_futures=True)
                sink.discard_open()
    folder.remove(UNFINISHED)


@contextmanager
def remote_zip_sink(folder: RemoteFolder, name: str, *, overwrite: bool = False) -> Iterator[Sink]:
    """Context manager of the zip ``name`` in a folder as the destination of an export.

    If the block fails, nothing is left of it, and an older zip of this name is unchanged.

    Raises:
        InputProblem: there is one already, and ``overwrite`` is false.
        StoreUnavailable: the store cannot be used. If it stops answering in the middle, the sentence names a folder, to
            which an export goes on after an interruption.
        StoreError: a temporary file cannot be written.
    """
    if not overwrite and name in folder.names():
        raise InputProblem(f"{folder}/{name} exists already; name another file, or replace it with --overwrite")
    try:
        with _zip_stream(folder, name) as sink:
            yield sink
    except StoreUnavailable as refusal:
        raise StoreUnavailable(f"{refusal}; {begins_anew(f'{folder}/{name}')}", refusal.reason) from refusal


def begins_anew(zip_url: str) -> str:
    """Return a sentence on an interrupted zip in an object store, and on what goes on in its place."""
    return (
        f"nothing is left of {zip_url}, and the next export to it begins anew. After an interruption an export "
        f"goes on in the folder {zip_url[: -len('.zip')]}, and so does a zip on this machine"
    )


@contextmanager
def _zip_stream(folder: RemoteFolder, name: str) -> Iterator[Sink]:
    with folder.stream(name) as stream:
        sink = ZipSink(stream)
        try:
            with _scratch_reported():
                yield sink
                sink.discard_open()
                sink.finish()
        except BaseException:
            sink.discard_open()
            sink.abandon()
            raise


@contextmanager
def _scratch_reported() -> Iterator[None]:
    """Context manager that turns errors of temporary files, the only local ones, into a sentence."""
    try:
        yield
    except OSError as refusal:
        raise cannot_write(f"a temporary file in {tempfile.gettempdir()}", refusal) from refusal


class _RemoteSink(DeferringSink):
    def __init__(self, folder: RemoteFolder, pool: ThreadPoolExecutor, *, resumed: bool) -> None:
        super().__init__()
        self._folder, self._pool, self._resumed = folder, pool, resumed
        self._pending: deque[Future[None]] = deque()

    def write(self, path: str, data: bytes, *, packed: bool = False) -> None:  # noqa: ARG002 - for zips
        """Write a whole file in a thread; its error is raised by a later call."""
        self._pending.append(self._pool.submit(self._put, path, data))
        while len(self._pending) > WRITTEN_AT_A_TIME or (self._pending and self._pending[0].done()):
            self._pending.popleft().result()

    def add_file(self, path: str, file: IO[bytes], *, packed: bool) -> None:  # noqa: ARG002 - for zips
        """Write the content of a temporary file."""
        if not (self._resumed and self._folder.holds_file(path, file)):
            self._folder.write_file(path, file)

    def wait(self) -> None:
        """Wait until everything is written."""
        while self._pending:
            self._pending.popleft().result()

    def _put(self, path: str, data: bytes) -> None:
        if not (self._resumed and self._folder.holds(path, data)):
            self._folder.write(path, data)
