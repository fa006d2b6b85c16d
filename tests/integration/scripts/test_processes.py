"""The stage stops its own processes with all their descendants, and no others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

import stage
from stage.processes import Processes, StageError, Started, born, wait_until

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    started = Processes(tmp_path / "servers")
    yield started
    started.stop_all()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that the stage did not start."""
    with subprocess.Popen(SLEEPER) as child:
        yield child
        child.kill()


def start_sleeper(processes: Processes, name: str = "sleeper") -> Started:
    return processes.start(name, SLEEPER, ready=lambda: True, within=5)


def test_started_process_is_stopped_and_its_record_removed(processes: Processes) -> None:
    started = start_sleeper(processes)
    assert processes.alive() == [started]
    assert processes.stop_all() == [started]
    assert born(started.pid) is None
    assert processes.noted() == []


def test_another_process_can_stop_it_later(processes: Processes) -> None:
    started = start_sleeper(processes)
    code = (
        "import sys; from pathlib import Path; from stage.processes import *; Processes(Path(sys.argv[1])).stop_all()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(stage.__file__).parents[1])}
    subprocess.run([sys.executable, "-c", code, processes.folder], env=environment, check=True)
    assert not processes.is_alive(started)


def test_process_id_that_was_reused_is_not_signalled(processes: Processes, stranger: subprocess.Popen[bytes]) -> None:
    reused = Started("redis", stranger.pid, "an earlier birth", "no.log", "an earlier mark")
    (processes.folder / "processes.json").write_text(json.dumps([asdict(reused)]))
    assert processes.stop_all() == []
    assert stranger.poll() is None


def test_descendant_in_another_session_is_stopped_too(processes: Processes, tmp_path: Path) -> None:
    child_file = tmp_path / "child"
    code = (
        "import pathlib, subprocess, sys, time\n"
        f"child = subprocess.Popen({SLEEPER!r}, start_new_session=True)\n"
        f"pathlib.Path({str(child_file)!r}).write_text(str(child.pid))\n"
        "time.sleep(600)"
    )
    started = processes.start(
        "parent",
        [sys.executable, "-c", code],
        ready=lambda: child_file.exists() and child_file.read_text() != "",
        within=10,
    )
    child = int(child_file.read_text())
    os.kill(started.pid, signal.SIGKILL)  # as if it crashed: it cannot stop its child
    wait_until(lambda: born(started.pid) is None, 5, "the end of the parent")
    assert processes.is_alive(started)
    processes.stop(started)
    assert born(child) is None


def test_one_that_ignores_sigterm_is_killed(processes: Processes) -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
    )
    log = processes.folder / "deaf.log"
    started = processes.start(
        "deaf", [sys.executable, "-c", code], ready=lambda: b"deaf" in log.read_bytes(), within=10
    )
    processes.stop(started, grace=0.3)
    assert born(started.pid) is None


def test_one_that_dies_before_it_is_ready_shows_the_end_of_its_log(processes: Processes) -> None:
    code = "import sys; sys.exit('the port is taken')"
    with pytest.raises(StageError, match=r"doomed ended with code 1 before it was ready[^?]*the port is taken"):
        processes.start("doomed", [sys.executable, "-c", code], ready=lambda: False, within=10)
    assert processes.noted() == []


def test_one_that_is_never_ready_is_stopped(processes: Processes) -> None:
    with pytest.raises(StageError, match="slow was not ready within 0 s"):
        processes.start("slow", SLEEPER, ready=lambda: False, within=0.2)
    assert processes.alive() == []


def test_a_program_that_is_not_there_is_a_sentence(processes: Processes) -> None:
    with pytest.raises(StageError, match=r"ghost cannot be started: .*no-such-program"):
        processes.start("ghost", ["no-such-program"], ready=lambda: True, within=1)


def test_a_changed_birth_is_another_process(processes: Processes) -> None:
    started = start_sleeper(processes)
    assert not processes.is_alive(replace(started, born="another", mark="another"))
