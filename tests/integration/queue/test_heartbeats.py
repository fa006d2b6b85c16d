"""Heartbeats: a killed process is gone within seconds, a stopped one at once; only Redis' clock counts."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from redis import Redis

from datagen.queue.heartbeats import BEAT_SECONDS, LIFETIME_SECONDS, Alive, Kind, alive, beat, beating, end
from datagen.queue.queues import connect
from stage import redis_server
from stage.layout import ROOT
from stage.ports import free_port
from stage.processes import Processes, wait_until

pytestmark = pytest.mark.integration

#: A process that sends heartbeats until it is killed.
PROGRAM = """
import sys, signal
from datagen.queue.heartbeats import Alive, Kind, beating
with beating(sys.argv[1], Kind.WORKER, Alive("doomed", "here", ("a-queue",))):
    signal.pause()
"""


@pytest.fixture
def redis(clean_redis_url: str) -> Redis:
    return connect(clean_redis_url)


def test_a_killed_process_is_gone_within_ten_seconds(redis: Redis, clean_redis_url: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, clean_redis_url])
    wait_until(lambda: alive(redis, Kind.WORKER) == [Alive("doomed", "here", ("a-queue",))], 30, "The heartbeat")
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)
    wait_until(lambda: alive(redis, Kind.WORKER) == [], 10, "The end of the killed process")
    assert LIFETIME_SECONDS <= 10


def test_one_that_lives_is_renewed_and_one_that_ends_is_gone_at_once(redis: Redis, clean_redis_url: str) -> None:
    assert 2 * BEAT_SECONDS < LIFETIME_SECONDS  # one that is lost on the way does no harm
    process = Alive("one", "here", ())
    with beating(clean_redis_url, Kind.SCHEDULER, process):
        redis.expire("datagen:scheduler:one", 60)
        wait_until(lambda: int(redis.ttl("datagen:scheduler:one")) <= LIFETIME_SECONDS, 30, "The next heartbeat")
        assert alive(redis, Kind.SCHEDULER) == [process]
        assert alive(redis, Kind.WORKER) == []
    assert alive(redis, Kind.SCHEDULER) == []


def test_a_redis_that_is_away_ends_nothing_and_hears_again_when_it_is_back(tmp_path: Path) -> None:
    processes, port = Processes(tmp_path), free_port()
    url = redis_server.start(processes, tmp_path / "redis", port=port)
    with beating(url, Kind.WORKER, Alive("one", "here", ())), connect(url) as redis:
        processes.stop_all()
        redis_server.start(processes, tmp_path / "redis", port=port)
        wait_until(lambda: len(alive(redis, Kind.WORKER)) == 1, 30, "The next heartbeat")
    processes.stop_all()


def test_the_health_check_of_a_container_sees_the_worker_of_its_host(redis: Redis, clean_redis_url: str) -> None:
    def check() -> int:
        command = [sys.executable, str(ROOT / "docker" / "worker_alive.py")]
        return subprocess.run(command, env={**os.environ, "REDIS_URL": clean_redis_url}, check=False).returncode

    assert check() == 1
    beat(redis, Kind.WORKER, Alive("elsewhere", "another-host", ("q",)))
    assert check() == 1
    beat(redis, Kind.WORKER, Alive("here", socket.gethostname(), ("q",)))
    redis.persist("datagen:worker:here")  # it takes a moment to start
    assert check() == 0


def test_foreign_value_is_not_read_as_a_process(redis: Redis) -> None:
    beat(redis, Kind.WORKER, Alive("good", "here", ("q",)))
    for name, value in (("a", "not JSON"), ("b", "7"), ("c", b"\xff\xfe"), ("d", "[]"), ("e", "null")):
        redis.sadd("datagen:workers", name)
        redis.set(f"datagen:worker:{name}", value)
    redis.sadd("datagen:workers", b"\xff\xfe")
    assert alive(redis, Kind.WORKER) == [Alive("good", "here", ("q",))]
    end(redis, Kind.WORKER, "good")
    assert alive(redis, Kind.WORKER) == []
