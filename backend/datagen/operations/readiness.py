"""Readiness, checked in a background thread. If a part hangs, requests are not delayed but get the last result."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

#: Seconds between two checks of the parts.
EVERY_SECONDS = 2.0
#: Age above which a result is stale, seconds. A result becomes that old if a part delays the next check.
STALE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Look:
    """The result of a check: part → whether it works, and the age of the result in seconds.

    ``parts`` is empty until the first check is complete.
    """

    parts: Mapping[str, bool]
    age: float

    @property
    def stale(self) -> bool:
        """Whether the result is older than ``STALE_SECONDS``."""
        return self.age > STALE_SECONDS


class ReadinessCache:
    """Checks the parts every ``every`` seconds in its own thread; ``latest`` returns at once."""

    def __init__(self, ask: Callable[[], Mapping[str, bool]], every: float = EVERY_SECONDS) -> None:
        self._ask, self._every = ask, every
        self._latest: tuple[float, Mapping[str, bool]] = (time.monotonic(), {})

    def start(self) -> None:
        """Start the thread; it ends with the process."""
        threading.Thread(target=self._run, name="readiness", daemon=True).start()

    def latest(self) -> Look:
        """Return the result of the last complete check."""
        began, parts = self._latest
        return Look(parts, time.monotonic() - began)

    def _run(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._latest = (began, self._ask())
            except Exception:
                log.exception("readiness.failed")  # the last result becomes stale, which /ready reports
            time.sleep(self._every)
