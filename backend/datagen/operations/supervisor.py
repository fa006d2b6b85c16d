"""``datagen up``: web, workers and scheduler on one machine, started again when they die, stopped together.

They also stop when this process is killed: see ``lifeline``.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

import structlog

from datagen.operations.parent_watch import STOP_SECONDS, ParentWatch

log = structlog.get_logger()

#: A part that dies is started again after this, doubled each time up to the second, seconds.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
#: A part that lived so long had a good start: its next pause is the first again.
GOOD_START_SECONDS = 30.0
#: A supervisor that is itself a part gives its own parts less than it is given, or they would outlive it.
INNER_STOP_SECONDS = 0.7 * STOP_SECONDS


@dataclass
class _Part:
    """One process of ours and how often it died of late."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)


def commands(workers: int, *, gpu: bool = False) -> dict[str, list[str]]:
    """The parts of one machine: name → command; with ``gpu`` also the workers for engines that need one."""
    datagen = [sys.executable, "-m", "datagen"]
    return {
        **({"gpu": [*datagen, "worker", "--gpu"]} if gpu else {}),
        "web": [*datagen, "web"],
        "scheduler": [*datagen, "scheduler"],
        **{f"worker-{number}": [*datagen, "worker"] for number in range(1, workers + 1)},
    }


def gpu_commands(gpus: Sequence[str]) -> dict[str, list[str]]:
    """A worker for each GPU, as CUDA_VISIBLE_DEVICES names them; one where there is none (a CPU, Apple's)."""
    worker = [sys.executable, "-m", "datagen", "worker", "--gpu", "--device"]
    return {f"gpu-{name}" if name else "gpu": [*worker, name] for name in gpus or ("",)}


def supervise(parts: dict[str, list[str]], stop_seconds: float = STOP_SECONDS) -> None:
    """Keep these parts running until SIGTERM or SIGINT; then stop all of them and wait for their end.

    What has not ended after ``stop_seconds`` is killed. SIGHUP is handed on to the web process, which then reads
    changed settings without refusing a request.
    """
    stop, read_again = threading.Event(), threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        (read_again if number == signal.SIGHUP else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    running = [_Part(name, command) for name, command in parts.items()]
    line = ParentWatch()
    try:
        while not stop.wait(0.2):
            for part in running:
                _look_after(part, line)
                if read_again.is_set() and part.name == "web" and part.process is not None:
                    part.process.send_signal(signal.SIGHUP)
            read_again.clear()
    finally:
        _stop_all(running, stop_seconds)
        line.close()


def _look_after(part: _Part, line: ParentWatch) -> None:
    moment = time.monotonic()
    if part.process is not None:
        code = part.process.poll()
        if code is None:
            return
        pid, part.process = part.process.pid, None
        part.deaths = 1 if moment - part.started > GOOD_START_SECONDS else part.deaths + 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (part.deaths - 1))
        part.start_at = moment + pause
        lived = round(moment - part.started, 1)
        log.warning("part.exited", part=part.name, pid=pid, **_end_of(code), lived_s=lived, starts_again_in_s=pause)
    elif moment >= part.start_at:
        part.started = moment
        part.process = line.start(part.command)
        part.starts += 1
        log.info("part.started" if part.starts == 1 else "part.restarted", part=part.name, pid=part.process.pid)


def _end_of(code: int) -> dict[str, int | str]:
    """How a process ended, by what ``poll`` gave: its exit code, or the signal that ended it."""
    if code >= 0:
        return {"exit_code": code}
    try:
        return {"signal": signal.Signals(-code).name}
    except ValueError:  # a real-time signal has no name
        return {"signal": str(-code)}


def _stop_all(parts: list[_Part], stop_seconds: float) -> None:
    alive = [(part.name, part.process) for part in parts if part.process is not None]
    for _, process in alive:
        process.terminate()
    deadline = time.monotonic() + stop_seconds
    for name, process in alive:
        try:
            code = process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        log.info("part.stopped", part=name, pid=process.pid, **_end_of(code))
