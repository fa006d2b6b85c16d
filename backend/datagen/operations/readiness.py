"""Readiness, asked for beside the requests: a part that hangs makes what is known older, and nobody wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

#: Seconds from one look at the parts to the next.
EVERY_SECONDS = 2.0
#: A look that is older than this says nothing about now: a part keeps the next one waiting, seconds.
STALE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Look:
    """Which parts answered, and how long ago they were asked, seconds; no parts before the first look is complete."""

    parts: Mapping[str, bool]
    age: float

    @property
    def stale(self) -> bool:
        """Whether it is too old to say something about now."""
        return self.age > STALE_SECONDS


class ReadinessCache:
    """Asks the parts every ``every`` seconds in a thread of its own; ``latest`` returns at once."""

    def __init__(self, ask: Callable[[], Mapping[str, bool]], every: float = EVERY_SECONDS) -> None:
        self._ask, self._every = ask, every
        self._latest: tuple[float, Mapping[str, bool]] = (time.monotonic(), {})

    def start(self) -> None:
        """Begin to ask; the thread ends with the process."""
        threading.Thread(target=self._ask_again_and_again, name="readiness", daemon=True).start()

    def latest(self) -> Look:
        """The last complete look."""
        asked, parts = self._latest
        return Look(parts, time.monotonic() - asked)

    def _ask_again_and_again(self) -> None:
        while True:
            began = time.monotonic()
            try:
                self._latest = (began, self._ask())
            except Exception:
                log.exception("readiness.failed")  # the look before grows old, which /ready says
            time.sleep(self._every)
