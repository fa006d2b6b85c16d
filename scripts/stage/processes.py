"""Processes that this program starts, waits for and stops; it touches no others.

Each process runs in its own session with a log file. The started processes are stored in ``processes.json``, so that
another process can stop them later. A process counts as started here only while its start time equals the stored one:
the system may have given its number to another process since. Children that such a process left behind are recognized
by an inherited environment variable.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

#: Every process started here, and what it starts, carries this variable with a value made for that one start.
MARK = "DATAGEN_STAGE"
#: Seconds a process has to end by itself after SIGTERM, before its whole group is killed.
GRACE_S = 20.0
#: Seconds between two looks at a condition.
LOOK_EVERY_S = 0.1
#: Lines of a log that go into an error.
TAIL_LINES = 25


class StageError(Exception):
    """A step of the stage failed; the message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Started:
    """A process: its name, id, start time, log file, and the value of its mark."""

    name: str
    pid: int
    born: str
    log: str
    mark: str


def born(pid: int) -> str | None:
    """Return the start time of a process id, in the system's own notation; None if there is none (or a zombie)."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    # no /proc (macOS): ps knows it to the second
    listing = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, since = listing.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else since.strip()


def wait_until(condition: Callable[[], bool], within: float, what: str, *, every: float = LOOK_EVERY_S) -> None:
    """Return as soon as ``condition()`` holds.

    Raises:
        StageError: it did not within ``within`` seconds; ``what`` completes the sentence “… did not happen”.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise StageError(f"{what} did not happen within {within:.0f} s.")
        time.sleep(every)


class Processes:
    """The processes recorded in one folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder.absolute()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        self._noting = threading.Lock()  # parts may be started and stopped from several threads

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        ready: Callable[[], bool],
        within: float,
    ) -> Started:
        """Start a process and return once ``ready()`` holds.

        ``env`` is added to this process's own environment. Output goes to ``<folder>/<name>.log``.

        Raises:
            StageError: the program is not there, ended, or was not ready within ``within`` seconds; the end of its
                log is in the text. It is stopped then.
        """
        log = self.folder / f"{name}.log"
        mark = secrets.token_hex(16)
        surroundings = {**os.environ, **(env or {}), MARK: mark}
        with log.open("wb") as output:
            try:
                child = subprocess.Popen(
                    [str(part) for part in argv],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=surroundings,
                    cwd=cwd,
                    start_new_session=True,
                )
            except OSError as error:
                raise StageError(f"{name} cannot be started: {error}.") from error
        self._children[child.pid] = child
        started = Started(name, child.pid, born(child.pid) or "gone", str(log), mark)
        with self._noting:
            self._note([*self.noted(), started])
        try:
            self._wait_ready(started, child, ready, within)
        except BaseException:
            self.stop(started)
            raise
        return started

    def _wait_ready(
        self, started: Started, child: subprocess.Popen[bytes], ready: Callable[[], bool], within: float
    ) -> None:
        deadline = time.monotonic() + within
        while not ready():
            if (code := child.poll()) is not None:
                raise StageError(f"{started.name} ended with code {code} before it was ready.{self._tail(started)}")
            if time.monotonic() > deadline:
                raise StageError(f"{started.name} was not ready within {within:.0f} s.{self._tail(started)}")
            time.sleep(LOOK_EVERY_S)

    def noted(self) -> list[Started]:
        """Return every recorded process, alive or not, in the order of starting."""
        try:
            return [Started(**entry) for entry in json.loads(self._notes.read_text())]
        except FileNotFoundError:
            return []

    def alive(self) -> list[Started]:
        """Return the processes that still run, or whose descendants do."""
        return [started for started in self.noted() if self.is_alive(started)]

    def is_alive(self, started: Started) -> bool:
        """Return whether the process, or one that it started, still runs."""
        if (child := self._children.get(started.pid)) is not None:
            child.poll()  # reap it, so that it does not linger as a zombie
        return born(started.pid) == started.born or any(self._left_behind(started))

    def stop(self, started: Started, grace: float = GRACE_S) -> None:
        """Terminate the process, wait, kill it and its descendants if they remain, and remove its record."""
        if born(started.pid) == started.born:
            os.kill(started.pid, signal.SIGTERM)
            deadline = time.monotonic() + grace
            while self.is_alive(started) and time.monotonic() < deadline:
                time.sleep(LOOK_EVERY_S)
        if born(started.pid) == started.born:
            os.killpg(started.pid, signal.SIGKILL)
        for pid in self._left_behind(started):
            with contextlib.suppress(ProcessLookupError):  # it ended in this very moment
                os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not self.is_alive(started), 10, f"The end of {started.name} (process {started.pid})")
        if (child := self._children.pop(started.pid, None)) is not None:
            child.wait(timeout=10)
        with self._noting:
            self._note([other for other in self.noted() if other != started])

    def stop_all(self) -> list[Started]:
        """Stop every recorded process, the last started first; return those that were alive."""
        stopped = []
        for started in reversed(self.noted()):
            if self.is_alive(started):
                stopped.append(started)
            self.stop(started)
        return stopped

    @property
    def _notes(self) -> Path:
        return self.folder / "processes.json"

    def _note(self, entries: list[Started]) -> None:
        draft = self._notes.with_suffix(".draft")
        draft.write_text(json.dumps([asdict(entry) for entry in entries], indent=1))
        draft.replace(self._notes)

    def _left_behind(self, started: Started) -> Iterator[int]:
        """Every process that carries its mark, in whatever group or session; needs /proc."""
        carried = f"{MARK}={started.mark}".encode()
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if carried in (entry / "environ").read_bytes().split(b"\0") and born(int(entry.name)) is not None:
                    yield int(entry.name)
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # it ended while we looked, or belongs to another user: not ours

    def _tail(self, started: Started) -> str:
        lines = Path(started.log).read_text(errors="replace").splitlines()[-TAIL_LINES:]
        return f" The end of {started.log}:\n" + "\n".join(f"    {line}" for line in lines) if lines else ""
