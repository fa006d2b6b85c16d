"""Something that is done from time to time beside longer work: a lease renewed, progress told, a sign of life given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def run_periodically(act: Callable[[], bool | None], seconds: float, name: str) -> Iterator[None]:
    """Call ``act`` every so many seconds while the block lasts, in a thread of that name.

    It is not called any more once the block has ended, or it has answered False. What it raises ends the thread: it
    catches its own faults.
    """
    done = threading.Event()

    def again_and_again() -> None:
        while not done.wait(seconds):
            if act() is False:
                return

    thread = threading.Thread(target=again_and_again, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
