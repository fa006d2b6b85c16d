"""The RQ queues and the enqueueing of jobs; jobs are serialized as JSON, never pickle."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from datagen.queue.jobs import ALL_QUEUES, GPU, ROW_JOBS
from datagen.workflow.services import JobKind, JobRequest

log = structlog.get_logger()

#: Timeout of Redis operations, seconds. Redis answers in microseconds unless it is unavailable. A web request must not
#: wait longer, because Label Studio waits up to one second for its response, and the annotator waits for Label Studio.
REDIS_TIMEOUT_SECONDS = 0.4
#: Seconds after a failed attempt to enqueue, during which nothing is enqueued. The recovery scan enqueues these rows.
PAUSE_AFTER_FAILURE_S = 5.0
#: Seconds for which RQ keeps the result of a finished job, and of a failed one. Both are short, because rows hold them.
RESULT_TTL_SECONDS, FAILURE_TTL_SECONDS = 60, 86_400


def connect(url: str) -> Redis:
    """Return a connection with short timeouts for enqueueing; workers use their own connections, which may block."""
    return Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        retry=Retry(
            NoBackoff(), 1
        ),  # one retry, on a new connection; the client's default of ten retries takes seconds
    )


def explain_redis(error: RedisError, where: str = "Redis") -> str:
    """Return a sentence that names the problem with Redis and its fix, without an address or a password."""
    message = str(error).upper()
    if isinstance(error, NoPermissionError) or "NOPERM" in message:
        return f"{where} does not let this user do what is needed. Give the user of REDIS_URL all commands and keys."
    if isinstance(error, AuthenticationError) or any(
        words in message for words in ("NOAUTH", "WRONGPASS", "AUTHENTICAT")
    ):
        return (
            f"{where} answers, and wants a password that REDIS_URL lacks, or has wrong. "
            "Write it like this: redis://:PASSWORD@HOST:6379/0"
        )
    if "DB INDEX IS OUT OF RANGE" in message:
        return f"{where} has no database of the number at the end of REDIS_URL; use 0."
    return f"{where} does not answer ({type(error).__name__}). Start it, or set REDIS_URL."


_JOB_KINDS = frozenset(map(str, JobKind))


class Queues:
    """The RQ queues of an installation."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._unavailable_until = 0.0
        self._queues = {name: Queue(name, connection=redis, serializer=JSONSerializer) for name in (*ALL_QUEUES, GPU)}

    def enqueue(self, job_requests: Sequence[JobRequest]) -> None:
        """Enqueue a job for each request; if Redis is unavailable, the recovery scan enqueues the rows later."""
        if time.monotonic() < self._unavailable_until:
            return
        try:
            for request in job_requests:
                job = ROW_JOBS[request.job_kind]
                self._queues[job.queue].enqueue_call(
                    job.function_name,
                    job_id=f"{request.job_kind}-{request.row_id}-{secrets.token_hex(6)}",
                    args=(request.row_id,),
                    timeout=job.timeout_seconds,
                    result_ttl=RESULT_TTL_SECONDS,
                    failure_ttl=FAILURE_TTL_SECONDS,
                )
        except RedisError as error:
            self._unavailable_until = time.monotonic() + PAUSE_AFTER_FAILURE_S
            log.warning("queue.unreachable", job_requests=len(job_requests), reason=type(error).__name__)

    def queued(self) -> set[JobRequest]:
        """Return the job requests of all jobs that wait in the queues."""
        waiting: set[JobRequest] = set()
        for queue in self._queues.values():
            for job_id in queue.job_ids:
                job_kind, _, rest = job_id.partition("-")
                row_id = rest.partition("-")[0]
                if job_kind in _JOB_KINDS and row_id.isdigit():
                    waiting.add(JobRequest(JobKind(job_kind), int(row_id)))
        return waiting

    def depths(self) -> dict[str, int]:
        """Return queue name → number of waiting jobs."""
        return {name: len(queue) for name, queue in self._queues.items()}
