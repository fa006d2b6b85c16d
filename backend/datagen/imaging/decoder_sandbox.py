"""Decoding of a picture that came from outside: in a process of its own, contained, bounded in time and memory.

The limits before decoding (bytes, kind, pixels: see ``decode``) stop what is too large by its own account; this stops
what a decoder does beyond that: a loop without end, memory without bound, a crash in C, code that a picture brings.
The process has no file, no network and no secret (see ``containment``) and is kept for the next picture; one that dies
is started anew. What it answers is bounded and checked like any foreign data.

The other end is ``decoder_process``.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import weakref
from typing import Any, NamedTuple

import numpy as np

from datagen.errors import BadPicture, StoreError
from datagen.imaging.codec import Pixels, check_bytes
from datagen.imaging.framing import PIXELS, SIZE, receive, receive_into, send

#: Processor time for one picture, seconds: 100 million pixels need about 5, whatever the kind.
CPU_SECONDS = 30
#: The same by the clock, on a machine that has other things to do.
WALL_SECONDS = 120.0
#: Memory for a picture, bytes a pixel: 16-bit RGBA, its colours, and those turned upright, with some room.
BYTES_PER_PIXEL = 24
#: … and for the small ones.
BASE_MEMORY = 256 * 2**20
#: Starting Python and the decoders takes a second; a machine that swaps needs patience.
START_SECONDS = 60.0
#: A process is replaced once it used its share of a picture so often; the kernel ends it at one share more.
SHARES_A_PROCESS = 10
#: What the process is told of our surroundings: where programs and packages are, and no secret. It forgets even that.
_KEPT_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
#: Its decoders would start threads that one picture does not need.
_SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
#: Bytes of an answer without its pixels, and characters of a sentence in it that are passed on: decoders quote files.
_MOST_ANSWER_BYTES, _MOST_SENTENCE = 2**16, 1000
#: Types that pixels may have.
_PIXEL_TYPES = {"uint8": np.uint8, "uint16": np.uint16}
#: The processor time of another process is looked at no more often than this, seconds.
_SHORTEST_LOOK = 0.1
#: The clock of a process's processor time, see clock_getcpuclockid(3): it needs no permission.
_CPUCLOCK_SCHED = 2
_AGAIN = "open it in a picture editor, save it again, and add that"


class DecoderSandbox:
    """Decodes pictures in its process and gives their size or pixels; for any number of threads, one picture at a time.

    Args:
        max_bytes: as for ``decode``.
        max_pixels: as for ``decode``.
        cpu_seconds: processor time for one picture.
        wall_seconds: the same by the clock.
        memory_bytes: memory for one picture; by default what the largest allowed one needs.
        decoder: ``module:function`` with the arguments of ``decode``.
    """

    def __init__(
        self,
        *,
        max_bytes: int,
        max_pixels: int,
        cpu_seconds: int = CPU_SECONDS,
        wall_seconds: float = WALL_SECONDS,
        memory_bytes: int | None = None,
        decoder: str = "datagen.imaging.codec:decode",
    ) -> None:
        self._max_bytes, self._max_pixels = max_bytes, max_pixels
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._memory_bytes = memory_bytes or BASE_MEMORY + BYTES_PER_PIXEL * max_pixels
        life = (SHARES_A_PROCESS + 1) * cpu_seconds
        self._arguments = [decoder, max_bytes, max_pixels, life, self._memory_bytes]
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def size_of(self, data: bytes) -> tuple[int, int]:
        """Width and height in pixels of the upright picture, which decodes as a whole within the bounds.

        Raises:
            BadPicture: it does not; the sentence says why and what to do.
            StoreError: the process cannot be started.
        """
        answer = self._answer(data, with_pixels=False)
        return answer.width, answer.height

    def decode(self, data: bytes) -> Pixels:
        """The pixels of a picture, decoded within the bounds; the same as those of ``decode.decode``.

        Returns:
            Read-only [h, w] grey or [h, w, 3] RGB, uint8 or uint16.

        Raises:
            BadPicture: it does not decode; the sentence says why and what to do.
            StoreError: the process cannot be started.
        """
        pixels = self._answer(data, with_pixels=True).pixels
        assert pixels is not None
        pixels.flags.writeable = False
        return pixels

    def missing_containment(self) -> list[str]:
        """What this machine cannot take away from the process that decodes, a sentence each.

        Raises:
            StoreError: the process cannot be started.
        """
        with self._lock:
            return self._running().missing

    def close(self) -> None:
        """End the process; the next picture starts another."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None

    def _answer(self, data: bytes, *, with_pixels: bool) -> _Answer:
        check_bytes(len(data), self._max_bytes)
        with self._lock:
            try:
                return self._ask(data, with_pixels)
            except _Died:
                # the picture's fault, or somebody else's who ended the process: the second time it is the picture's
                return self._ask_again(data, with_pixels)

    def _ask_again(self, data: bytes, with_pixels: bool) -> _Answer:
        try:
            return self._ask(data, with_pixels)
        except _Died:
            raise BadPicture(f"the decoder broke down over the picture; {_AGAIN}") from None

    def _ask(self, data: bytes, with_pixels: bool) -> _Answer:
        process = self._running()
        try:
            patience = _Patience(process.pid, self._cpu_seconds, self._wall_seconds)
            return process.ask(data, self._max_pixels, with_pixels, patience)
        except TimeoutError:
            process.end()
            self._process = None
            raise BadPicture(
                f"decoding the picture took more than {self._cpu_seconds} s; make it smaller, or {_AGAIN}"
            ) from None
        except (OSError, ValueError, RecursionError):
            process.end()
            self._process = None
            raise _Died from None

    def _running(self) -> _Process:
        """The process; a new one after a fork, or when the last one is used up."""
        if self._process is not None and self._process.owner != os.getpid():  # it is the parent's
            self._process = None
        if self._process is not None and (_cpu_used(self._process.pid) or 0) > SHARES_A_PROCESS * self._cpu_seconds:
            self._process.end()
            self._process = None
        if self._process is None:
            self._process = _Process(self._arguments)
        return self._process


