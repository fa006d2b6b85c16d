"""Ends a process that hangs inside a driver, where Python runs neither exceptions nor signal handlers.

The engine sets the limit for its process; without one nothing is ended, as in a notebook. The supervisor restarts the
worker, and the work is free again when its lease expires.
"""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

#: The limit of this process, seconds; 0 for none. There is one for all threads, because faulthandler has one timer.
_limits: list[float] = [0.0]


def set_limit(seconds: float) -> None:
    """Set the longest duration of a watched block of this process, in seconds; 0 for none."""
    _limits[0] = seconds


@contextmanager
def watched() -> Iterator[None]:
    """Print the stack of every thread and exit with 1 if the block takes longer than the process's limit."""
    [seconds] = _limits
    if seconds <= 0:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
