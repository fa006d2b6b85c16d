"""Parts stop by themselves when the process that started them was killed."""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

import pytest
from redis import Redis

from datagen.operations.parent_watch import STOP_SECONDS
from stage.ports import free_port
from stage.processes import Processes, wait_until


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
