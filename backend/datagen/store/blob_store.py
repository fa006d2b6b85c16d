"""The image store: bytes under their own SHA-256, in a local folder or in an object store.

An object never changes once it is there, so any process may write, read and cache it without asking another. The
store knows bytes, not pictures: see ``datagen.imaging.codec``. It keeps no list of who needs what; rows do.
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
from typing import Any, TypeVar

import structlog
from fsspec.config import conf
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from datagen.domain.wording import counted
from datagen.errors import StoreError, StoreMissing, StoreUnavailable
from datagen.store.bounded import BoundedCalls
from datagen.store.refusals import TOO_LATE, Refusal, is_absence, refusal_of

#: How an object is asked for: nothing else becomes a path, so no address can climb out of the store.
_DIGEST = re.compile(r"[0-9a-f]{64}")

#: Folder in a local store for what is being written; what lies here was never promised to anybody.
_DRAFTS = "drafts"

#: A draft older than this belongs to a writer that was killed: no write takes an hour.
DRAFT_LIFETIME_S = 3600.0

#: The file that marks a store as an installation's, and how much of it is read at most.
_MARK, _LONGEST_MARK = "installation", 64
#: S3 accepts a connection within this, seconds, or it is unavailable.
CONNECT_S = 3.0
#: S3 sends something within this, seconds; a request that got no answer is sent once more.
ANSWER_S = 10.0
#: One operation on any kind of store is given up after this, seconds: a large picture passes at 0.5 MiB/s.
WHOLE_S = 120.0
#: After an operation was given up, the store is not asked again for this long, seconds: each would wait as long.
RESPITE_S = 5.0
#: Operations at a time in one process, those included that were given up and have not returned.
MOST_CALLS = 64

#: Schemes of S3's driver.
_S3 = ("s3", "s3a")

T = TypeVar("T")

log = structlog.get_logger()


class BlobStore:
    """Content-addressed objects under an fsspec URL: ``file:///folder``, ``s3://bucket/prefix``, ``memory://name``.

    An object ``abcd…`` lies at ``ab/cd/abcd…``: two levels keep folders small with millions of objects. In a local
    folder it is written beside and renamed; an object store's put is whole or absent already. Nothing is flushed to the
    disk's platter: after a power cut an object may be short, which ``get`` notices and the next ``put`` of it mends.

    Nothing waits for the store without end: see ``ANSWER_S`` and ``WHOLE_S``, which ``answer_s`` and ``whole_s`` change
    for a process that cannot wait so long.

    Raises:
        StoreError: the URL is not one that the installed packages can open.
    """

    def __init__(self, url: str, *, answer_s: float = ANSWER_S, whole_s: float = WHOLE_S) -> None:
        self._url = url
        self._answer_s, self._whole_s = answer_s, whole_s
        self._opened: tuple[int, AbstractFileSystem, str] | None = None
        self._calls = BoundedCalls(MOST_CALLS, "image-store")
        #: until when it is not asked again, and why
        self._unavailable: tuple[float, Refusal] | None = None
        self._filesystem()

    def put(self, data: bytes) -> str:
        """Keep ``data`` and return its digest (SHA-256, hex). The same bytes twice are stored once.

        Raises:
            StoreUnavailable: the store cannot be written now.
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

        self._ask(write, f"image {digest} cannot be stored")
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of an object, checked against its digest.

        Raises:
            StoreMissing: it is not there.
            StoreUnavailable: the store cannot be read now.
            StoreError: it is not what was stored.
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

        data = self._ask(read, f"image {digest} cannot be read")
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
        """Whether an object is there; its bytes are not read.

        Raises:
            StoreUnavailable: the store cannot be asked now.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest)
        return self._ask(lambda: _size(filesystem, path), f"image {digest} cannot be looked up") is not None

    def delete(self, digest: str) -> None:
        """Remove an object; one that is not there is as good as removed.

        Raises:
            StoreUnavailable: the store cannot be written now.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest)

        def remove() -> None:
            try:
                filesystem.rm_file(path)
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise

        self._ask(remove, f"image {digest} cannot be deleted")

    def check(self) -> None:
        """Look an object up, to see that the store answers; nothing is written.

        Raises:
            StoreUnavailable: it does not.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest_of(b""))
        self._ask(lambda: _size(filesystem, path), "the image store cannot be used")

    def mark(self) -> str | None:
        """The mark by which processes see that they have the same store; None if it has none.

        Raises:
            StoreError: the store cannot be read.
        """
        filesystem, root = self._filesystem()

        def read() -> bytes:
            try:
                found: bytes = filesystem.cat_file(f"{root}/{_MARK}", start=0, end=_LONGEST_MARK)
            except FileNotFoundError as absent:
                if not is_absence(absent):
                    raise
                return b""
            return found

        return self._ask(read, "the store's mark cannot be read").decode("ascii", "replace").strip() or None

    def write_mark(self, mark: str) -> str:
        """Mark the store, and return the mark.

        Raises:
            StoreError: the store cannot be written.
        """
        filesystem, root = self._filesystem()
        self._ask(lambda: filesystem.pipe_file(f"{root}/{_MARK}", mark.encode()), "the store cannot be marked")
        return mark

    def remove_drafts(self, older_than_s: float = DRAFT_LIFETIME_S) -> int:
        """Remove what killed writers left in a local store, and say how many; an object store keeps no drafts.

        Raises:
            StoreUnavailable: the store cannot be written now.
        """
        filesystem, root = self._filesystem()
        if not isinstance(filesystem, LocalFileSystem):
            return 0

        def remove() -> int:
            removed = 0
            with contextlib.suppress(FileNotFoundError):
                for draft in filesystem.ls(f"{root}/{_DRAFTS}", detail=True):
                    if time.time() - draft["mtime"] > older_than_s:
                        with contextlib.suppress(FileNotFoundError):  # another sweeper was quicker
                            filesystem.rm_file(draft["name"])
                            removed += 1
            return removed

        return self._ask(remove, "drafts cannot be removed")

    def _ask(self, operation: Callable[[], T], what: str) -> T:
        """Run an operation on the store within its time.

        Drivers raise errors of their own packages (botocore's, for one) that share no base with OSError: whatever they
        raise means that the store is unavailable.
        """
        if self._unavailable is not None and time.monotonic() < self._unavailable[0]:
            raise _unavailable(what, self._unavailable[1])

        def translated() -> T:
            try:
                return operation()
            except StoreError:
                raise
            except Exception as fault:
                log.warning("store.unavailable", what=what, error=f"{type(fault).__name__}: {fault}")
                raise _unavailable(what, self._remembered(refusal_of(fault))) from fault

        try:
            return self._calls.call(translated, self._whole_s)
        except TimeoutError as late:
            log.warning("store.unavailable", what=what, error=str(late))
            raise _unavailable(what, self._remembered(TOO_LATE)) from late

    def _remembered(self, refusal: Refusal) -> Refusal:
        if refusal is TOO_LATE:
            self._unavailable = (time.monotonic() + RESPITE_S, refusal)
        return refusal

    def _filesystem(self) -> tuple[AbstractFileSystem, str]:
        """The filesystem and the root in it, opened once a process: S3's connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *_open(self._url, self._answer_s))
        return self._opened[1], self._opened[2]


def digest_of(data: bytes) -> str:
    """The digest under which these bytes are kept."""
    return hashlib.sha256(data).hexdigest()


def _open(url: str, answer_s: float) -> tuple[AbstractFileSystem, str]:
    scheme = url.partition("://")[0] if "://" in url else "file"
    try:
        # Another process may have written an object a moment ago: a cached listing would deny it.
        filesystem, root = url_to_fs(
            url, use_listings_cache=False, skip_instance_cache=True, **_time_outs(scheme, answer_s)
        )
    except ImportError as missing:
        raise StoreError(
            f"DATAGEN_STORE_URL begins with {scheme}://, which needs a package that is not installed ({missing}); "
            "for S3: pip install 'label-studio-datagen[s3]'"
        ) from missing
    except ValueError as unknown:
        raise StoreError(
            f"DATAGEN_STORE_URL begins with {scheme}://, which is no kind of store ({unknown}); "
            "use file:///folder or s3://bucket/prefix"
        ) from unknown
    if isinstance(filesystem, LocalFileSystem):
        filesystem.auto_mkdir = True
    if scheme in _S3:
        filesystem.retries = 1  # its own five tries come on top of botocore's
    return filesystem, root.rstrip("/")


def _time_outs(scheme: str, answer_s: float) -> dict[str, Any]:
    """A driver's options that keep it from waiting for minutes; the time-outs that fsspec is configured with win."""
    if scheme not in _S3:
        return {}
    ours = {"connect_timeout": CONNECT_S, "read_timeout": answer_s, "retries": {"total_max_attempts": 2}}
    return {
        "config_kwargs": ours | conf.get("s3", {}).get("config_kwargs", {}),
        "max_concurrency": 1,  # pictures are small: read in one request, without asking for their size before
    }


def _path(root: str, digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest[:80]!r} is no image's digest: it must be 64 hexadecimal digits")
    return f"{root}/{digest[:2]}/{digest[2:4]}/{digest}"


def _size(filesystem: AbstractFileSystem, path: str) -> int | None:
    """How many bytes an object has; None when it is not there."""
    try:
        return int(filesystem.info(path)["size"])
    except FileNotFoundError as absent:
        if not is_absence(absent):
            raise
        return None


def _is_empty(folder: str) -> bool:
    """Whether a local folder is not there or holds nothing: a mount point without its disk looks like this."""
    try:
        return not any(Path(folder).iterdir())
    except FileNotFoundError:
        return True


def _unavailable(what: str, refusal: Refusal) -> StoreUnavailable:
    return StoreUnavailable(f"{what}: {refusal.reason}; {refusal.remedy}", refusal.reason)
