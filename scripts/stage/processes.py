"""Processes that this program starts, waits for and stops. It touches no other processes.

Each process runs in a session of its own and has a log file. The started processes are recorded in ``processes.json``,
so that another program can stop them later. A process is recognized by its id and its start time, because the system
may have given the id to another process since. Children that a process left behind are recognized by an inherited
environment variable."""

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

#: Environment variable of every started process and of its children. Its value is different for every start.
MARK = "DATAGEN_STAGE"
#: Seconds for a process to end by itself after SIGTERM. After that its whole group is killed.
GRACE_S = 20.0
#: Seconds between two checks of a condition.
LOOK_EVERY_S = 0.1
#: Number of lines of a log that an error contains.
TAIL_LINES = 25


class StageError(Exception):
    """A step of the stage failed. The message is a sentence for the user."""


@dataclass(frozen=True, slots=True)
class Started:
    """A started process: its name, id, start time, log file, and the value of its environment variable ``MARK``."""

    name: str
    pid: int
    born: str
    log: str
    mark: str


def born(pid: int) -> str | None:
    """Return the start time of a process in the system's own notation.

    Return None if there is no such process, or if it is a zombie.
    """
    stat = Path(f"/proc/{pid}/stat")
    if stat.parent.parent.joinpath("self").exists():
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return None if fields[0] in "ZX" else fields[19]
    # no /proc (macOS): ps prints the start to the second
    listing = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, since = listing.stdout.strip().partition(" ")
    return None if not state or state.startswith("Z") else since.strip()


def wait_until(condition: Callable[[], bool], within: float, description: str, *, every: float = LOOK_EVERY_S) -> None:
    """Wait until ``condition()`` is true; it is checked every ``every`` seconds.

    Raises:
        StageError: it was not true within ``within`` seconds. ``description`` is the subject of the message.
    """
    deadline = time.monotonic() + within
    while not condition():
        if time.monotonic() > deadline:
            raise StageError(f"{description} did not happen within {within:.0f} s.")
        time.sleep(every)


class Processes:
    """The processes that are recorded in one folder."""

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
        """Start a process, and return when ``ready()`` is true.

        ``env`` is added to the environment of this process. Output goes to ``<folder>/<name>.log``.

        Raises:
            StageError: the program does not exist, ended, or was not ready within ``within`` seconds. The process is
                stopped, and the text contains the end of its log.
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
        """Return all recorded processes, running or not, in the order of their start."""
        try:
            return [Started(**entry) for entry in json.loads(self._notes.read_text())]
        except FileNotFoundError:
            return []

    def alive(self) -> list[Started]:
        """Return the recorded processes that run, or that have a running descendant."""
        return [started for started in self.noted() if self.is_alive(started)]

    def is_alive(self, started: Started) -> bool:
        """Return whether the process or one of its descendants runs."""
        if (child := self._children.get(started.pid)) is not None:
            child.poll()  # reap it, so that it does not linger as a zombie
        return born(started.pid) == started.born or any(self._left_behind(started))

    def stop(self, started: Started, grace: float = GRACE_S) -> None:
        """Stop a process and its descendants, and remove its record.

        Send SIGTERM to the process, and wait up to ``grace`` seconds. Then kill all of them that still run.
        """
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
        """Stop all recorded processes, the last started first; return those that ran."""
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
        """Yield the ids of all processes that have the mark of ``started``, in any group or session. Needs /proc."""
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
