"""Debounced enqueueing: job requests are collected for a short time and enqueued together.

A request handler schedules a job request and returns without waiting for Redis. The delay also keeps a worker from
reading an event's objects while Label Studio is still answering the annotator's request that caused the event.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from datagen.workflow.services import JobRequest

#: Seconds from the first scheduled job request to the enqueueing: about the time that Label Studio takes to answer a
#: Submit on a slow machine.
AFTER_S = 0.1


class DebouncedNotifier:
    """Enqueues job requests together, ``after`` seconds after the first one.

    If the process is killed before that, the recovery scan finds their rows.
    """

    def __init__(self, enqueue: Callable[[Sequence[JobRequest]], None], after: float = AFTER_S) -> None:
        self._enqueue, self._after = enqueue, after
        self._scheduled: list[JobRequest] = []
        self._guard = threading.Lock()

    def schedule(self, request: JobRequest) -> None:
        """Enqueue this job request with the next flush."""
        with self._guard:
            self._scheduled.append(request)
            first = len(self._scheduled) == 1
        if first:  # not a daemon thread: a process that exits normally flushes first
            threading.Timer(self._after, self._flush).start()

    def _flush(self) -> None:
        with self._guard:
            job_requests, self._scheduled = self._scheduled, []
        self._enqueue(job_requests)
