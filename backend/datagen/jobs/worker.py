"""The worker: an RQ worker that keeps what it loaded (connections, fitted engines, later a pipeline on a GPU).

Redis may go away and come back without its data: the worker waits, says again that it is there, and loses nothing it
has loaded. It does not fork for each job, so a crash of a job is a crash of the worker: whoever runs it (``datagen
up``, a container engine) starts it again, and the row's lease gives the work back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import SimpleWorker, worker_registration
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

from datagen.jobs.known import KnownJob
from datagen.jobs.queues import ALL_QUEUES

log = structlog.get_logger()

#: A worker that was silent for so long is taken for dead by those who look (``doctor``, ``/ready``).
WORKER_TTL_SECONDS = 60
#: How often a busy worker says that it lives.
HEARTBEAT_SECONDS = 15.0
#: A worker that lost its connection tries again at least so often, seconds.
LONGEST_RECONNECT_SECONDS = 5.0


class WarmWorker(SimpleWorker):
    """Runs jobs in its own process, and says that it lives also while a long job runs."""

    max_connection_wait_time = LONGEST_RECONNECT_SECONDS

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job with a heartbeat beside it."""
        done = threading.Event()
        beat = threading.Thread(target=self._beat, args=(done,), daemon=True, name="heartbeat")
        beat.start()
        try:
            super().execute_job(job, queue)
        except RedisError as away:  # what became of the work stands in its row; RQ's own notes are of no matter
            log.warning("worker.redis_away", job=job.id, reason=type(away).__name__)
        finally:
            done.set()
            beat.join()

    def _beat(self, done: threading.Event) -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                self.heartbeat(WORKER_TTL_SECONDS)
            except RedisError as away:  # the next beat may be heard
                log.warning("worker.redis_away", reason=type(away).__name__)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Say that it lives; where Redis has forgotten the worker, register it again."""
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            with self.connection.pipeline() as again:
                again.hset(self.key, mapping=self.serialize())
                worker_registration.register(self, again)
                again.execute()


def run_worker(redis_url: str, queues: Sequence[str] = ALL_QUEUES, *, burst: bool = False) -> None:
    """Serve queues until told to stop (SIGTERM: after the current job)."""
    connection = Redis.from_url(redis_url)
    worker = WarmWorker(
        [Queue(name, connection=connection, serializer=JSONSerializer, job_class=KnownJob) for name in queues],
        connection=connection,
        serializer=JSONSerializer,
        job_class=KnownJob,
        worker_ttl=WORKER_TTL_SECONDS,
    )
    log.info("worker.started", name=worker.name, queues=list(queues))
    worker.work(burst=burst, logging_level="WARNING")
