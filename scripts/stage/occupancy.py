"""A lock that allows one demo at a time, and a way to stop the demo that holds it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Self

from stage.processes import StageError, born, wait_until

#: Maximum seconds for a running demo to stop everything that it started.
LEAVE_WITHIN_S = 90.0


class Occupancy:
    """The lock of a folder's demo. The system releases it when the process that holds it ends, however it ends."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise StageError(
                f"The demo runs already (process {self._holder()[0]}). Use it, or stop it with: scripts/demo --down"
            ) from None
        self._file.truncate(0)
        self._file.write(json.dumps([os.getpid(), born(os.getpid())]))
        self._file.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._file.truncate(0)
        self._file.close()

    def evict(self) -> list[str]:
        """Stop a running demo and wait for its end; return the names of the stopped processes.

        Raises:
            StageError: the demo did not end in time.
        """
        if not self._held():
            return []
        pid, since = self._holder()
        if pid and born(pid) == since:
            os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not self._held(), LEAVE_WITHIN_S, f"The end of the demo (process {pid})")
        return ["the demo"]

    def _held(self) -> bool:
        if not self._path.exists():
            return False
        with self._path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _holder(self) -> tuple[int, str | None]:
        """Return the process id and start time that the lock's holder wrote; (0, None) if it has not written them."""
        written = self._path.read_text()
        pid, since = json.loads(written) if written else (0, None)
        return int(pid), since
