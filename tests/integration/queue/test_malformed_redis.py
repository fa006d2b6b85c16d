"""Dates, numbers and types in Redis that RQ does not write are logged and skipped, and processes continue."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq.cron import CronScheduler
from rq.exceptions import StopRequested

from datagen.entrypoints import rq_tasks
from datagen.entrypoints import scheduler as scheduler_module
from datagen.entrypoints.scheduler import JsonCron, run_scheduler
from datagen.operations.diagnostics.parts import check_scheduler, check_worker
from datagen.queue import heartbeats
from datagen.queue.jobs import ALL_QUEUES, EVENTS, PERIODIC_JOBS
from datagen.queue.live_workers import live_workers
from datagen.queue.queues import Queues
from datagen.queue.worker import _worker, run_worker
from datagen.settings import Settings
from datagen.workflow.services import JobKind, JobRequest
from stage import redis_server
from stage.layout import ROOT
from stage.ports import free_port
from stage.processes import Processes, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A Redis of the test's own."""
    processes = Processes(tmp_path)
    yield redis_server.start(processes, tmp_path / "redis", port=free_port())
    processes.stop_all()


@pytest.fixture
def redis(url: str) -> Iterator[Redis]:
    with contextlib.closing(Redis.from_url(url)) as connection:
        yield connection


@pytest.fixture
def settings(url: str) -> Settings:
    return Settings(_env_file=None, redis_url=url)


def plant_worker(redis: Redis, name: str, **fields: Any) -> None:
    redis.sadd("rq:workers", f"rq:worker:{name}")
    redis.hset(f"rq:worker:{name}", mapping={"hostname": "elsewhere", "queues": EVENTS, **fields})


GOOD_DATE = "2030-01-01T00:00:00.000000Z"


@pytest.mark.parametrize(
    "fields",
    [
        {"birth": "yesterday", "last_heartbeat": GOOD_DATE},
        {"birth": GOOD_DATE, "last_heartbeat": "nonsense"},
        {"birth": b"\xff\xfe", "last_heartbeat": GOOD_DATE},
        {"pid": "many", "last_heartbeat": GOOD_DATE},
        {"total_working_time": "long", "last_heartbeat": GOOD_DATE},
    ],
    ids=["birth", "heartbeat", "bytes", "pid", "time"],
)
def test_worker_entry_that_cannot_be_read_does_not_hide_the_others(
    fields: dict[str, Any], redis: Redis, settings: Settings
) -> None:
    plant_worker(redis, "planted", **fields)
    redis.sadd("rq:workers", "rq:worker:a-string", "not a worker's key")
    redis.set("rq:worker:a-string", "x")
    worker = _worker(redis, ALL_QUEUES)
    worker.register_birth()
    with heartbeats.beating(settings.redis_url, heartbeats.Kind.WORKER, worker.process):
        assert [worker_entry.name for worker_entry in live_workers(Queues(redis))] == [worker.name]
        assert check_worker(settings) == "1 alive"
    worker.register_death()
    assert live_workers(Queues(redis)) == []