class _Answer(NamedTuple):
    width: int
    height: int
    pixels: Pixels | None


class _Died(Exception):
    """The process ended over a picture, or answers nonsense."""


class _Patience:
    """How long to wait for a process at a picture: until its processor time or the time by the clock is used up."""

    def __init__(self, pid: int, cpu_seconds: float, wall_seconds: float) -> None:
        self._pid = pid
        self._until = time.monotonic() + wall_seconds
        used = _cpu_used(pid)
        self._most_cpu = None if used is None else used + cpu_seconds

    def next_wait(self) -> float:
        """Seconds to wait before asking again.

        Raises:
            TimeoutError: its time is used up.
        """
        wait = self._until - time.monotonic()
        if self._most_cpu is not None and (used := _cpu_used(self._pid)) is not None:
            if used >= self._most_cpu:
                raise TimeoutError
            wait = min(wait, max(self._most_cpu - used, _SHORTEST_LOOK))  # it has one thread: no faster than the clock
        if wait <= 0:
            raise TimeoutError
        return wait


class _Process:
    """The process and the line to it. It ends when the line does, so none outlives its owner."""

    def __init__(self, arguments: list[Any]) -> None:
        self.owner = os.getpid()
        self._line, theirs = socket.socketpair()
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "datagen.imaging.decoder_process", *map(str, arguments)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _SINGLE,
                start_new_session=True,  # Ctrl-C in the terminal is for its owner
            )
        self.pid = self._popen.pid
        self._finalizer = weakref.finalize(self, _end, self._popen, self._line, self.owner)
        try:
            patience = _Patience(self.pid, START_SECONDS, START_SECONDS)
            ready = json.loads(receive(self._line, _MOST_ANSWER_BYTES, patience.next_wait))
        except OSError:
            raise StoreError(
                f"the process that decodes pictures does not start (exit code {self.end()}); see the end of the log"
            ) from None
        #: What the machine cannot take away from it.
        self.missing = [str(sentence) for sentence in ready["missing"]]

    def ask(self, data: bytes, max_pixels: int, with_pixels: bool, patience: _Patience) -> _Answer:
        """The answer for one picture, with its pixels where they are asked for.

        Raises:
            BadPicture: what the process says of it.
            TimeoutError: there is none within its time.
            OSError: the process ended.
            ValueError: the answer is none.
        """
        self._line.settimeout(patience.next_wait())
        send(self._line, PIXELS if with_pixels else SIZE)
        send(self._line, data)
        said = json.loads(receive(self._line, _MOST_ANSWER_BYTES, patience.next_wait))
        answer = _checked(said, max_pixels, with_pixels)
        if answer.pixels is not None:
            receive_into(self._line, answer.pixels.data.cast("B"), patience.next_wait)
        return answer

    def end(self) -> int:
        """End it and say how it ended."""
        self._finalizer()
        return int(self._popen.returncode or 0)


def _checked(said: Any, max_pixels: int, with_pixels: bool) -> _Answer:
    """What the process says of a picture, with room for its pixels where they are to follow.

    Raises:
        BadPicture: it says that it is one.
        ValueError: it is no answer, or beyond the limits.
    """
    match said:
        case {"problem": str(problem)}:
            raise BadPicture(problem[:_MOST_SENTENCE])
        case {"width": int(width), "height": int(height), "channels": int(channels), "type": str(kind)}:
            if width < 1 or height < 1 or width * height > max_pixels:
                raise ValueError(f"{width} by {height} pixels")
            if not with_pixels:
                return _Answer(width, height, None)
            if channels not in (1, 3) or kind not in _PIXEL_TYPES:
                raise ValueError(f"{channels} channels of {kind}")
            shape = (height, width) if channels == 1 else (height, width, channels)
            return _Answer(width, height, np.empty(shape, _PIXEL_TYPES[kind]))
    raise ValueError("neither a size nor a problem")


def _cpu_used(pid: int) -> float | None:
    """Processor time of a process of ours, seconds; None where the system does not tell."""
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return None


def _end(popen: subprocess.Popen[bytes], line: socket.socket, owner: int) -> None:
    line.close()
    if os.getpid() != owner:
        return
    try:
        popen.wait(0.2)  # it dies by itself, of what befell it or of the closed line
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
