"""Ends a process that hangs inside a driver, where Python runs neither exceptions nor signal handlers.

The engine sets the time limit of its process. Without a limit, as in a notebook, no process is ended. The supervisor
restarts an ended worker. Another worker can take over the work when its lease expires."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager

#: The limit of this process in seconds; 0 for none. All threads share it, because faulthandler has a single timer.
_limits: list[float] = [0.0]


def set_limit(seconds: float) -> None:
    """Set the longest duration of a ``watched`` block in this process, in seconds; 0 for no limit."""
    _limits[0] = seconds


@contextmanager
def watched() -> Iterator[None]:
    """Context manager that ends the process if the block takes longer than the process's limit.

    It then prints the stack of every thread; the exit code is 1.
    """
    [seconds] = _limits
    if seconds <= 0:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
