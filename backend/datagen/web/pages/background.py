"""Background work of the pages: tasks that take longer than a request, one at a time.

It is for work that can be repeated: if the process ends, unfinished work is lost and has to be requested again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

import structlog

from datagen.errors import Refused

log = structlog.get_logger()

#: Largest number of tasks that run or wait.
MOST_WAITING = 8


class BackgroundWork:
    """Runs tasks one after another. At most one task of each key runs or waits. Thread-safe."""

    def __init__(self) -> None:
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._keys: set[Hashable] = set()

    def start(self, key: Hashable, work: Callable[[], None]) -> bool:
        """Run ``work`` after the tasks that wait; return False if a task with that key runs or waits already.

        Raises:
            Refused: ``MOST_WAITING`` tasks run or wait already, or this machine can start no thread now.
        """
        with self._lock:
            if key in self._keys:
                return False
            if len(self._keys) >= MOST_WAITING:
                raise Refused("Too many tasks are under way. Try again in a few minutes.")
            self._keys.add(key)
        try:
            threading.Thread(target=self._run, args=(key, work), name="page-work", daemon=True).start()
        except RuntimeError as fault:  # a limit on the number of processes or threads
            self._remove(key)
            log.warning("page_work.not_started", key=str(key), reason=str(fault))
            raise Refused("This machine has no room for another task now. Try again in a few minutes.") from fault
        return True

    def has(self, key: Hashable) -> bool:
        """Return whether a task with that key runs or waits."""
        with self._lock:
            return key in self._keys

    def _run(self, key: Hashable, work: Callable[[], None]) -> None:
        try:
            with self._turn:
                work()
        except Exception:  # no caller waits for the thread, so the log has the fault
            log.exception("page_work.failed", key=str(key))
        finally:
            self._remove(key)

    def _remove(self, key: Hashable) -> None:
        with self._lock:
            self._keys.discard(key)
