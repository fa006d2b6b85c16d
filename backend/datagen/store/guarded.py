"""Decoding of pictures that came from outside: in a process of its own, bounded in time and memory.

The limits before decoding (bytes, kind, pixels: see ``decode``) stop what is too large by its own account; this stops
what a decoder does beyond that: a loop without end, memory without bound, a crash in C. The process knows no secret,
can write no file, and is kept for the next picture; one that dies is started anew. What it answers is checked here as
well: its length, shape and type are bounded before memory is taken for them.

This module is both ends: ``python -m datagen.store.guarded`` is the process's.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from datagen.errors import BadPicture, StoreError
from datagen.store.decode import Pixels, check_bytes

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
#: What the process is told of our surroundings: where programs and packages are, and no secret.
_KEPT_VARIABLES = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "TMPDIR")
#: Its decoders would start threads that one picture does not need.
_SINGLE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OPENCV_FOR_THREADS_NUM": "1"}
#: What is asked of the process: that a picture decodes and how large it is, or its pixels too.
_SIZE, _PIXELS = b"size", b"pixels"
_LENGTH_BYTES = 8
#: An answer without its pixels is at most this long, bytes: the sentences of decoders quote files.
_MOST_ANSWER_BYTES = 2**16
#: Types that pixels may have.
_PIXEL_TYPES = {"uint8": np.uint8, "uint16": np.uint16}
_AGAIN = "open it in a picture editor, save it again, and add that"


class GuardedDecoder:
    """Decodes pictures in its process and says their size; for any number of threads, one picture at a time.

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
        decoder: str = "datagen.store.decode:decode",
    ) -> None:
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._cpu_seconds = cpu_seconds
        self._wall_seconds = wall_seconds
        self._memory_bytes = memory_bytes or BASE_MEMORY + BYTES_PER_PIXEL * max_pixels
        self._arguments = [decoder, max_bytes, max_pixels, cpu_seconds, self._memory_bytes]
        self._lock = threading.Lock()
        self._process: _Process | None = None

    def size_of(self, data: bytes) -> tuple[int, int]:
        """Width and height in pixels of the upright picture, which decodes as a whole within the bounds.

        Raises:
            BadPicture: it does not; the sentence says why and what to do.
            StoreError: the process cannot be started.
        """
        answer, _ = self._answer(data, with_pixels=False)
        return int(answer["width"]), int(answer["height"])

    def decode(self, data: bytes) -> Pixels:
        """The pixels of a picture, decoded within the bounds; the same as those of ``decode.decode``.

        Returns:
            Read-only [h, w] grey or [h, w, 3] RGB, uint8 or uint16.

        Raises:
            BadPicture: it does not decode; the sentence says why and what to do.
            StoreError: the process cannot be started.
        """
        _, pixels = self._answer(data, with_pixels=True)
        assert pixels is not None
        pixels.flags.writeable = False
        return pixels

    def close(self) -> None:
        """End the process; the next picture starts another."""
        with self._lock:
            if self._process is not None:
                self._process.end()
                self._process = None

    def _answer(self, data: bytes, *, with_pixels: bool) -> _Answer:
        """The answer for a picture that decodes, with its pixels where they are asked for."""
        check_bytes(len(data), self._max_bytes)
        with self._lock:
            try:
                answer = self._ask(data, with_pixels)
            except _Died as death:
                if death.exit_code == -signal.SIGXCPU:
                    raise self._too_slow() from None
                # the picture's fault, or somebody else's who ended the process: the second time it is the picture's
                answer = self._ask_again(data, with_pixels)
        if "problem" in answer[0]:
            raise BadPicture(str(answer[0]["problem"]))
        return answer

    def _ask_again(self, data: bytes, with_pixels: bool) -> _Answer:
        try:
            return self._ask(data, with_pixels)
        except _Died as death:
            if death.exit_code == -signal.SIGXCPU:
                raise self._too_slow() from None
            raise BadPicture(f"the decoder broke down over the picture; {_AGAIN}") from None

    def _ask(self, data: bytes, with_pixels: bool) -> _Answer:
        if self._process is None or self._process.owner != os.getpid():  # after a fork it is the parent's
            self._process = _Process(self._arguments)
        try:
            return self._process.ask(data, self._wall_seconds, self._max_pixels if with_pixels else None)
        except TimeoutError:
            self._process.end()
            self._process = None
            raise self._too_slow() from None
        except OSError:
            exit_code = self._process.end()
            self._process = None
            raise _Died(exit_code) from None

    def _too_slow(self) -> BadPicture:
        return BadPicture(f"decoding the picture took more than {self._cpu_seconds} s; make it smaller, or {_AGAIN}")


#: What the process says of a picture, and its pixels where they were asked for.
_Answer = tuple[dict[str, Any], Pixels | None]


