"""Time-outs for calls that cannot be interrupted, such as a read from a network mount whose server is down.

Each call runs in its own thread. A call that never returns occupies its thread forever, so the number of running calls
is bounded.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class CallNotStarted(Exception):
    """This machine can start no thread for a call at the moment: the limit on threads or memory is reached."""


class BoundedCalls:
    """Runs calls with a time-out; at most ``most`` run concurrently."""

    def __init__(self, most: int, name: str) -> None:
        self._free = threading.BoundedSemaphore(most)
        self._name = name

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """Call the function and return its result; its exceptions propagate.

        Raises:
            TimeoutError: the function did not return within ``seconds``, or too many earlier calls are still running.
            CallNotStarted: no thread can be started; the function was not called.
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
            except BaseException as fault:  # raised again in the caller's thread, below
                faults.append(fault)
            finally:
                self._free.release()
                returned.set()

        try:
            threading.Thread(target=run, name=self._name, daemon=True).start()
        except RuntimeError as fault:  # no thread could be started, so none releases the semaphore
            self._free.release()
            raise CallNotStarted("this machine can start no more threads; stop what uses too many of them") from fault
        if not returned.wait(deadline - time.monotonic()):
            raise TimeoutError(f"it did not return within {seconds:g} s")
        if faults:
            raise faults.pop()
        return results.pop()
