"""A folder of small pictures that were made before.

It may be deleted at any time: a picture is made again when it is looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

log = structlog.get_logger()

#: Largest size of the folder, bytes: 70,000 pictures of 15 kB.
MAX_BYTES = 2**30
#: Number of new files after which the size is checked, and share of ``MAX_BYTES`` that is kept then.
_CHECK_EVERY, _KEPT_SHARE = 256, 0.8
#: Changed when pictures are drawn in another way, so that those that are kept are made again.
_DRAWING = 1


class ThumbnailCache:
    """Small pictures by their key, in ``folder``; thread-safe. Without a writable folder each is made anew."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._folder, self._max_bytes = folder, max_bytes
        self._written = 0
        self._pruning = threading.Lock()

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """Return the picture of a key; ``make`` returns its bytes if it is not kept yet."""
        name = hashlib.sha256(f"{_DRAWING}:{key}".encode()).hexdigest()
        path = self._folder / name[:2] / f"{name}.webp"
        try:
            return path.read_bytes()
        except OSError:
            data = make()
        try:
            self._write(path, data)
        except OSError as fault:
            log.warning("thumbnail.not_kept", reason=fault.strerror or type(fault).__name__)
        return data

    def _write(self, path: Path, data: bytes) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_suffix(f".{secrets.token_hex(4)}")
        try:
            draft.write_bytes(data)
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
        self._written += 1
        if self._written % _CHECK_EVERY == 0 and self._pruning.acquire(blocking=False):
            try:
                self._prune()
            finally:
                self._pruning.release()

    def _prune(self) -> None:
        """Remove the oldest files if the folder is too large."""
        files: list[tuple[float, int, str]] = []
        for folder in os.scandir(self._folder):
            if folder.is_dir():
                for entry in os.scandir(folder.path):
                    with contextlib.suppress(FileNotFoundError):  # another thread replaced it meanwhile
                        files.append((entry.stat().st_mtime, entry.stat().st_size, entry.path))
        size = sum(file_size for _, file_size, _ in files)
        if size <= self._max_bytes:
            return
        for _, file_size, path in sorted(files):
            Path(path).unlink(missing_ok=True)
            size -= file_size
            if size <= _KEPT_SHARE * self._max_bytes:
                return
