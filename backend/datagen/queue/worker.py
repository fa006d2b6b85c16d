"""The worker: an RQ worker that keeps connections, fitted engines and a GPU pipeline between jobs.

If Redis becomes unavailable, or restarts without its data, the worker waits, registers again and keeps everything that
it has loaded. The worker does not fork for each job, so a job that crashes takes the worker with it. The supervisor
(``datagen up``, a container engine) then restarts the worker. Another worker can claim the job's row once its lease has
expired.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import SimpleWorker, worker_registration
from rq.exceptions import StopRequested
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import now

from datagen.errors import DeviceFault
from datagen.queue import heartbeats
from datagen.queue.allowed_jobs import AllowedJob, is_unreadable
from datagen.queue.jobs import WORKER_QUEUES
from datagen.store.periodic_thread import run_periodically

log = structlog.get_logger()

#: Seconds for which RQ's registry keeps a worker that sends no heartbeat. Datagen asks ``heartbeats`` which workers are
#: alive, not this registry.
WORKER_TTL_SECONDS = 60
#: Interval at which a busy worker renews its entry in RQ's registry, seconds.
HEARTBEAT_SECONDS = 15.0
#: Minimum interval between two reports, seconds. Reports are sent with heartbeats. Every job is preceded by a
#: heartbeat, and collecting a report for each would take too long.
REPORT_SECONDS = 30.0
#: Longest wait before a worker reconnects to Redis, seconds.
LONGEST_RECONNECT_SECONDS = 5.0
#: Wait before a worker restarts after a Redis error, seconds.
RECONNECT_SECONDS = 1.0
#: A GPU worker ends after this many jobs and is restarted: device memory fragments, and drivers leak.
GPU_JOBS = 500


class WarmWorker(SimpleWorker):
    """An RQ worker that runs jobs in its own process, and sends heartbeats even during a long job."""

    max_connection_wait_time = LONGEST_RECONNECT_SECONDS

    def __init__(self, *args: Any, report: Callable[[Redis], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stop_requested = threading.Event()
        self.jobs_done = 0
        self._report = report
        self._last_report = float("-inf")

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """End after the current job (SIGTERM, SIGINT)."""
        self.stop_requested.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job while a thread sends heartbeats."""
        self.jobs_done += 1
        try:
            with run_periodically(self._beat, HEARTBEAT_SECONDS, "heartbeat"):
                super().execute_job(job, queue)
        except RedisError as error:  # the outcome is stored in the row; RQ's own records are not needed
            log.warning("worker.redis_unavailable", job=job.id, reason=type(error).__name__)

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """Finish a job. If its GPU failed, end the worker too, because this process cannot use the GPU any more.

        The flag that ends the worker is set before RQ writes the job's end to Redis, because Redis may be unavailable.
        """
        error = sys.exc_info()[1]
        if isinstance(error, DeviceFault):
            log.error("worker.device_failed", job=job.id, reason=str(error))
            self.stop_requested.set()
            self._stop_requested = True
        super().handle_execution_ended(job, queue, heartbeat_ttl)

    def run_maintenance_tasks(self) -> None:
        """Run RQ's maintenance. RQ calls this every ten minutes. Unreadable data in Redis does not end the worker."""
        try:
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        except Exception as error:
            if not is_unreadable(error):
                raise
            log.exception("worker.cannot_tidy")
            self.last_cleaned_at = now()  # type: ignore[assignment]

    @property
    def process(self) -> heartbeats.Alive:
        """The content of Datagen's heartbeat, which ``run_worker`` sends. RQ's own heartbeat is a different one."""
        return heartbeats.Alive(self.name, str(self.hostname), tuple(self.queue_names()))

    def subscribe(self) -> None:
        """Do nothing, so that RQ starts no thread that listens for its commands.

        Datagen does not need the commands: signals stop a worker, and rows cancel work. RQ ends the thread only if the
        worker can be unregistered in Redis. After each outage of Redis a thread and a connection would be left over.
        """

    def _beat(self) -> None:
        try:
            self.heartbeat(WORKER_TTL_SECONDS)
        except RedisError as error:  # the next heartbeat may succeed
            log.warning("worker.redis_unavailable", reason=type(error).__name__)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Send RQ's heartbeat. Call ``report`` if one is due. Register the worker again if Redis has lost its entry."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and self._report is not None and time.monotonic() - self._last_report > REPORT_SECONDS:
            self._last_report = time.monotonic()
            try:
                self._report(self.connection)
            except RedisError:
                raise
            except Exception:  # a failed report must not end the heartbeat
                log.exception("worker.report_failed")
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            with self.connection.pipeline() as registration:
                registration.hset(self.key, mapping=self.serialize())
                worker_registration.register(self, registration)
                registration.execute()


def run_worker(
    redis_url: str,
    queues: Sequence[str] = WORKER_QUEUES,
    *,
    burst: bool = False,
    max_jobs: int | None = None,
    report: Callable[[Redis], None] | None = None,
) -> None:
    """Serve queues until a stop request (SIGTERM: after the current job), or until ``max_jobs`` jobs are done.

    ``report`` publishes the state of this machine in Redis. It is called with a heartbeat, at most every
    ``REPORT_SECONDS``.
    """
    connection = Redis.from_url(redis_url, socket_connect_timeout=LONGEST_RECONNECT_SECONDS)
    worker: WarmWorker | None = None
    done = 0
    while True:
        try:
            worker = _worker(connection, queues, report)
            log.info("worker.started", name=worker.name, queues=list(queues))
            with heartbeats.beating(redis_url, heartbeats.Kind.WORKER, worker.process):
                worker.work(burst=burst, logging_level="WARNING", max_jobs=max_jobs and max_jobs - done)
        except RedisError as error:
            if worker is None:
                raise  # at the start the error is reported to the caller
            log.warning("worker.redis_unavailable", reason=type(error).__name__)
        done += worker.jobs_done
        worker.jobs_done = 0
        if burst or (max_jobs is not None and done >= max_jobs):
            return
        # RQ's worker can also end on a Redis error; a new worker in this process keeps what the process has loaded
        with suppress(StopRequested):
            worker.stop_requested.wait(RECONNECT_SECONDS)
        if worker.stop_requested.is_set():
            return


def _worker(connection: Redis, queues: Sequence[str], report: Callable[[Redis], None] | None = None) -> WarmWorker:
    return WarmWorker(
        [Queue(name, connection=connection, serializer=JSONSerializer, job_class=AllowedJob) for name in queues],
        connection=connection,
        serializer=JSONSerializer,
        job_class=AllowedJob,
        worker_ttl=WORKER_TTL_SECONDS,
        report=report,
    )
