"""``datagen up``: runs web, workers and scheduler on one machine, restarts those that exit, and stops all together.

These processes also stop if the supervisor is killed: see ``parent_watch``.
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
from datagen.queue.jobs import HANDOVERS

log = structlog.get_logger()

#: First and longest pause before a part that exited is restarted, seconds; each pause is twice the last one.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
#: Seconds that a part has to run so that its next pause is ``FIRST_PAUSE`` again.
GOOD_START_SECONDS = 30.0
#: Stop timeout of a supervisor that is itself a part of another one, seconds. It is shorter than ``STOP_SECONDS``,
#: after which the outer supervisor kills it, so that its own parts end first.
INNER_STOP_SECONDS = 0.7 * STOP_SECONDS


@dataclass
class _Part:
    """One supervised process, with its starts and its recent exits."""

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    starts: int = 0
    deaths: int = 0
    start_at: float = field(default_factory=time.monotonic)


def commands(workers: int, *, gpu: bool = False) -> dict[str, list[str]]:
    """Return the parts of one machine, name → command: ``workers`` workers, and one for downloads and pushes.

    With ``gpu`` there are also the workers for engines that need a GPU.
    """
    datagen = [sys.executable, "-m", "datagen"]
    return {
        **({"gpu": [*datagen, "worker", "--gpu"]} if gpu else {}),
        "web": [*datagen, "web"],
        "scheduler": [*datagen, "scheduler"],
        "handovers": [*datagen, "worker", "--queue", HANDOVERS],
        **{f"worker-{number}": [*datagen, "worker"] for number in range(1, workers + 1)},
    }


def gpu_commands(gpus: Sequence[str]) -> dict[str, list[str]]:
    """Return a worker for each GPU, named as in CUDA_VISIBLE_DEVICES; one worker if there is none (CPU, Apple GPU)."""
    worker = [sys.executable, "-m", "datagen", "worker", "--gpu", "--device"]
    return {f"gpu-{name}" if name else "gpu": [*worker, name] for name in gpus or ("",)}


def supervise(parts: dict[str, list[str]], stop_seconds: float = STOP_SECONDS) -> None:
    """Keep these parts running until SIGTERM or SIGINT; then stop all of them and wait until they have ended.

    A part that has not ended after ``stop_seconds`` is killed. SIGHUP is passed on to the web process, which then
    reloads its settings without rejecting a request.
    """
    stop, reload = threading.Event(), threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        (reload if number == signal.SIGHUP else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    running = [_Part(name, command) for name, command in parts.items()]
    parent_watch = ParentWatch()
    try:
        while not stop.wait(0.2):
            for part in running:
                _restart_if_due(part, parent_watch)
                if reload.is_set() and part.name == "web" and part.process is not None:
                    part.process.send_signal(signal.SIGHUP)
            reload.clear()
    finally:
        _stop_all(running, stop_seconds)
        parent_watch.close()


def _restart_if_due(part: _Part, parent_watch: ParentWatch) -> None:
    """Start a part whose restart is due. If its process has exited, log the exit and schedule the restart."""
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
        part.process = parent_watch.start(part.command)
        part.starts += 1
        log.info("part.started" if part.starts == 1 else "part.restarted", part=part.name, pid=part.process.pid)


def _end_of(code: int) -> dict[str, int | str]:
    """Return the exit code of a process, or the signal that ended it, from the return value of ``poll``."""
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
