"""Decoding of untrusted pictures in a separate, contained process with limited time and memory.

The checks before decoding (bytes, kind, pixels; see ``codec.decode``) reject files that declare too large a size. The
sandbox protects against faults of a decoder: endless loops, unlimited memory, crashes in C, and execution of code from
a picture. Its process has no access to files, network or secrets (see ``containment``). It is used for one picture
after another; after a crash a new process is started. Its answers are limited in size and validated, like other
untrusted data.

``decoder_process`` is the program that the process runs."""

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

#: Processor time for one picture, in seconds. 100 million pixels need about 5 seconds, for every kind of file.
CPU_SECONDS = 30
#: Wall-clock time for one picture, in seconds. It is longer, because the machine may be busy.
WALL_SECONDS = 120.0
#: Memory for a picture in bytes per pixel: 16-bit RGBA, its colours, the upright colours, and a margin.
BYTES_PER_PIXEL = 24
#: Memory in bytes besides that for the pixels; it is sufficient for small pictures.
BASE_MEMORY = 256 * 2**20
#: Timeout in seconds for the start of the process. It takes about one second, and longer on a machine that swaps.
START_SECONDS = 60.0
#: A process is replaced when it has used this many times ``cpu_seconds``. The kernel ends it one ``cpu_seconds`` later.
SHARES_A_PROCESS = 10
#: Environment variables that the process inherits. They contain paths of programs and packages, and no secrets. The
#: process clears them after its start.
_KEPT_VARIABLES = ("PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH")
#: Environment variables that turn off the decoders' threads, which a single picture does not need.
_SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
#: Maximum bytes of an answer without its pixels, and maximum characters of its sentence, because decoders quote from
#: files.
_MAX_ANSWER_BYTES, _MAX_SENTENCE = 2**16, 1000
#: Types of pixels that an answer may have.
_PIXEL_TYPES = {"uint8": np.uint8, "uint16": np.uint16}
#: Shortest interval in seconds between two reads of the process's processor time.
_SHORTEST_LOOK = 0.1
#: Clock id for the processor time of a process, see clock_getcpuclockid(3). Reading it needs no permission.
_CPUCLOCK_SCHED = 2
_SAVE_AGAIN = "open it in a picture editor, save it again, and add that"


class DecoderSandbox:
    """Decodes pictures in a contained process. It is thread-safe and decodes one picture at a time.

    Args:
        max_bytes: as for ``codec.decode``.
        max_pixels: as for ``codec.decode``.
        cpu_seconds: processor time for one picture, in seconds.
        wall_seconds: wall-clock time for one picture, in seconds.
        memory_bytes: memory for one picture; by default enough for the largest allowed picture.
        decoder: the function that decodes, as ``module:function``; it takes the arguments of ``codec.decode``.
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
        lifetime_cpu_seconds = (SHARES_A_PROCESS + 1) * cpu_seconds
        self._arguments = [decoder, max_bytes, max_pixels, lifetime_cpu_seconds, self._memory_bytes]
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def size_of(self, data: bytes) -> tuple[int, int]:
        """Decode a picture within the limits; return width and height of the upright picture in pixels.

        Raises:
            BadPicture: the picture cannot be decoded; the sentence names the cause and the fix.
            StoreError: the process cannot be started.
        """
        answer = self._answer(data, with_pixels=False)
        return answer.width, answer.height

    def decode(self, data: bytes) -> Pixels:
        """Decode a picture within the limits; return the pixels that ``codec.decode`` returns for it.

        Returns:
            Read-only [h, w] grey or [h, w, 3] RGB, uint8 or uint16.

        Raises:
            BadPicture: the picture cannot be decoded; the sentence names the cause and the fix.
            StoreError: the process cannot be started.
        """
        pixels = self._answer(data, with_pixels=True).pixels
        assert pixels is not None
        pixels.flags.writeable = False
        return pixels

    def missing_containment(self) -> list[str]:
        """Return a sentence for each restriction of the process that this machine does not support.

        Raises:
            StoreError: the process cannot be started.
        """
        with self._lock:
            return self._running().missing

    def close(self) -> None:
        """End the process. The next picture starts a new one."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None

    def _answer(self, data: bytes, *, with_pixels: bool) -> _Answer:
        check_bytes(len(data), self._max_bytes)
        with self._lock:
            try:
                return self._ask(data, with_pixels)
            except _ProcessFailed:
                # the picture or an outside signal may have ended the process: a second failure is the picture's fault
                return self._ask_again(data, with_pixels)

    def _ask_again(self, data: bytes, with_pixels: bool) -> _Answer:
        try:
            return self._ask(data, with_pixels)
        except _ProcessFailed:
            raise BadPicture(f"the decoder broke down over the picture; {_SAVE_AGAIN}") from None

    def _ask(self, data: bytes, with_pixels: bool) -> _Answer:
        process = self._running()
        try:
            deadline = _Deadline(process.pid, self._cpu_seconds, self._wall_seconds)
            return process.ask(data, self._max_pixels, with_pixels, deadline)
        except TimeoutError:
            process.end()
            self._process = None
            raise BadPicture(
                f"decoding the picture took more than {self._cpu_seconds} s; make it smaller, or {_SAVE_AGAIN}"
            ) from None
        except (OSError, ValueError, RecursionError):
            process.end()
            self._process = None
            raise _ProcessFailed from None

    def _running(self) -> _Process:
        """Return the running process, or start one.

        A new process is started after a fork, or if the previous one used up its processor time.
        """
        if self._process is not None and self._process.owner != os.getpid():  # it belongs to the parent
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


