"""A bell rings a moment after it was pressed, once for all that pressed it meanwhile.

Whoever answers a request presses it and is done: the answer does not wait for Redis. And a worker does not ask Label
Studio about an event while Label Studio is still busy answering the annotator who caused it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from datagen.workflow.services import JobRequest

#: Seconds from the first press to the ring: about as long as Label Studio takes to answer a Submit on a slow machine.
AFTER_S = 0.1


class DebouncedNotifier:
    """Passes knocks on, ``after`` seconds late and together; a process killed before leaves them to the sweeper."""

    def __init__(self, enqueue: Callable[[Sequence[JobRequest]], None], after: float = AFTER_S) -> None:
        self._enqueue, self._after = enqueue, after
        self._scheduled: list[JobRequest] = []
        self._guard = threading.Lock()

    def schedule(self, request: JobRequest) -> None:
        """Have this knock passed on with the next ring."""
        with self._guard:
            self._scheduled.append(request)
            first = len(self._scheduled) == 1
        if first:  # no daemon: a process that ends in peace rings before
            threading.Timer(self._after, self._flush).start()

    def _flush(self) -> None:
        with self._guard:
            pressed, self._scheduled = self._scheduled, []
        self._enqueue(pressed)
