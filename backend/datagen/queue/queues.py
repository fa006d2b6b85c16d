"""The queues: which there are, and knocking on them. RQ with JSON, never pickle."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from datagen.workflow.services import JobKind, JobRequest

log = structlog.get_logger()

#: Queue names, most urgent first: a worker that serves all of them takes an event before a shard.
EVENTS, PUBLISHING, SYNTHESIS = "datagen-events", "datagen-publishing", "datagen-synthesis"
ALL_QUEUES = (EVENTS, PUBLISHING, SYNTHESIS)
#: Served by workers with a GPU alone: what they have loaded is worth more than an idle minute.
GPU = "datagen-gpu"
#: Redis answers in microseconds, or it is away: a web request must not wait for it, because Label Studio waits a
#: second for the request, and the annotator with it.
REDIS_TIMEOUT_SECONDS = 0.4
#: Nobody knocks for so long after Redis was found away; the sweeper knocks for what was left out.
AWAY_SECONDS = 5.0
#: What jobs return and why they failed stands in rows; RQ need not keep it for long.
RESULT_TTL_SECONDS, FAILURE_TTL_SECONDS = 60, 86_400


@dataclass(frozen=True, slots=True)
class _Route:
    queue: str
    function: str
    timeout_seconds: int


_ROUTES = {
    JobKind.EVENT: _Route(EVENTS, "datagen.entrypoints.rq_tasks.handle_event", 300),
    JobKind.INPUTS: _Route(EVENTS, "datagen.entrypoints.rq_tasks.refresh_inputs", 900),
    JobKind.PROPOSALS: _Route(SYNTHESIS, "datagen.entrypoints.rq_tasks.propose", 900),
    JobKind.OUTBOX: _Route(PUBLISHING, "datagen.entrypoints.rq_tasks.publish_outbox_row", 900),
    JobKind.SHARD: _Route(SYNTHESIS, "datagen.entrypoints.rq_tasks.render", 3600),
    # a model may have to be taught first, and a CPU takes minutes a picture; what hangs, its watchdog ends
    JobKind.GPU_SHARD: _Route(GPU, "datagen.entrypoints.rq_tasks.render", 7 * 24 * 3600),
}


def connect(url: str) -> Redis:
    """The connection for knocking; workers make their own, which may block."""
    return Redis.from_url(
        url,
        socket_timeout=REDIS_TIMEOUT_SECONDS,
        socket_connect_timeout=REDIS_TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 1),  # one more, on a new connection; the client's own ten tries take seconds
    )


def explain_redis(fault: RedisError, where: str = "Redis") -> str:
    """A sentence that says what is wrong with Redis and how to mend it; it holds no address and no password."""
    said = str(fault).upper()
    if isinstance(fault, NoPermissionError) or "NOPERM" in said:
        return f"{where} does not let this user do what is needed. Give the user of REDIS_URL all commands and keys."
    if isinstance(fault, AuthenticationError) or any(words in said for words in ("NOAUTH", "WRONGPASS", "AUTHENTICAT")):
        return (
            f"{where} answers, and wants a password that REDIS_URL lacks, or has wrong. "
            "Write it like this: redis://:PASSWORD@HOST:6379/0"
        )
    if "DB INDEX IS OUT OF RANGE" in said:
        return f"{where} has no database of the number at the end of REDIS_URL; use 0."
    return f"{where} does not answer ({type(fault).__name__}). Start it, or set REDIS_URL."


_JOB_KINDS = frozenset(map(str, JobKind))


class Queues:
    """Knocks on the queues' doors."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._away_until = 0.0
        self._queues = {name: Queue(name, connection=redis, serializer=JSONSerializer) for name in (*ALL_QUEUES, GPU)}

    def enqueue(self, job_requests: Sequence[JobRequest]) -> None:
        """Queue a job for each knock. Without Redis the rows wait for the sweeper: a knock is only a hint."""
        if time.monotonic() < self._away_until:
            return
        try:
            for request in job_requests:
                route = _ROUTES[request.job_kind]
                self._queues[route.queue].enqueue_call(
                    route.function,
                    job_id=f"{request.job_kind}-{request.row_id}-{secrets.token_hex(6)}",
                    args=(request.row_id,),
                    timeout=route.timeout_seconds,
                    result_ttl=RESULT_TTL_SECONDS,
                    failure_ttl=FAILURE_TTL_SECONDS,
                )
        except RedisError as fault:
            self._away_until = time.monotonic() + AWAY_SECONDS
            log.warning("queue.unreachable", job_requests=len(job_requests), reason=type(fault).__name__)

    def queued(self) -> set[JobRequest]:
        """What waits in the queues, as the knocks that put it there."""
        waiting: set[JobRequest] = set()
        for queue in self._queues.values():
            for job_id in queue.job_ids:
                job_kind, _, rest = job_id.partition("-")
                row_id = rest.partition("-")[0]
                if job_kind in _JOB_KINDS and row_id.isdigit():
                    waiting.add(JobRequest(JobKind(job_kind), int(row_id)))
        return waiting

    def depths(self) -> dict[str, int]:
        """How many jobs wait in each queue."""
        return {name: len(queue) for name, queue in self._queues.items()}
