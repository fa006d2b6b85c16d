"""Separate thread pools for the views: a view that waits for another service cannot block a view that answers at once.

Label Studio allows a webhook one second, and a container engine limits its health check. Images may wait for a slow
object store, predictions for a slow database, log-ins, actions and verdicts of pages for Label Studio, and pages and
the API for their own process. A download or a stream of events occupies a thread until it ends. Each kind of view has
its own threads and a limit on the number of waiting requests. A request over the limit is answered with 503.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import Error

# waitress warns about each waiting request; their number is limited here
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Pool:
    """Size of a pool: its number of threads, and the maximum number of requests that wait for a thread."""

    threads: int
    waiting: int


#: Pool of every path that is not in ``POOL_OF``: health, readiness, refusals, unknown paths.
AT_ONCE = "at once"
POOLS = {
    AT_ONCE: Pool(threads=2, waiting=1024),
    "webhook": Pool(threads=8, waiting=256),
    "pictures": Pool(threads=6, waiting=48),
    "ml": Pool(threads=3, waiting=24),
    "metrics": Pool(threads=1, waiting=8),
    "pages": Pool(threads=4, waiting=32),
    "thumbnails": Pool(threads=4, waiting=72),
    "actions": Pool(threads=2, waiting=8),
    "verdicts": Pool(threads=4, waiting=32),
    "log-in": Pool(threads=2, waiting=16),
    # an event stream that waited for a thread would show nothing; the page's script asks for the state instead
    "streams": Pool(threads=24, waiting=0),
    "downloads": Pool(threads=8, waiting=6),
    "api": Pool(threads=4, waiting=20),
}
#: The pools whose responses are passed on while they are made.
STREAMING = frozenset({"streams", "downloads"})
#: First segments of a path, up to ``_LONGEST`` → pool; the longest that is here decides.
POOL_OF = {
    "webhook": "webhook",
    "images": "pictures",
    "predict": "ml",
    "setup": "ml",
    "versions": "ml",
    "metrics": "metrics",
    "studio": "pages",
    "studio/pictures": "thumbnails",
    "studio/verdicts": "verdicts",
    "studio/log-in": "log-in",
    "studio/streams": "streams",
    "studio/downloads": "downloads",
    "api": "api",
    "api/v1/downloads": "downloads",
}
_LONGEST = max(path.count("/") for path in POOL_OF) + 1


class Busy(Error):  # type: ignore[misc]
    """Error response (503) for a request whose pool has too many waiting requests."""

    code, reason = 503, "Service Unavailable"


class ViewPools:
    """Dispatches each request to the pool of its view; each pool is a waitress dispatcher."""

    def __init__(self) -> None:
        self._dispatchers = {name: ThreadedTaskDispatcher() for name in POOLS}
        for name, pool in POOLS.items():
            self._dispatchers[name].set_thread_count(pool.threads)

    def add_task(self, channel: Any) -> None:
        """Queue the request of a channel in its pool. If the pool is full, queue the refusal of the request."""
        request = channel.requests[0]
        name = AT_ONCE if request.error else pool_of(request.path, request.command)
        dispatcher = self._dispatchers[name]
        if dispatcher.active_count + len(dispatcher.queue) >= POOLS[name].threads + POOLS[name].waiting:
            request.error = Busy("")
            name = AT_ONCE
        self._dispatchers[name].add_task(channel)

    def shutdown(self) -> None:
        """Stop the threads; waiting requests are dropped."""
        for dispatcher in self._dispatchers.values():
            dispatcher.shutdown(timeout=0)


def pool_of(path: str, method: str = "GET") -> str:
    """Return the name of the pool that serves a path's view; ``method`` is the request's, in capital letters."""
    segments = path.lstrip("/").split("/")
    beginnings = ("/".join(segments[:number]) for number in range(_LONGEST, 0, -1))
    pool = next((POOL_OF[beginning] for beginning in beginnings if beginning in POOL_OF), AT_ONCE)
    return "actions" if pool == "pages" and method == "POST" else pool
