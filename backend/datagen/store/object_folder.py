"""A folder in an object store or on another machine, under an fsspec URL, to which whole files are written.

A file is not visible under its name before it is complete. The stores of ``WHOLE_PUT`` promise this themselves; in
others a file is written under a name that ends with ``.part``, and renamed.
"""

from __future__ import annotations

import base64
import hashlib
import posixpath
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any, TypeVar, cast

import stamina
import structlog
from fsspec.spec import AbstractFileSystem

from datagen.errors import StoreUnavailable
from datagen.store.filesystems import open_filesystem
from datagen.store.refusals import is_absence, refusal_of

#: URL schemes of stores that show an object only once it is complete.
WHOLE_PUT = ("s3", "s3a", "gs", "gcs")
#: Bytes of a stream that are uploaded at a time. S3 takes 10,000 parts, so a stream may have 640 GB.
_PART_BYTES = 2**26
#: Bytes that are compared at a time.
_PIECE = 2**20
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')

T = TypeVar("T")

log = structlog.get_logger()


class ObjectFolder:
    """Files under a URL, by their paths in it.

    Args:
        url: the folder.
        setting: the name of the setting or option with the URL, for error messages.
        patience_s: seconds for which a call is repeated while the store does not answer or refuses. Before the first
            file is written, nothing is repeated: a wrong URL and missing rights are reported at once.

    Raises:
        StoreError: the installed packages cannot open the URL.
    """

    def __init__(self, url: str, *, setting: str, patience_s: float = 0.0) -> None:
        self._filesystem, self._root = open_filesystem(url, setting=setting)
        self._url, self._setting, self._patience_s = url, setting, patience_s
        self._is_whole_put = url.partition("://")[0] in WHOLE_PUT
        self._has_written = False

    def __str__(self) -> str:
        """Return the URL."""
        return self._url

    def names(self) -> set[str]:
        """Return the names of the files and folders in the folder itself; without such a folder there are none."""

        def listed(filesystem: AbstractFileSystem) -> set[str]:
            try:
                paths = filesystem.ls(self._root, detail=False)
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise
                return set()
            names = {posixpath.basename(path.rstrip("/")) for path in paths if path.strip("/") != self._root.strip("/")}
            return names - {""}

        return self._run(listed)

    def read(self, path: str) -> bytes | None:
        """Return the content of a file; None if there is none."""

        def read(filesystem: AbstractFileSystem) -> bytes | None:
            try:
                return cast("bytes", filesystem.cat_file(self._place(path)))
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise
                return None

        return self._run(read)

    def holds(self, path: str, data: bytes) -> bool:
        """Return whether a file holds exactly ``data``; it is read only if the store has no MD5 of it."""

        def holds(filesystem: AbstractFileSystem) -> bool:
            details = self._details(filesystem, path)
            if details is None or details["size"] != len(data):
                return False
            stored = _md5_of(details)
            if stored is not None:
                return stored == hashlib.md5(data, usedforsecurity=False).hexdigest()
            return cast("bytes", filesystem.cat_file(self._place(path))) == data

        return self._run(holds)

    def holds_file(self, path: str, file: IO[bytes]) -> bool:
        """Return whether a file has the content of ``file`` from its beginning."""

        def holds(filesystem: AbstractFileSystem) -> bool:
            details = self._details(filesystem, path)
            if details is None or details["size"] != file.seek(0, 2):
                return False
            file.seek(0)
            with filesystem.open(self._place(path), "rb") as stored:
                while piece := file.read(_PIECE):
                    if stored.read(len(piece)) != piece:
                        return False
            return True

        return self._run(holds)

    def write(self, path: str, data: bytes) -> None:
        """Write a file, or replace it."""

        def write(filesystem: AbstractFileSystem) -> None:
            with self._whole(filesystem, path) as place:
                filesystem.pipe_file(place, data)

        self._run(write)
        self._has_written = True

    def write_file(self, path: str, file: IO[bytes]) -> None:
        """Write a file of any size with the content of ``file`` from its beginning, or replace it."""

        def write(_filesystem: AbstractFileSystem) -> None:
            file.seek(0)
            with self.stream(path) as stream:
                shutil.copyfileobj(file, stream, _PIECE)

        self._run(write)

    @contextmanager
    def stream(self, path: str) -> Iterator[IO[bytes]]:
        """Context manager of a file that is uploaded while it is written, and visible once the block has ended.

        A failed part is repeated by the driver alone: if that fails, or the block does, nothing is left of it.
        """
        with self._whole(self._filesystem, path) as place:
            options: dict[str, Any] = {"autocommit": False} if self._is_whole_put else {}
            with self._reported():
                file = self._filesystem.open(place, "wb", block_size=_PART_BYTES, **options)
            try:
                yield cast("IO[bytes]", _Stream(file, self._reported))
                with self._reported():
                    file.close()
                    if self._is_whole_put:
                        file.commit()
            except BaseException:
                with self._reported():
                    if self._is_whole_put:
                        file.closed = True  # or it is completed when it is collected
                        file.discard()
                    else:
                        file.close()
                raise

    def remove(self, path: str) -> None:
        """Remove a file; do nothing if there is none."""

        def remove(filesystem: AbstractFileSystem) -> None:
            try:
                filesystem.rm_file(self._place(path))
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise

        self._run(remove)

    def remove_all(self, except_for: str) -> None:
        """Remove all files but this one."""
        kept = self._place(except_for)

        def remove(filesystem: AbstractFileSystem) -> None:
            if paths := [path for path in filesystem.find(self._root) if path != kept]:
                filesystem.rm(paths)

        self._run(remove)

    @contextmanager
    def _whole(self, filesystem: AbstractFileSystem, path: str) -> Iterator[str]:
        """Context manager of the path to write a file to; afterwards it is renamed, if the store needs it."""
        place = self._place(path)
        if self._is_whole_put:
            yield place
            return
        draft = f"{place}.part"
        with self._reported():
            filesystem.makedirs(filesystem._parent(place), exist_ok=True)
        try:
            yield draft
            with self._reported():
                if filesystem.exists(place):
                    filesystem.rm_file(place)
                filesystem.mv(draft, place)
        except BaseException:
            with self._reported():
                if filesystem.exists(draft):
                    filesystem.rm_file(draft)
            raise

    def _details(self, filesystem: AbstractFileSystem, path: str) -> dict[str, Any] | None:
        """Return the store's information about a file; None if there is none."""
        try:
            return cast("dict[str, Any]", filesystem.info(self._place(path)))
        except FileNotFoundError as absent:
            if not is_absence(absent):
                raise
            return None

    def _run(self, operation: Callable[[AbstractFileSystem], T]) -> T:
        """Run an operation, and repeat it for ``patience_s`` while it fails.

        Raises:
            StoreUnavailable: it failed to the end; the sentence names the URL, the cause and the remedy.
        """
        if not (self._has_written and self._patience_s):
            with self._reported():
                return operation(self._filesystem)
        for attempt in stamina.retry_context(
            on=StoreUnavailable, attempts=None, timeout=self._patience_s, wait_initial=0.5, wait_max=15.0
        ):
            with attempt, self._reported():
                return operation(self._filesystem)
        raise AssertionError("unreachable: the last attempt returns or raises")

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Context manager that turns the driver's errors, of any class, into StoreUnavailable."""
        try:
            yield
        except StoreUnavailable:
            raise
        except Exception as fault:
            log.warning("object_folder.unavailable", error=f"{type(fault).__name__}: {fault}")
            refusal = refusal_of(fault, self._setting)
            raise StoreUnavailable(
                f"{self._url} cannot be written: {refusal.reason}; {refusal.remedy}", refusal.reason
            ) from fault

    def _place(self, path: str) -> str:
        return f"{self._root}/{path}"


class _Stream:
    """The file of ``ObjectFolder.stream``, whose errors are StoreUnavailable."""

    def __init__(self, file: Any, reported: Callable[[], AbstractContextManager[None]]) -> None:
        self._file, self._reported = file, reported

    def write(self, data: Any) -> int:
        with self._reported():
            self._file.write(data)
        return len(data)


def _md5_of(details: dict[str, Any]) -> str | None:
    """Return a file's MD5 in hex if the store says it.

    S3's ETag is the MD5 of an object that was put in one request without a key of a key service; another ETag has other
    characters, or differs, and the object is then written again.
    """
    if match := _MD5.fullmatch(str(details.get("ETag", ""))):
        return match[1]
    if isinstance(hash_ := details.get("md5Hash"), str):
        return base64.b64decode(hash_).hex()
    return None
