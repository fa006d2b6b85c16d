"""Fits kept as files, which the processes of an installation share. A fit takes seconds, and its file milliseconds.

A file is read only by the code that wrote it: its name contains a digest of the source of all packages that a fit uses,
of the libraries' versions and of the machine's kind. The files are pickles, so the folder must be closed to other
users, as the data folder is (``store.private_folder``).
"""

from __future__ import annotations

import hashlib
import os
import pickle
import platform
import tempfile
import time
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np

#: Largest size of all files together, bytes. A fit of eight photos has 0.2 to 42 MB.
LARGEST_TOTAL = 512 * 2**20
#: Seconds after which a draft belongs to a process that was killed while it wrote a fit.
_OLDEST_DRAFT = 3600.0
#: The folders whose code a fit depends on: those of engines, of the types in its file, and of the work on pixels. A
#: changed type would be read without an error, with values in the wrong fields.
SOURCES = tuple(Path(__file__).resolve().parents[2] / name for name in ("synthesis", "domain", "imaging"))


class FitStore:
    """The fits in a folder, which may be missing. Fits that were not used for longest are removed first.

    A fit that cannot be written is not kept, and one that cannot be read counts as missing: it is only made again.
    """

    def __init__(self, folder: Path, largest_total: int = LARGEST_TOTAL) -> None:
        self._folder, self._largest_total = folder, largest_total

    def load(self, key: str) -> Any | None:
        """Return the fit that was saved under the key by the same code; None if there is none."""
        path = self._path(key)
        try:
            fit = pickle.loads(path.read_bytes())  # noqa: S301 - written by this class, in a folder closed to others
            os.utime(path)
        except FileNotFoundError:
            return None
        except Exception:  # a damaged pickle raises any error
            with suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return fit

    def save(self, key: str, fit: Any) -> None:
        """Write the fit to a file, and remove the least recently used files above the largest total size."""
        content = pickle.dumps(fit, protocol=5)
        if len(content) > self._largest_total:
            return
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, draft = tempfile.mkstemp(prefix=".", suffix=".part", dir=self._folder)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                Path(draft).replace(self._path(key))
            finally:
                Path(draft).unlink(missing_ok=True)
            self._remove_oldest()

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}-{_code_digest()}.fit"

    def _remove_oldest(self) -> None:
        """Remove files, the least recently used first, until the others are within the largest total size.

        Drafts that killed processes left are removed, too.
        """
        for draft in self._folder.glob(".*.part"):
            if draft.stat().st_mtime < time.time() - _OLDEST_DRAFT:
                draft.unlink(missing_ok=True)
        used = sorted(((path.stat(), path) for path in self._folder.glob("*.fit")), key=lambda each: -each[0].st_mtime)
        total = 0
        for status, path in used:
            total += status.st_size
            if total > self._largest_total:
                path.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _code_digest() -> str:
    """Return a digest of all that a fit depends on beside its spec: the code, the libraries and the machine's kind."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted(folder.rglob("*.py")):
            digest.update(path.read_bytes())
    # scipy's version from its metadata, because importing scipy takes longer than reading a fit
    for name in (np.__version__, cv2.__version__, version("scipy"), platform.python_version(), platform.machine()):
        digest.update(name.encode())
    return digest.hexdigest()[:16]
