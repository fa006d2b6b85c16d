"""Stops child processes when their parent ends for any reason, also when the parent is killed.

Parent and children share a pipe that is never written to. The children hold the reading end. Only the parent holds the
writing end, which the system closes when the parent ends. The children then read the end of the pipe.

This works on every Unix. The alternative, a signal that the system sends when the parent ends, exists only on Linux.
There it is sent when the thread that started the child ends, which may be earlier.

A parent that is running stops its children itself; see ``supervisor``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import structlog

log = structlog.get_logger()

#: Time that a worker has to finish its shard after a stop request, seconds. Then the worker is killed, and another one
#: can claim the shard when its lease expires.
STOP_SECONDS = 10.0
#: The environment variable with the file descriptor of the reading end.
_VARIABLE = "DATAGEN_LIFELINE"


class ParentWatch:
    """The parent's end of the pipe; it stays open until ``close`` or the end of this process."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()  # not inherited by other programs

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a child that holds the reading end, in its own session.

        Ctrl-C in the terminal then reaches only the parent, which stops its children in order.
        """
        return subprocess.Popen(  # noqa: S603
            command,
            start_new_session=True,
            pass_fds=(self._reading,),
            env={**os.environ, _VARIABLE: str(self._reading)},
        )

    def close(self) -> None:
        """Close both ends, after every child has ended."""
        os.close(self._writing)
        os.close(self._reading)


def stop_on_parent_exit() -> None:
    """Send this process SIGTERM when its parent ends, and SIGKILL ``STOP_SECONDS`` later.

    Does nothing in a process that a ``ParentWatch`` did not start.
    """

    def stop() -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)  # interrupts a blocking call
        time.sleep(STOP_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    on_parent_exit(stop)


def on_parent_exit(act: Callable[[], None]) -> None:
    """Call ``act`` in a thread when the parent ends; do nothing if no ``ParentWatch`` started this process."""
    number = os.environ.pop(_VARIABLE, None)  # not passed on to processes that this one starts
    if number is None:
        return
    reading = int(number)

    def watch() -> None:
        os.read(reading, 1)  # returns when the writing end is closed
        log.warning("parent.exited", pid=os.getpid())
        act()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