class _ProcessFailed(Exception):
    """The process ended while it decoded a picture, or its answer is invalid."""


class _Deadline:
    """Limits of a process for one picture: its processor time and the wall-clock time."""

    def __init__(self, pid: int, cpu_seconds: float, wall_seconds: float) -> None:
        self._pid = pid
        self._until = time.monotonic() + wall_seconds
        used = _cpu_used(pid)
        self._most_cpu = None if used is None else used + cpu_seconds

    def next_wait(self) -> float:
        """Return how many seconds to wait before this method is called again.

        Raises:
            TimeoutError: the processor time or the wall-clock time is used up.
        """
        wait = self._until - time.monotonic()
        if self._most_cpu is not None and (used := _cpu_used(self._pid)) is not None:
            if used >= self._most_cpu:
                raise TimeoutError
            # the process has one thread: its processor time advances no faster than the wall clock
            wait = min(wait, max(self._most_cpu - used, _SHORTEST_LOOK))
        if wait <= 0:
            raise TimeoutError
        return wait


class _Process:
    """The process and its socket.

    The process ends when the socket is closed, so that it does not outlive the process that started it.
    """

    def __init__(self, arguments: list[Any]) -> None:
        self.owner = os.getpid()
        self._line, child_end = socket.socketpair()
        with child_end:
            self._popen = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "datagen.imaging.decoder_process", *map(str, arguments)],
                stdin=child_end.fileno(),
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _SINGLE,
                start_new_session=True,  # Ctrl-C in the terminal must reach its owner only
            )
        self.pid = self._popen.pid
        self._finalizer = weakref.finalize(self, _end, self._popen, self._line, self.owner)
        try:
            deadline = _Deadline(self.pid, START_SECONDS, START_SECONDS)
            ready = json.loads(receive(self._line, _MAX_ANSWER_BYTES, deadline.next_wait))
        except OSError:
            raise StoreError(
                f"the process that decodes pictures does not start (exit code {self.end()}); see the end of the log"
            ) from None
        #: a sentence for each restriction that the machine does not support
        self.missing = [str(sentence) for sentence in ready["missing"]]

    def ask(self, data: bytes, max_pixels: int, with_pixels: bool, deadline: _Deadline) -> _Answer:
        """Send one picture and return the answer, with the pixels if ``with_pixels``.

        Raises:
            BadPicture: the process reports a problem of the picture.
            TimeoutError: the process did not answer within the deadline.
            OSError: the process ended.
            ValueError: the answer is invalid.
        """
        self._line.settimeout(deadline.next_wait())
        send(self._line, PIXELS if with_pixels else SIZE)
        send(self._line, data)
        message = json.loads(receive(self._line, _MAX_ANSWER_BYTES, deadline.next_wait))
        answer = _parse_answer(message, max_pixels, with_pixels)
        if answer.pixels is not None:
            receive_into(self._line, answer.pixels.data.cast("B"), deadline.next_wait)
        return answer

    def end(self) -> int:
        """End the process and return its exit code."""
        self._finalizer()
        return int(self._popen.returncode or 0)


def _parse_answer(message: Any, max_pixels: int, with_pixels: bool) -> _Answer:
    """Return the parsed answer. If pixels follow, it has an uninitialized array for them.

    Raises:
        BadPicture: the message reports a problem of the picture.
        ValueError: the message is not a valid answer, or its size exceeds the limits.
    """
    match message:
        case {"problem": str(problem)}:
            raise BadPicture(problem[:_MAX_SENTENCE])
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
    """Return the processor time in seconds that a child process has used; None if the system does not provide it."""
    try:
        return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)
    except OSError:
        return None


def _end(popen: subprocess.Popen[bytes], line: socket.socket, owner: int) -> None:
    line.close()
    if os.getpid() != owner:
        return
    try:
        popen.wait(0.2)  # it ends by itself, after a failure or because the socket is closed
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()
