"""``datagen up`` keeps its parts running, and stops all of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from datagen.cli import app
from datagen.operations.supervisor import commands, gpu_commands
from datagen.queue.jobs import HANDOVERS
from stage.processes import born, wait_until

#: Runs parts that write their process id, a line each start, and then wait.
PROGRAM = """
import sys
from datagen.operations.supervisor import supervise
part = "import os, sys, signal; open(sys.argv[1], 'a').write(f'{os.getpid()}\\\\n')\\n"
stopped = "; open(sys.argv[1] + '.stopped', 'w').close()"
wait = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\\n" + part
wait += "signal.sigwait([signal.SIGTERM])" + stopped
deaf = part + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\nwhile True: signal.pause()"
die = part + "sys.exit(3)"
codes = {"steady": wait, "mortal": die, "deaf": deaf}
inner = {'deaf': [sys.executable, '-c', deaf, sys.argv[1] + '/deaf']}
code = f"from datagen.operations.supervisor import *; supervise({inner}"
codes["nested"] = code + ", INNER_STOP_SECONDS)"
supervise({name: [sys.executable, "-c", codes[name], f"{sys.argv[1]}/{name}"] for name in sys.argv[2:]})
"""

#: Logs as the command does.
LOGGED = """
from datagen.operations.logging import configure_logging
configure_logging("INFO")
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*parts: str) -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", PROGRAM, str(tmp_path), *parts]))
        return started[-1]

    yield start
    for process in started:
        process.terminate()  # and not killed: it takes its parts with it
        process.wait(timeout=40)


def pids(folder: Path, part: str) -> list[int]:
    file = folder / part
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def test_a_part_that_dies_is_started_again_and_the_others_live_on(
    up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    up("steady", "mortal")
    wait_until(lambda: len(pids(tmp_path, "mortal")) >= 3, 30, "the third start of the part that dies")
    assert len(pids(tmp_path, "steady")) == 1
    assert born(pids(tmp_path, "steady")[0]) is not None


def test_each_start_exit_and_restart_of_a_part_is_one_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", LOGGED + PROGRAM, str(tmp_path), "steady", "mortal"], stderr=output
        )
    wait_until(lambda: len(pids(tmp_path, "mortal")) >= 2 and len(pids(tmp_path, "steady")) == 1, 30, "The parts")
    os.kill(pids(tmp_path, "steady")[0], signal.SIGKILL)
    wait_until(lambda: len(pids(tmp_path, "steady")) == 2, 30, "The second start of the part that was killed")
    process.terminate()
    assert process.wait(timeout=40) == 0

    events = [json.loads(line) for line in log.read_text().splitlines()]
    steady = [event for event in events if event.get("part") == "steady"]
    assert [event["event"] for event in steady] == ["part.started", "part.exited", "part.restarted", "part.stopped"]
    assert [event["pid"] for event in steady] == [pid for pid in pids(tmp_path, "steady") for _ in range(2)]
    assert (steady[1]["signal"], steady[1]["level"]) == ("SIGKILL", "warning")
    assert {"lived_s", "starts_again_in_s"} <= steady[1].keys()
    died = [event for event in events if event["event"] == "part.exited" and event["part"] == "mortal"]
    assert {event["exit_code"] for event in died} == {3}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_every_part(
    number: signal.Signals, up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    process = up("steady", "mortal")
    wait_until(lambda: bool(pids(tmp_path, "steady") and pids(tmp_path, "mortal")), 30, "the start of the parts")
    process.send_signal(number)
    assert process.wait(timeout=30) == 0
    assert [born(pid) for part in ("steady", "mortal") for pid in pids(tmp_path, part) if born(pid)] == []
    assert (tmp_path / "steady.stopped").exists(), "the part was killed, not stopped with SIGTERM"


def test_a_part_that_does_not_listen_is_killed(up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> None:
    process = up("deaf")
    wait_until(lambda: bool(pids(tmp_path, "deaf")), 30, "the start of the part")
    process.terminate()
    assert process.wait(timeout=40) == 0
    assert born(pids(tmp_path, "deaf")[0]) is None


def test_a_part_of_a_part_that_does_not_listen_does_not_outlive_both(
    up: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """The GPU's worker kept its memory after “datagen up” had ended, and the next worker had too little."""
    process = up("nested")
    wait_until(lambda: bool(pids(tmp_path, "deaf")), 30, "the start of the inner part")
    process.terminate()
    assert process.wait(timeout=40) == 0
    assert born(pids(tmp_path, "deaf")[0]) is None


@pytest.mark.parametrize("gpu", [False, True])
def test_every_part_of_one_machine_is_a_command_that_exists(gpu: bool) -> None:
    parts = commands(2, gpu=gpu)
    assert sum(command[3:] == ["worker"] for command in parts.values()) == 2
    assert sum(command[3:] == ["worker", "--queue", HANDOVERS] for command in parts.values()) == 1
    for name, command in parts.items():
        assert command[:3] == [sys.executable, "-m", "datagen"]
        shown = CliRunner().invoke(app, [*command[3:], "--help"])
        assert (name, shown.exit_code) == (name, 0)
        assert command[3] in shown.output


@pytest.mark.parametrize("gpus", [(), ("0", "MIG-1")])
def test_every_gpu_worker_is_a_command_that_exists(gpus: tuple[str, ...]) -> None:
    for command in gpu_commands(gpus).values():
        assert CliRunner().invoke(app, [*command[3:], "--help"]).exit_code == 0
