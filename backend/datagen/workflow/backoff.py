"""Waits between attempts of failed work: an exponential backoff with jitter.

The time of the next attempt is stored in a row, so that it survives the process. The library ``stamina`` retries calls
inside one process: it sleeps between attempts. It has no public function for the length of a wait, so it cannot compute
the time for a row.

Work interrupted by an outage (see ``outages``) is retried without limit, because the work itself is valid. Only rounds
and runs are given up after hours (``generation.shard_rendering``), because people wait for their results.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

import stamina

from datagen.errors import StoreUnavailable
from datagen.store.database import is_unavailable

T = TypeVar("T")

#: The first and the longest wait, seconds. The wait doubles with each attempt; a random share of up to half is
#: subtracted, so that rows that failed together are not retried together.
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0
#: Seconds for which writing a result is retried while the database is unavailable.
PERSIST_SECONDS = 120.0
#: Seconds for which an export retries reading each picture while the image store is unavailable.
EXPORT_PATIENCE_SECONDS = 600.0


def persist(write: Callable[[], T]) -> T:
    """Run a transaction and return its result. Retry it for ``PERSIST_SECONDS`` while the database is unavailable.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database was unavailable all the time. The lease of the row then expires, so
            that another worker can claim the row.
    """
    for attempt in stamina.retry_context(
        on=is_unavailable, attempts=None, timeout=PERSIST_SECONDS, wait_initial=0.5, wait_max=5.0
    ):
        with attempt:
            return write()
    raise AssertionError("unreachable: the last attempt returns or raises")


def patiently(read: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Return a function that calls ``read``, and retries while the image store is unavailable.

    It is for work that cannot be postponed, such as an export."""

    def waiting_read(digest: str) -> bytes:
        for attempt in stamina.retry_context(
            on=StoreUnavailable, attempts=None, timeout=EXPORT_PATIENCE_SECONDS, wait_initial=1.0, wait_max=30.0
        ):
            with attempt:
                return read(digest)
        raise AssertionError("unreachable: the last attempt returns or raises")

    return waiting_read


def wait_after(attempt: int, longest: float = LONGEST_WAIT) -> float:
    """Return the seconds to wait after attempt number ``attempt``, counted from 1; at most ``longest``."""
    full = min(longest, FIRST_WAIT * 2.0 ** min(attempt - 1, 16))  # the bound avoids an overflow
    return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, not for security
