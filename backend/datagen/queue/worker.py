"""The worker: an RQ worker that keeps what it loaded (connections, fitted engines, later a pipeline on a GPU).

Redis may go away and come back without its data: the worker waits, says again that it is there, and loses nothing it
has loaded. It does not fork for each job, so a crash of a job is a crash of the worker: whoever runs it (``datagen
up``, a container engine) starts it again, and the row's lease gives the work back.
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
from datagen.queue.queues import ALL_QUEUES
from datagen.store.periodic_thread import run_periodically

log = structlog.get_logger()

#: RQ's own registry keeps a silent worker for so long. Who looks for workers that live asks ``heartbeats``.
WORKER_TTL_SECONDS = 60
#: How often a busy worker tells RQ's registry that it lives.
HEARTBEAT_SECONDS = 15.0
#: A sign of life is given before every job: what is told beside it takes looking up, and is not told again sooner.
TELL_SECONDS = 30.0
#: A worker that lost its connection tries again at least so often, seconds.
LONGEST_RECONNECT_SECONDS = 5.0
#: A worker that Redis failed begins again after this, seconds.
RECONNECT_SECONDS = 1.0
#: A GPU worker makes room for a fresh one after so many jobs: memory on a device fragments, and drivers leak.
GPU_JOBS = 500
#: One batch or one step of a fit takes seconds, compiling minutes: a GPU worker that takes longer hangs in its driver.
GPU_HANG_SECONDS = 900


class WarmWorker(SimpleWorker):
    """Runs jobs in its own process, and says that it lives also while a long job runs."""

    max_connection_wait_time = LONGEST_RECONNECT_SECONDS

    def __init__(self, *args: Any, tell: Callable[[Redis], None] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.told_to_stop = threading.Event()
        self.jobs_done = 0
        self._tell = tell
        self._told_at = float("-inf")

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """End after the current job (SIGTERM, SIGINT)."""
        self.told_to_stop.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job with a heartbeat beside it."""
        self.jobs_done += 1
        try:
            with run_periodically(self._beat, HEARTBEAT_SECONDS, "heartbeat"):
                super().execute_job(job, queue)
        except RedisError as away:  # what became of the work stands in its row; RQ's own notes are of no matter
            log.warning("worker.redis_away", job=job.id, reason=type(away).__name__)

    def handle_execution_ended(self, job: Job, queue: Queue, heartbeat_ttl: int) -> None:
        """Note what failed; after a failed device nothing in this process can use it, so this was its last job.

        Noted before RQ tells Redis of the job's end: Redis may be away.
        """
        fault = sys.exc_info()[1]
        if isinstance(fault, DeviceFault):
            log.error("worker.device_failed", job=job.id, reason=str(fault))
            self.told_to_stop.set()
            self._stop_requested = True
        super().handle_execution_ended(job, queue, heartbeat_ttl)

    def run_maintenance_tasks(self) -> None:
        """RQ's tidying, every ten minutes; an entry in Redis that it cannot read does not end the worker."""
        try:
            super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        except Exception as fault:
            if not is_unreadable(fault):
                raise
            log.exception("worker.cannot_tidy")
            self.last_cleaned_at = now()  # type: ignore[assignment]

    @property
    def process(self) -> heartbeats.Alive:
        """What its heartbeat says, which ``run_worker`` sends; RQ's own goes to RQ's registry."""
        return heartbeats.Alive(self.name, str(self.hostname), tuple(self.queue_names()))

    def _beat(self) -> None:
        try:
            self.heartbeat(WORKER_TTL_SECONDS)
        except RedisError as away:  # the next beat may be heard
            log.warning("worker.redis_away", reason=type(away).__name__)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Say that it lives; where Redis has forgotten the worker, register it again."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and self._tell is not None and time.monotonic() - self._told_at > TELL_SECONDS:
            self._told_at = time.monotonic()
            try:
                self._tell(self.connection)
            except RedisError:
                raise
            except Exception:  # what is told beside a sign of life must not end it
                log.exception("worker.cannot_tell")
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            with self.connection.pipeline() as again:
                again.hset(self.key, mapping=self.serialize())
                worker_registration.register(self, again)
                again.execute()


def run_worker(
    redis_url: str,
    queues: Sequence[str] = ALL_QUEUES,
    *,
    burst: bool = False,
    most_jobs: int | None = None,
    tell: Callable[[Redis], None] | None = None,
) -> None:
    """Serve queues until told to stop (SIGTERM: after the current job), or until so many jobs are done.

    ``tell`` is called beside signs of life, not with every one, to leave in Redis what others want to know of this
    machine.
    """
    connection = Redis.from_url(redis_url, socket_connect_timeout=LONGEST_RECONNECT_SECONDS)
    worker: WarmWorker | None = None
    done = 0
    while True:
        try:
            worker = _worker(connection, queues, tell)
            log.info("worker.started", name=worker.name, queues=list(queues))
            with heartbeats.beating(redis_url, heartbeats.Kind.WORKER, worker.process):
                worker.work(burst=burst, logging_level="WARNING", max_jobs=most_jobs and most_jobs - done)
        except RedisError as away:
            if worker is None:
                raise  # at the start somebody is to hear of it
            log.warning("worker.redis_away", reason=type(away).__name__)
        done += worker.jobs_done
        worker.jobs_done = 0
        if burst or (most_jobs is not None and done >= most_jobs):
            return
        # RQ's worker also ends when Redis fails it at the wrong moment: what this process has loaded is worth another
        with suppress(StopRequested):
            worker.told_to_stop.wait(RECONNECT_SECONDS)
        if worker.told_to_stop.is_set():
            return


def _worker(connection: Redis, queues: Sequence[str], tell: Callable[[Redis], None] | None = None) -> WarmWorker:
    return WarmWorker(
        [Queue(name, connection=connection, serializer=JSONSerializer, job_class=AllowedJob) for name in queues],
        connection=connection,
        serializer=JSONSerializer,
        job_class=AllowedJob,
        worker_ttl=WORKER_TTL_SECONDS,
        tell=tell,
    )
