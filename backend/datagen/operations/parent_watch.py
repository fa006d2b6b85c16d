"""A line between who starts parts and the parts: when the one end is gone, however it went, those at the other stop.

A pipe that nobody ever writes to. The parts hold its reading end; the writing end is closed by the system together
with the one process that has it, also when that was killed and could tell nobody. That works on every Unix, where a
parent's death is no signal but on Linux, and there is one of the thread that started the part.

Stopping the parts while their starter lives is the supervisor's own business.
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

#: On stopping, a worker may finish its shard within this, seconds; then it is killed, and its lease frees the shard.
STOP_SECONDS = 10.0
#: Tells a part the number of its reading end.
_VARIABLE = "DATAGEN_LIFELINE"


class ParentWatch:
    """The starter's end; it lasts as long as this process."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()  # closed in every other program that is started

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a part that holds the other end, in a session of its own.

        So Ctrl-C in the terminal reaches the starter alone, which stops its parts in order.
        """
        return subprocess.Popen(  # noqa: S603
            command,
            start_new_session=True,
            pass_fds=(self._reading,),
            env={**os.environ, _VARIABLE: str(self._reading)},
        )

    def close(self) -> None:
        """Let go of both ends, when every part has ended."""
        os.close(self._writing)
        os.close(self._reading)


def stop_when_cut() -> None:
    """Have this process stop, as SIGTERM asks it to, when its starter is gone; it is killed if that takes too long.

    Nothing happens in a process that was started without a line.
    """

    def stop() -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGTERM)  # wakes it from whatever it waits for
        time.sleep(STOP_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    when_cut(stop)


def when_cut(act: Callable[[], None]) -> None:
    """Call ``act`` in a thread when the starter of this process is gone; never, where there is no line."""
    number = os.environ.pop(_VARIABLE, None)  # what this process starts has no part in it
    if number is None:
        return
    reading = int(number)

    def watch() -> None:
        os.read(reading, 1)  # returns when the writing end is closed
        log.warning("lifeline.cut", pid=os.getpid())
        act()

    threading.Thread(target=watch, name="lifeline", daemon=True).start()
