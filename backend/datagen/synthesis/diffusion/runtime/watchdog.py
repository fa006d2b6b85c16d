"""Ends a process that hangs inside a driver, where Python runs neither exceptions nor signal handlers.

Disabled unless DATAGEN_HANG_SECONDS is set. ``datagen worker --gpu`` sets it for its own process; in a notebook the
process should not be ended. The supervisor restarts the worker, and the work is free again when its lease expires.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "DATAGEN_HANG_SECONDS"


@contextmanager
def watched() -> Iterator[None]:
    """Print the stack of every thread and exit with 1 if the block takes longer than ``VARIABLE`` allows."""
    seconds = float(os.environ.get(VARIABLE, "0"))
    if seconds <= 0:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
