"""Parts stop by themselves when the process that started them was killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from datagen.operations.parent_watch import STOP_SECONDS
from stage.ports import free_port
from stage.processes import Processes, born, wait_until


@pytest.mark.integration
def test_of_a_killed_up_nothing_is_left_and_its_port_is_free(
    processes: Processes, clean_redis_url: str, tmp_path: Path
) -> None:
    port = free_port()

    def is_free() -> bool:
        with socket.socket() as job_kind:
            job_kind.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that ended a moment ago
            try:
                job_kind.bind(("127.0.0.1", port))
            except OSError:
                return False
            return True

    def everything_runs() -> bool:
        with Redis.from_url(clean_redis_url) as redis:
            return not is_free() and bool(redis.scard("rq:workers")) and bool(redis.zcard("rq:cron_schedulers"))

    up = processes.start(
        "up",
        [sys.executable, "-m", "datagen", "up", "--workers", "2"],
        env={
            "LABEL_STUDIO_URL": f"http://127.0.0.1:{free_port()}",
            "LABEL_STUDIO_API_KEY": "0" * 40,
            "REDIS_URL": clean_redis_url,
            "PORT": str(port),
            "DATAGEN_DATA_DIR": str(tmp_path / "data"),
        },
        cwd=tmp_path,
        ready=everything_runs,
        within=90,
    )
    os.kill(up.pid, signal.SIGKILL)
    wait_until(lambda: not processes.is_alive(up), STOP_SECONDS + 20, "the end of all that it started")
    assert is_free()
    with Redis.from_url(clean_redis_url) as redis:
        assert redis.smembers("rq:workers") == set()  # they deregistered: they were not killed
    processes.stop(up)


#: A part that is asked to stop, and then finishes what it does: it notes down both. With a time to stop, in seconds, it
#: does not finish.
PART = """
import os, signal, sys
from datagen.operations import parent_watch
def note(word):
    with open(sys.argv[1], "a") as file:
        file.write(f"{word}\\n")
def stop(number, frame):
    note("asked to stop")
    if not sys.argv[2:]:
        note("finished")
        sys.exit()
signal.signal(signal.SIGTERM, stop)
if sys.argv[2:]:
    parent_watch.STOP_SECONDS = float(sys.argv[2])
parent_watch.stop_on_parent_exit()
note(os.getpid())
while True:
    signal.pause()
"""


#: Starts what its arguments say, as ``datagen up`` its parts; watched by a starter of its own, if it has one.
STARTER = """
import sys
from datagen.operations.parent_watch import stop_on_parent_exit
from datagen.operations.supervisor import supervise
stop_on_parent_exit()
supervise({"part": sys.argv[1:]})
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], int]]]:
    """Start a command and wait until its part runs; return the process and the part's process id."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*command: str) -> tuple[subprocess.Popen[bytes], int]:
        started.append(subprocess.Popen(command))
        wait_until(lambda: bool(message(tmp_path)), 30, "the start of the part")
        return started[-1], int(message(tmp_path)[0])

    yield run
    for process in started:
        process.kill()
        process.wait(timeout=10)


def message(folder: Path) -> list[str]:
    file = folder / "part"
    return file.read_text().splitlines() if file.exists() else []


@pytest.mark.parametrize("starters", [1, 2], ids=["its starter", "the starter of its starter"])
def test_a_part_is_asked_once_to_stop_and_finishes_when_someone_killed(
    start: Callable[..., tuple[subprocess.Popen[bytes], int]], tmp_path: Path, starters: int
) -> None:
    starter, part = start(*[sys.executable, "-c", STARTER] * starters, sys.executable, "-c", PART, f"{tmp_path}/part")
    starter.send_signal(signal.SIGKILL)
    wait_until(lambda: born(part) is None, 30, "the end of the part")
    assert message(tmp_path)[1:] == ["asked to stop", "finished"]


def test_a_part_that_does_not_listen_is_killed(
    start: Callable[..., tuple[subprocess.Popen[bytes], int]], tmp_path: Path
) -> None:
    starter, part = start(sys.executable, "-c", STARTER, sys.executable, "-c", PART, f"{tmp_path}/part", "0.5")
    starter.send_signal(signal.SIGKILL)
    wait_until(lambda: born(part) is None, 30, "the end of the part")
    assert message(tmp_path)[1:] == ["asked to stop"]


def test_process_without_a_parent_to_watch_continues(
    start: Callable[..., tuple[subprocess.Popen[bytes], int]], tmp_path: Path
) -> None:
    process, part = start(sys.executable, "-c", PART, f"{tmp_path}/part")
    assert process.pid == part
    process.terminate()
    process.wait(timeout=30)
    assert message(tmp_path)[1:] == ["asked to stop", "finished"]
