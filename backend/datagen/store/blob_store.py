"""The image store: bytes under their own SHA-256, in a local folder or in an object store.

An object never changes once it is stored, so any process may write, read and cache it without coordination. The store
handles bytes; for pictures see ``datagen.imaging.codec``. It keeps no references to its objects; database rows do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import structlog
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from datagen.domain.wording import counted
from datagen.errors import StoreError, StoreMissing, StoreUnavailable
from datagen.store.bounded import BoundedCalls, CallNotStarted
from datagen.store.filesystems import ANSWER_S, S3_SCHEMES, open_filesystem
from datagen.store.refusals import NO_THREAD, TOO_LATE, Refusal, is_absence, refusal_of

#: Format of an object's digest. Only a text in this format becomes a path, so that no path leads out of the store.
_DIGEST = re.compile(r"[0-9a-f]{64}")

#: Folder in a local store for unfinished writes; nothing refers to a file in it.
_DRAFTS = "drafts"

#: Seconds after which a draft is considered abandoned by a killed writer: no write takes an hour.
DRAFT_LIFETIME_S = 3600.0

#: Name of the file that identifies the installation that a store belongs to, and the most bytes that are read from it.
_MARK, _LONGEST_MARK = "installation", 64
#: Time-out for one operation on any kind of store, seconds: enough for a large picture at 0.5 MiB/s.
WHOLE_S = 120.0
#: Seconds after a time-out during which operations fail at once: each would wait for the time-out again.
PAUSE_AFTER_TIMEOUT_S = 5.0
#: Largest number of concurrent operations in one process, including those that timed out and have not returned.
MAX_CALLS = 64

T = TypeVar("T")

log = structlog.get_logger()


class BlobStore:
    """Content-addressed objects under an fsspec URL: ``file:///folder``, ``s3://bucket/prefix``, ``memory://name``.

    An object ``abcd…`` is stored at ``ab/cd/abcd…``: two levels keep folders small with millions of objects. In a local
    folder an object is written to a draft and renamed; an object store's put is atomic. Writes are not followed by an
    fsync, so an object may be truncated after a power cut. ``get`` detects this, and the next ``put`` repairs it.

    Every operation has a time-out: see ``ANSWER_S`` and ``WHOLE_S``. A process that needs shorter time-outs gives them
    as ``answer_s`` and ``whole_s``, in seconds.

    Raises:
        StoreError: the installed packages cannot open the URL.
    """

    def __init__(self, url: str, *, answer_s: float = ANSWER_S, whole_s: float = WHOLE_S) -> None:
        self._url = url
        self._answer_s, self._whole_s = answer_s, whole_s
        self._opened: tuple[int, AbstractFileSystem, str] | None = None
        self._calls = BoundedCalls(MAX_CALLS, "image-store")
        #: the time (``time.monotonic``) until which operations fail at once, and the cause; None if they do not
        self._unavailable: tuple[float, Refusal] | None = None
        self._filesystem()

    def put(self, data: bytes) -> str:
        """Store ``data`` and return its digest (SHA-256, hex). Equal bytes are stored once.

        Raises:
            StoreUnavailable: the store cannot be written at the moment.
        """
        digest = digest_of(data)
        filesystem, root = self._filesystem()
        path = _path(root, digest)

        def write() -> None:
            if _size(filesystem, path) == len(data):
                return
            if not isinstance(filesystem, LocalFileSystem):
                filesystem.pipe_file(path, data)
                return
            draft = f"{root}/{_DRAFTS}/{digest}.{secrets.token_hex(8)}"
            try:
                filesystem.pipe_file(draft, data)
                filesystem.makedirs(filesystem._parent(path), exist_ok=True)
                os.replace(draft, path)  # noqa: PTH105 -- fsspec hands out strings
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    filesystem.rm_file(draft)
                raise

        self._run(write, f"image {digest} cannot be stored")
        return digest

    def get(self, digest: str) -> bytes:
        """Return the bytes of an object, verified against its digest.

        Raises:
            StoreMissing: the object does not exist.
            StoreUnavailable: the store cannot be read at the moment.
            StoreError: the object's bytes do not match its digest.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest)

        def read() -> bytes | None:
            try:
                data: bytes = filesystem.cat_file(path)
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise
                if isinstance(filesystem, LocalFileSystem) and _is_empty(root):
                    raise StoreUnavailable(
                        f"image {digest} cannot be read: the image store's folder is not there or is empty; see that "
                        "it is mounted, and that DATAGEN_STORE_URL or DATAGEN_DATA_DIR leads to it",
                        "its folder is not there or is empty",
                    ) from None
                return None
            return data

        data = self._run(read, f"image {digest} cannot be read")
        if data is None:
            raise StoreMissing(
                f"image {digest} is not in the store; restore it from a backup, or add the picture again"
            )
        if digest_of(data) != digest:
            raise StoreError(
                f"image {digest} is damaged: what is stored, {counted(len(data), 'byte')}, has another checksum; "
                "delete it and restore it from a backup, or add the picture again"
            )
        return data

    def exists(self, digest: str) -> bool:
        """Return whether an object exists, without reading its bytes.

        Raises:
            StoreUnavailable: the store cannot be read at the moment.
        """
        return self.size(digest) is not None

    def size(self, digest: str) -> int | None:
        """Return an object's size in bytes; None if it does not exist.

        Raises:
            StoreUnavailable: the store cannot be read at the moment.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest)
        return self._run(lambda: _size(filesystem, path), f"image {digest} cannot be looked up")

    def delete(self, digest: str) -> None:
        """Remove an object; do nothing if it does not exist.

        Raises:
            StoreUnavailable: the store cannot be written at the moment.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest)

        def remove() -> None:
            try:
                filesystem.rm_file(path)
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise

        self._run(remove, f"image {digest} cannot be deleted")

    def check(self) -> None:
        """Check that the store answers, by looking up an object; nothing is written.

        Raises:
            StoreUnavailable: the store does not answer.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest_of(b""))
        self._run(lambda: _size(filesystem, path), "the image store cannot be used")

    def mark(self) -> str | None:
        """Return the mark that shows whether processes use the same store; None if the store has no mark.

        Raises:
            StoreError: the store cannot be read.
        """
        filesystem, root = self._filesystem()

        def read() -> bytes:
            try:
                content: bytes = filesystem.cat_file(f"{root}/{_MARK}", start=0, end=_LONGEST_MARK)
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise
                return b""
            return content

        return self._run(read, "the store's mark cannot be read").decode("ascii", "replace").strip() or None

    def write_mark(self, mark: str) -> str:
        """Write the store's mark and return it.

        Raises:
            StoreError: the store cannot be written.
        """
        filesystem, root = self._filesystem()
        self._run(lambda: filesystem.pipe_file(f"{root}/{_MARK}", mark.encode()), "the store cannot be marked")
        return mark

    def remove_drafts(self) -> int:
        """Remove the drafts of killed writers from a local store and return their number; object stores have none.

        Raises:
            StoreUnavailable: the store cannot be written at the moment.
        """
        filesystem, root = self._filesystem()
        if not isinstance(filesystem, LocalFileSystem):
            return 0

        def remove() -> int:
            removed = 0
            with contextlib.suppress(FileNotFoundError):
                for draft in filesystem.ls(f"{root}/{_DRAFTS}", detail=True):
                    if time.time() - draft["mtime"] > DRAFT_LIFETIME_S:
                        with contextlib.suppress(FileNotFoundError):  # another process removed it first
                            filesystem.rm_file(draft["name"])
                            removed += 1
            return removed

        return self._run(remove, "drafts cannot be removed")

    def _run(self, operation: Callable[[], T], consequence: str) -> T:
        """Run an operation on the store within its time-out.

        Drivers raise errors of their own packages (for example botocore's) that are not subclasses of OSError: any
        error of a driver means that the store is unavailable.

        Raises:
            StoreUnavailable: the operation failed, timed out or could not be started, or an earlier one timed out less
                than ``PAUSE_AFTER_TIMEOUT_S`` ago.
        """
        if self._unavailable is not None and time.monotonic() < self._unavailable[0]:
            raise _unavailable(consequence, self._unavailable[1])

        def translated() -> T:
            try:
                return operation()
            except StoreError:
                raise
            except Exception as fault:
                log.warning("store.unavailable", what=consequence, error=f"{type(fault).__name__}: {fault}")
                raise _unavailable(consequence, self._note_refusal(refusal_of(fault))) from fault

        try:
            return self._calls.call(translated, self._whole_s)
        except TimeoutError as late:
            log.warning("store.unavailable", what=consequence, error=str(late))
            raise _unavailable(consequence, self._note_refusal(TOO_LATE)) from late
        except CallNotStarted as fault:
            log.warning("store.unavailable", what=consequence, error=str(fault))
            raise _unavailable(consequence, NO_THREAD) from fault

    def _note_refusal(self, refusal: Refusal) -> Refusal:
        if refusal == TOO_LATE:
            self._unavailable = (time.monotonic() + PAUSE_AFTER_TIMEOUT_S, refusal)
        return refusal

    def _filesystem(self) -> tuple[AbstractFileSystem, str]:
        """Return the filesystem and its root. Each process opens its own: S3's connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *_open_store(self._url, self._answer_s))
        return self._opened[1], self._opened[2]


def digest_of(data: bytes) -> str:
    """Return the digest under which these bytes are stored."""
    return hashlib.sha256(data).hexdigest()


def _open_store(url: str, answer_s: float) -> tuple[AbstractFileSystem, str]:
    filesystem, root = open_filesystem(url, answer_s=answer_s)
    if url.partition("://")[0] in S3_SCHEMES:
        filesystem.retries = 1  # the driver's default of five multiplies botocore's own
    return filesystem, root


def _path(root: str, digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest[:80]!r} is no image's digest: it must be 64 hexadecimal digits")
    return f"{root}/{digest[:2]}/{digest[2:4]}/{digest}"


def _size(filesystem: AbstractFileSystem, path: str) -> int | None:
    """Return an object's size in bytes; None if it does not exist."""
    try:
        return int(filesystem.info(path)["size"])
    except FileNotFoundError as absent:
        if not is_absence(absent):
            raise
        return None


def _is_empty(folder: str) -> bool:
    """Return whether a local folder is missing or empty. A mount point is empty while its disk is not mounted."""
    try:
        return not any(Path(folder).iterdir())
    except FileNotFoundError:
        return True


def _unavailable(consequence: str, refusal: Refusal) -> StoreUnavailable:
    return StoreUnavailable(f"{consequence}: {refusal.reason}; {refusal.remedy}", refusal.reason)
