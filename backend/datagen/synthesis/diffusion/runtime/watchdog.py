"""An end to a process that hangs inside a driver, where no exception and no signal handler of Python's is run.

Off unless DATAGEN_HANG_SECONDS is set, which ``datagen worker --gpu`` does for its own process: in a notebook nobody
wants to be ended. Whoever ran the process starts it again, and its lease gives the work back.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Iterator
from contextlib import contextmanager

VARIABLE = "DATAGEN_HANG_SECONDS"


@contextmanager
def watched() -> Iterator[None]:
    """While open longer than the variable says, every thread's stack is printed and the process ends with 1."""
    seconds = float(os.environ.get(VARIABLE, "0"))
    if seconds <= 0:
        yield
        return
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
