"""Threads for the views, in pools apart: views that wait for other parts never hold those that answer at once.

Label Studio gives a webhook one second, and a container engine its health check; pictures may wait for a slow object
store, predictions for a slow database. Each kind of view has threads of its own and a bound on the requests that wait
for one; a request over the bound is answered with 503.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from waitress.task import ThreadedTaskDispatcher
from waitress.utilities import Error

# it warns of each request that waits; what waits is bounded here
logging.getLogger("waitress.queue").setLevel(logging.ERROR)


@dataclass(frozen=True, slots=True)
class Pool:
    """Threads of a pool, and how many requests may wait for one of them."""

    threads: int
    waiting: int


#: What is not named in ``POOL_OF`` is answered at once: health, readiness, refusals, addresses that do not exist.
AT_ONCE = "at once"
POOLS = {
    AT_ONCE: Pool(threads=2, waiting=1024),
    "webhook": Pool(threads=8, waiting=256),
    "pictures": Pool(threads=6, waiting=48),
    "ml": Pool(threads=3, waiting=24),
    "metrics": Pool(threads=1, waiting=8),
}
#: First part of the path → pool.
POOL_OF = {
    "webhook": "webhook",
    "images": "pictures",
    "predict": "ml",
    "setup": "ml",
    "versions": "ml",
    "metrics": "metrics",
}


class Busy(Error):  # type: ignore[misc]
    """Too many requests of this kind wait."""

    code, reason = 503, "Service Unavailable"


class ViewPools:
    """Hands each request to the pool of its view; waitress's dispatcher, several times."""

    def __init__(self, pools: Mapping[str, Pool] = POOLS) -> None:
        self._pools = pools
        self._dispatchers = {name: ThreadedTaskDispatcher() for name in pools}
        for name, pool in pools.items():
            self._dispatchers[name].set_thread_count(pool.threads)

    def add_task(self, channel: Any) -> None:
        """Queue the channel's first request; called with every request in turn."""
        request = channel.requests[0]
        name = AT_ONCE if request.error else pool_of(request.path)
        if len(self._dispatchers[name].queue) >= self._pools[name].waiting:
            request.error = Busy("")
            name = AT_ONCE
        self._dispatchers[name].add_task(channel)

    def shutdown(self) -> None:
        """End the threads; what still waits is dropped."""
        for dispatcher in self._dispatchers.values():
            dispatcher.shutdown(timeout=0)


def pool_of(path: str) -> str:
    """The pool of a path's view."""
    return POOL_OF.get(path.lstrip("/").partition("/")[0], AT_ONCE)