@pytest.mark.parametrize("field", ["created_at", "enqueued_at", "last_heartbeat", "timeout", "status", "data", "type"])
def test_job_that_cannot_be_read_does_not_end_the_worker(
    field: str, url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []
    births = []
    monkeypatch.setattr(rq_tasks, "handle_event", done.append)
    monkeypatch.setattr("datagen.queue.worker.log.info", lambda event, **_: births.append(event))
    queues = Queues(redis)
    queues.enqueue([JobRequest(JobKind.EVENT, 1), JobRequest(JobKind.EVENT, 2)])
    first = redis.lindex(f"rq:queue:{EVENTS}", 0).decode()
    if field == "type":
        redis.delete(f"rq:job:{first}")
        redis.set(f"rq:job:{first}", "x")
    else:
        redis.hset(f"rq:job:{first}", field, b"\xffnonsense")
    run_worker(url, (EVENTS,), burst=True)
    assert 2 in done
    assert births.count("worker.started") == 1


def test_tidying_that_fails_does_not_end_the_worker(url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """RQ's maintenance parses the times of unfinished jobs. A malformed time ended each new worker, too."""
    done: list[int] = []
    monkeypatch.setattr(rq_tasks, "handle_event", done.append)
    redis.zadd(f"rq:wip:{EVENTS}", {"held:by-an-execution": 1})
    redis.hset("rq:execution:by-an-execution", mapping={"id": "held:by-an-execution", "created_at": "x"})
    redis.hset("rq:job:held", mapping={"data": "x", "created_at": "yesterday"})
    redis.rpush(f"rq:queue:{EVENTS}:intermediate", "held")
    redis.set(f"rq:queue:{EVENTS}:intermediate:first_seen:held", "yesterday")
    redis.sadd("rq:groups", "a group")
    redis.set("rq:group:a group", "x")
    Queues(redis).enqueue([JobRequest(JobKind.EVENT, 1)])
    run_worker(url, (EVENTS,), burst=True)
    assert done == [1]


@pytest.mark.parametrize(
    "fields",
    [
        {"created_at": "yesterday"},
        {"pid": "x"},
        {"cron_jobs": '[{"queue_name": "q", "func_name": "f", "interval": 5, "next_enqueue_time": "soon"}]'},
    ],
    ids=["birth", "pid", "next time"],
)
def test_scheduler_entry_that_cannot_be_read_does_not_end_the_doctor(
    fields: dict[str, str], redis: Redis, settings: Settings
) -> None:
    redis.zadd("rq:cron_schedulers", {"planted": time.time()})
    redis.hset("rq:cron_scheduler:planted", mapping={"name": "planted", **fields})
    with pytest.raises(ValueError):  # noqa: PT011 - RQ's own reading, whatever it says
        CronScheduler.all(connection=redis)
    redis.sadd("datagen:schedulers", "planted")
    redis.set("datagen:scheduler:planted", "nonsense")
    heartbeats.beat(redis, heartbeats.Kind.SCHEDULER, heartbeats.Alive("ours", "here", ()))
    assert check_scheduler(settings) == "alive"


def test_scheduler_goes_on_after_a_fault_and_ends_when_told(
    url: str, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a fault while it enqueues nor an emptied Redis ends it; a stop request does."""
    names: list[str] = []
    enqueue = JsonCron.enqueue_jobs

    def enqueue_with_faults(self: JsonCron) -> Any:
        names.append(self.name)
        if len(names) == 1:
            raise ValueError("time data 'yesterday' does not match format")
        if len(names) == 2:
            redis.flushall()
            raise ConnectionError
        enqueue(self)
        raise StopRequested

    monkeypatch.setattr(JsonCron, "_install_signal_handlers", lambda _self: None)
    monkeypatch.setattr(JsonCron, "enqueue_jobs", enqueue_with_faults)
    monkeypatch.setattr(scheduler_module, "RECONNECT_SECONDS", 0.01)
    ended = threading.Event()

    def run() -> None:
        run_scheduler(Settings(_env_file=None, redis_url=url))
        ended.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    wait_until(ended.is_set, 20, "the end of the scheduler")
    assert len(set(names)) == 3
    queued = Counter(job.queue for job in PERIODIC_JOBS)
    assert {queue: redis.llen(f"rq:queue:{queue}") for queue in queued} == queued
    assert heartbeats.alive(redis, heartbeats.Kind.SCHEDULER) == []


def test_container_check_heeds_its_own_host_alone(url: str, redis: Redis) -> None:
    def check() -> int:
        environment = {**os.environ, "REDIS_URL": url}
        return subprocess.run([sys.executable, str(ROOT / "docker/worker_alive.py")], env=environment).returncode

    redis.sadd("datagen:workers", "planted", "dead")
    redis.set("datagen:worker:planted", "nonsense")
    heartbeats.beat(redis, heartbeats.Kind.WORKER, heartbeats.Alive("another", "elsewhere", (EVENTS,)))
    assert check() == 1
    heartbeats.beat(redis, heartbeats.Kind.WORKER, heartbeats.Alive("mine", socket.gethostname(), (EVENTS,)))
    assert check() == 0
