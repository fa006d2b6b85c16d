"""Calls that are given up after some seconds, though nothing can interrupt them: a read from a dead network mount.

Each call runs in a thread of its own. A call that never returns keeps its thread, so their number is bounded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class BoundedCalls:
    """Runs calls and stops waiting for those that take too long; at most ``most`` run at a time."""

    def __init__(self, most: int, name: str) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._name = name

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """The function's result, or whatever it raises.

        Raises:
            TimeoutError: it did not return within ``seconds``, or too many calls before it still have not.
        """
        deadline = time.monotonic() + seconds
        if not self._free.acquire(timeout=seconds):
            raise TimeoutError(f"earlier calls have not returned for {seconds:g} s")
        results: list[T] = []
        faults: list[BaseException] = []
        returned = threading.Event()

        def run() -> None:
            try:
                results.append(function())
            except BaseException as fault:  # raised again by the caller, below
                faults.append(fault)
            finally:
                self._free.release()
                returned.set()

        try:
            threading.Thread(target=run, name=self._name, daemon=True).start()
        except Exception:  # the system has no thread left: nothing runs that would free the place
            self._free.release()
            raise
        if not returned.wait(deadline - time.monotonic()):
            raise TimeoutError(f"it did not return within {seconds:g} s")
        if faults:
            raise faults.pop()
        return results.pop()
