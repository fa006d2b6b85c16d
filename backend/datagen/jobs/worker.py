"""The worker: an RQ worker that keeps what it loaded (connections, fitted engines, later a pipeline on a GPU).

It does not fork for each job, so a crash of a job is a crash of the worker: whoever runs it (``datagen up``, a
container engine) starts it again, and the row's lease gives the work back.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog
from redis import Redis
from rq import SimpleWorker
from rq.job import Job
from rq.queue import Queue
from rq.serializers import JSONSerializer

from datagen.jobs.queues import ALL_QUEUES

log = structlog.get_logger()

#: A worker that was silent for so long is taken for dead by those who look (``doctor``, ``/ready``).
WORKER_TTL_SECONDS = 60
#: How often a busy worker says that it lives.
HEARTBEAT_SECONDS = 15.0


class WarmWorker(SimpleWorker):
    """Runs jobs in its own process, and says that it lives also while a long job runs."""

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job with a heartbeat beside it."""
        done = threading.Event()
        beat = threading.Thread(target=self._beat, args=(done,), daemon=True, name="heartbeat")
        beat.start()
        try:
            super().execute_job(job, queue)
        finally:
            done.set()
            beat.join()

    def _beat(self, done: threading.Event) -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            self.heartbeat(WORKER_TTL_SECONDS)


def run_worker(redis_url: str, queues: Sequence[str] = ALL_QUEUES, *, burst: bool = False) -> None:
    """Serve queues until told to stop (SIGTERM: after the current job)."""
    connection = Redis.from_url(redis_url)
    worker = WarmWorker(
        [Queue(name, connection=connection, serializer=JSONSerializer) for name in queues],
        connection=connection,
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL_SECONDS,
    )
    log.info("worker.started", name=worker.name, queues=list(queues))
    worker.work(burst=burst, logging_level="WARNING")
