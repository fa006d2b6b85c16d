"""The image store: bytes under their own SHA-256, in a local folder or in an object store.

An object never changes once it is there, so any process may write, read and cache it without asking another. The
store knows bytes, not pictures: see ``datagen.store.decode``. It keeps no list of who needs what; rows do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import time
from collections.abc import Iterator

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from datagen.domain.wording import counted
from datagen.errors import StoreError

#: How an object is asked for: nothing else becomes a path, so no address can climb out of the store.
_DIGEST = re.compile(r"[0-9a-f]{64}")

#: Folder in a local store for what is being written; what lies here was never promised to anybody.
_DRAFTS = "drafts"

#: A draft older than this belongs to a writer that was killed: no write takes an hour.
DRAFT_LIFETIME_S = 3600.0


class ImageStore:
    """Content-addressed objects under an fsspec URL: ``file:///folder``, ``s3://bucket/prefix``, ``memory://name``.

    An object ``abcd…`` lies at ``ab/cd/abcd…``: two levels keep folders small with millions of objects. In a local
    folder it is written beside and renamed; an object store's put is whole or absent already. Nothing is flushed to the
    disk's platter: after a power cut an object may be short, which ``get`` notices and the next ``put`` of it mends.

    Raises:
        StoreError: the URL is not one that the installed packages can open.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._opened: tuple[int, AbstractFileSystem, str] | None = None
        self._filesystem()

    def put(self, data: bytes) -> str:
        """Keep ``data`` and return its digest (SHA-256, hex). The same bytes twice are stored once.

        Raises:
            StoreError: the store cannot be written.
        """
        digest = hashlib.sha256(data).hexdigest()
        filesystem, root = self._filesystem()
        path = _path(root, digest)
        with _refusals(f"image {digest} cannot be stored"):
            if _size(filesystem, path) == len(data):
                return digest
            if not isinstance(filesystem, LocalFileSystem):
                filesystem.pipe_file(path, data)
                return digest
            draft = f"{root}/{_DRAFTS}/{digest}.{secrets.token_hex(8)}"
            try:
                filesystem.pipe_file(draft, data)
                filesystem.makedirs(filesystem._parent(path), exist_ok=True)
                os.replace(draft, path)  # noqa: PTH105 -- fsspec hands out strings
            except BaseException:
                with contextlib.suppress(FileNotFoundError):
                    filesystem.rm_file(draft)
                raise
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes of an object, checked against its digest.

        Raises:
            StoreError: it is not there, cannot be read, or is not what was stored.
        """
        filesystem, root = self._filesystem()
        path = _path(root, digest)
        with _refusals(f"image {digest} cannot be read"):
            try:
                data: bytes = filesystem.cat_file(path)
            except FileNotFoundError:
                raise StoreError(
                    f"image {digest} is not in the store; restore it from a backup, or add the picture again"
                ) from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise StoreError(
                f"image {digest} is damaged: what is stored, {counted(len(data), 'byte')}, has another checksum; "
                "delete it and restore it from a backup, or add the picture again"
            )
        return data

    def exists(self, digest: str) -> bool:
        """Whether an object is there; its bytes are not read.

        Raises:
            StoreError: the store cannot be asked.
        """
        filesystem, root = self._filesystem()
        with _refusals(f"image {digest} cannot be looked up"):
            return _size(filesystem, _path(root, digest)) is not None

    def delete(self, digest: str) -> None:
        """Remove an object; one that is not there is as good as removed.

        Raises:
            StoreError: the store cannot be written.
        """
        filesystem, root = self._filesystem()
        with _refusals(f"image {digest} cannot be deleted"), contextlib.suppress(FileNotFoundError):
            filesystem.rm_file(_path(root, digest))

    def remove_drafts(self, older_than_s: float = DRAFT_LIFETIME_S) -> int:
        """Remove what killed writers left in a local store, and say how many; an object store keeps no drafts.

        Raises:
            StoreError: the store cannot be written.
        """
        filesystem, root = self._filesystem()
        if not isinstance(filesystem, LocalFileSystem):
            return 0
        removed = 0
        with _refusals("drafts cannot be removed"), contextlib.suppress(FileNotFoundError):
            for draft in filesystem.ls(f"{root}/{_DRAFTS}", detail=True):
                if time.time() - draft["mtime"] > older_than_s:
                    with contextlib.suppress(FileNotFoundError):  # another sweeper was quicker
                        filesystem.rm_file(draft["name"])
                        removed += 1
        return removed

    def _filesystem(self) -> tuple[AbstractFileSystem, str]:
        """The filesystem and the root in it, opened once a process: S3's connections do not survive a fork."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), *_open(self._url))
        return self._opened[1], self._opened[2]


def _open(url: str) -> tuple[AbstractFileSystem, str]:
    scheme = url.partition("://")[0] if "://" in url else "file"
    try:
        # Another process may have written an object a moment ago: a cached listing would deny it.
        filesystem, root = url_to_fs(url, use_listings_cache=False, skip_instance_cache=True)
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
    return filesystem, root.rstrip("/")


def _path(root: str, digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest[:80]!r} is no image's digest: it must be 64 hexadecimal digits")
    return f"{root}/{digest[:2]}/{digest[2:4]}/{digest}"


def _size(filesystem: AbstractFileSystem, path: str) -> int | None:
    """How many bytes an object has; None when it is not there."""
    try:
        return int(filesystem.info(path)["size"])
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _refusals(what: str) -> Iterator[None]:
    """Whatever a storage driver raises as a StoreError that names the object.

    Drivers raise errors of their own packages (botocore's, for one) that share no base with OSError.
    """
    try:
        yield
    except StoreError:
        raise
    except Exception as refusal:
        raise StoreError(f"{what}: {refusal or type(refusal).__name__}") from refusal