class _Died(Exception):
    """The process ended over a picture."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class _Process:
    """The process and the line to it. It ends when the line does, so none outlives its owner."""

    def __init__(self, arguments: list[Any]) -> None:
        self.owner = os.getpid()
        self._line, theirs = socket.socketpair()
        with theirs:
            self._popen = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "datagen.store.guarded", *map(str, arguments)],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env={name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ} | _SINGLE,
                start_new_session=True,  # Ctrl-C in the terminal is for its owner
            )
        self._finalizer = weakref.finalize(self, _end, self._popen, self._line, self.owner)
        try:
            _receive(self._line, _MOST_ANSWER_BYTES, time.monotonic() + START_SECONDS)
        except OSError:
            raise StoreError(
                f"the process that decodes pictures does not start (exit code {self.end()}); see the end of the log"
            ) from None

    def ask(self, data: bytes, seconds: float, max_pixels: int | None) -> _Answer:
        """The answer for one picture, and its pixels (at most ``max_pixels``) unless that is None.

        Raises:
            TimeoutError: not within ``seconds``.
            OSError: the process ended, or answered what no decoder of ours does.
        """
        until = time.monotonic() + seconds
        self._line.settimeout(seconds)
        _send(self._line, _SIZE if max_pixels is None else _PIXELS)
        _send(self._line, data)
        try:
            answer: dict[str, Any] = json.loads(_receive(self._line, _MOST_ANSWER_BYTES, until))
            if max_pixels is None or "problem" in answer:
                return answer, None
            pixels = _room_for(answer, max_pixels)
        except (ValueError, KeyError, TypeError) as nonsense:
            raise ConnectionResetError("the process answered nonsense") from nonsense
        _receive_into(self._line, pixels.data.cast("B"), until)
        return answer, pixels

    def end(self) -> int:
        """End it and say how it ended."""
        self._finalizer()
        return int(self._popen.returncode or 0)


def _end(popen: subprocess.Popen[bytes], line: socket.socket, owner: int) -> None:
    line.close()
    if os.getpid() != owner:
        return
    try:
        popen.wait(0.2)  # it dies by itself, of what befell it or of the closed line
    except subprocess.TimeoutExpired:
        popen.kill()
        popen.wait()


def _send(line: socket.socket, data: bytes) -> None:
    line.sendall(len(data).to_bytes(_LENGTH_BYTES, "big"))
    line.sendall(data)


def _receive(line: socket.socket, most_bytes: int, until: float | None = None) -> bytes:
    head = bytearray(_LENGTH_BYTES)
    _receive_into(line, memoryview(head), until)
    size = int.from_bytes(head, "big")
    if size > most_bytes:
        raise ConnectionResetError(f"the other end announced {size:,} bytes")
    data = bytearray(size)
    _receive_into(line, memoryview(data), until)
    return bytes(data)


def _receive_into(line: socket.socket, view: memoryview, until: float | None) -> None:
    """Fill ``view`` from the line, all of it by ``until`` (``time.monotonic``)."""
    while len(view):
        if until is not None:
            line.settimeout(max(0.001, until - time.monotonic()))
        if not (count := line.recv_into(view)):
            raise ConnectionResetError("the other end is closed")
        view = view[count:]


def _room_for(answer: dict[str, Any], max_pixels: int) -> Pixels:
    """An array of the announced shape and type, within the limits."""
    height, width, channels = int(answer["height"]), int(answer["width"]), int(answer["channels"])
    if height < 1 or width < 1 or width * height > max_pixels or channels not in (1, 3):
        raise ValueError(f"{width} × {height} × {channels}")
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.empty(shape, _PIXEL_TYPES[answer["type"]])


# -- the process's end


def _serve(decoder: str, max_bytes: int, max_pixels: int, cpu_seconds: int, memory_bytes: int) -> None:
    """Decode what comes over the line on standard input, until it is closed."""
    line = socket.socket(fileno=0)
    module, _, function = decoder.partition(":")
    decode: Callable[..., Any] = getattr(importlib.import_module(module), function)
    _bound(resource.RLIMIT_AS, _mapped_bytes() + memory_bytes)
    _bound(resource.RLIMIT_FSIZE, 0)
    _bound(resource.RLIMIT_CORE, 0)
    _send(line, b"ready")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # decoders write what files say there: not into our log
    while True:
        try:
            with_pixels = _receive(line, _MOST_ANSWER_BYTES) == _PIXELS
            data = _receive(line, max_bytes)
        except ConnectionResetError:
            return
        used = resource.getrusage(resource.RUSAGE_SELF)
        _bound(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_seconds)
        pixels = None
        try:
            pixels = decode(data, max_bytes=max_bytes, max_pixels=max_pixels)
            height, width = pixels.shape[:2]
            channels = 1 if pixels.ndim == 2 else pixels.shape[2]
            answer = {"width": width, "height": height, "channels": channels, "type": str(pixels.dtype)}
        except BadPicture as problem:
            answer = {"problem": str(problem)}
        except MemoryError:
            answer = {"problem": f"decoding the picture takes more than {memory_bytes >> 20:,} MiB; scale it down"}
        del data
        _send(line, json.dumps(answer).encode()[:_MOST_ANSWER_BYTES])
        if with_pixels and pixels is not None:
            line.sendall(pixels.data.cast("B"))
        del pixels


def _bound(what: int, value: int) -> None:
    """Set a soft limit, below the hard one that may be there already."""
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _mapped_bytes() -> int:
    """Address space in use: Python's and the decoders' own."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            return int(file.read().split()[0]) * resource.getpagesize()
    except FileNotFoundError:  # no /proc (macOS), where the limit is not heeded anyway
        return 2**32


if __name__ == "__main__":
    _serve(sys.argv[1], *map(int, sys.argv[2:]))
