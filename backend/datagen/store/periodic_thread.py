"""Periodic calls in a background thread during longer work: renewing a lease, writing progress, sending a heartbeat."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def run_periodically(act: Callable[[], bool | None], seconds: float, name: str) -> Iterator[None]:
    """Call ``act`` every ``seconds`` until the block ends, in a thread called ``name``.

    The calls stop once the block has ended or ``act`` has returned False. An exception of ``act`` ends the thread, so
    ``act`` has to handle its own errors.
    """
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(seconds):
            if act() is False:
                return

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
