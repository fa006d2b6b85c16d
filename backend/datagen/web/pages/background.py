"""Work of the pages that takes longer than a page: one piece after another, in a thread of its own.

It is for work that may be repeated: what was begun is lost if the process ends, and whoever asked for it asks again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

import structlog

from datagen.errors import Refused

log = structlog.get_logger()

#: Largest number of pieces that run or wait.
MOST_WAITING = 8


class BackgroundWork:
    """Runs pieces of work, each under a key that no second one has at the same time. Thread-safe."""

    def __init__(self) -> None:
        self._lock, self._turn = threading.Lock(), threading.Lock()
        self._keys: set[Hashable] = set()

    def start(self, key: Hashable, work: Callable[[], None]) -> bool:
        """Run ``work`` when its turn comes; return False if work with that key runs or waits already.

        Raises:
            Refused: too much waits already.
        """
        with self._lock:
            if key in self._keys:
                return False
            if len(self._keys) >= MOST_WAITING:
                raise Refused("Much is under way already. Try again in a few minutes.")
            self._keys.add(key)
        threading.Thread(target=self._run, args=(key, work), name="page-work", daemon=True).start()
        return True

    def has(self, key: Hashable) -> bool:
        """Return whether work with that key runs or waits."""
        with self._lock:
            return key in self._keys

    def _run(self, key: Hashable, work: Callable[[], None]) -> None:
        try:
            with self._turn:
                work()
        except Exception:  # the thread has nobody to report to but the log
            log.exception("page_work.failed", key=str(key))
        finally:
            with self._lock:
                self._keys.discard(key)
