"""The worker keeps its model during an outage of Redis, and ends after a job on a failed device."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis

from datagen.entrypoints import rq_tasks
from datagen.errors import DeviceFault
from datagen.queue.jobs import GPU
from datagen.queue.queues import Queues
from datagen.queue.worker import WORKER_TTL_SECONDS, _worker, run_worker
from datagen.workflow.services import JobKind, JobRequest
from stage import redis_server
from stage.ports import free_port
from stage.processes import Processes, wait_until

pytestmark = pytest.mark.integration


class Shop:
    """A Redis of this test that can be stopped and started, and jobs whose action the test chooses."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.processes = Processes(folder)
        self._folder, self._port = folder / "redis", free_port()
        self.done: list[int] = []
        self.acts: list[Callable[[], None]] = []
        self._later: list[threading.Timer] = []
        monkeypatch.setattr(rq_tasks, "render", self._render)
        self.open()

    def open(self) -> None:
        self.url = redis_server.start(self.processes, self._folder, port=self._port)

    def close(self) -> None:
        self.processes.stop_all()

    def enqueue(self, *rows: int) -> None:
        with Redis.from_url(self.url) as redis:
            Queues(redis).enqueue([JobRequest(JobKind.GPU_SHARD, row) for row in rows])

    def reopen_later(self, *rows: int) -> None:
        """Stop Redis now; start it again with these jobs in half a second, after the worker noticed the outage."""

        def again() -> None:
            self.open()
            self.enqueue(*rows)

        self.close()
        self._later.append(threading.Timer(0.5, again))
        self._later[-1].start()

    def end(self) -> None:
        for timer in self._later:
            timer.join()
        self.close()

    def _render(self, row: int) -> None:
        self.done.append(row)
        if self.acts:
            self.acts.pop(0)()


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    opened = Shop(tmp_path, monkeypatch)
    yield opened
    opened.end()


def test_a_redis_that_goes_away_while_a_job_ends_does_not_cost_what_the_process_has_loaded(shop: Shop) -> None:
    """Such an outage ended a GPU worker and lost its model. The finished job counts towards ``max_jobs``."""
    shop.acts.append(lambda: shop.reopen_later(2, 3))
    shop.enqueue(1)
    run_worker(shop.url, (GPU,), max_jobs=2)
    assert shop.done == [1, 2]


def test_no_thread_is_left_of_a_worker_that_an_outage_ended(shop: Shop) -> None:
    """The thread that listens for RQ's commands went on for as long as the process, with a connection of its own."""
    before = set(threading.enumerate())
    shop.acts.append(lambda: shop.reopen_later(2))
    shop.enqueue(1)
    run_worker(shop.url, (GPU,), max_jobs=2)
    wait_until(lambda: set(threading.enumerate()) <= before, 10, "the end of the worker's threads", every=0.05)


def test_a_failed_device_ends_its_worker_also_where_redis_does_not_hear_of_it(shop: Shop) -> None:
    def fail() -> None:
        shop.reopen_later(2)
        raise DeviceFault("the device failed: CUDA error: unspecified launch failure")

    shop.acts.append(fail)
    shop.enqueue(1)
    run_worker(shop.url, (GPU,), max_jobs=5)
    assert shop.done == [1]


def test_a_failed_report_does_not_end_the_worker(shop: Shop) -> None:
    """Unreadable weights ended the worker before its first job."""

    def report(_redis: Redis) -> None:
        raise PermissionError("weights")

    with contextlib.closing(Redis.from_url(shop.url)) as redis:
        worker = _worker(redis, (GPU,), report)
        worker.register_birth()
        worker.heartbeat(WORKER_TTL_SECONDS)
        assert redis.exists(worker.key)
        worker.register_death()
