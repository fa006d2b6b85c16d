"""The scheduler: RQ's cron enqueues the periodic jobs of the registry."""

from __future__ import annotations

import time
from contextlib import suppress

import structlog
from redis import Redis
from redis.client import Pipeline
from redis.exceptions import AuthenticationError, RedisError
from rq import Queue
from rq.cron import CronJob, CronScheduler
from rq.exceptions import SchedulerNotFound, StopRequested
from rq.serializers import JSONSerializer
from rq.utils import import_attribute, now

from datagen.queue import heartbeats
from datagen.queue.jobs import PERIODIC_JOBS
from datagen.settings import Settings

log = structlog.get_logger()

#: Wait before a scheduler reconnects to Redis, seconds.
RECONNECT_SECONDS = 1.0
#: Timeout of Redis operations, seconds. After a timeout the scheduler reconnects.
REDIS_SECONDS = 5.0
#: RQ keeps the empty results of the periodic jobs for this long, seconds.
RESULT_TTL_SECONDS = 5


class JsonCron(CronScheduler):
    """RQ's cron with jobs serialized as JSON. RQ 3 has no setting for this and would pickle them."""

    def enqueue_jobs(self) -> list[CronJob]:
        """Enqueue the jobs that are due; skip a job whose previous run still waits in the queue."""
        due = [job for job in self.get_jobs() if job.should_run()]
        for job in due:
            queue = Queue(job.queue_name, connection=self.connection, serializer=JSONSerializer)
            job_id = "cron-" + job.func_name.replace(".", "_")
            if job_id not in queue.job_ids:
                timeout = job.job_options["job_timeout"]
                queue.enqueue_call(job.func_name, job_id=job_id, result_ttl=RESULT_TTL_SECONDS, timeout=timeout)
            job.set_enqueue_time(now())
        return due

    def register_death(self, pipeline: Pipeline | None = None) -> None:
        """Remove the scheduler from RQ's registry. If it is not there, as after Redis was emptied, do nothing."""
        try:
            super().register_death(pipeline)
        except SchedulerNotFound:
            log.info("scheduler.forgotten", name=self.name)


def register_periodic_jobs(scheduler: CronScheduler, settings: Settings) -> None:
    """Register the periodic jobs in a scheduler, with the intervals in the settings."""
    for job in PERIODIC_JOBS:
        scheduler.register(
            import_attribute(job.function_name),
            job.queue,
            interval=getattr(settings, job.interval_setting),
            job_timeout=job.timeout_seconds,
        )


def run_scheduler(settings: Settings) -> None:
    """Enqueue the periodic jobs until a stop request; if Redis is unavailable or its data is unreadable, try again.

    Raises:
        redis.exceptions.AuthenticationError: Redis rejects the password.
    """
    connection = Redis.from_url(settings.redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS)
    with suppress(StopRequested):  # a stop request during the wait
        while not _run(connection, settings):
            time.sleep(RECONNECT_SECONDS)


def _run(connection: Redis, settings: Settings) -> bool:
    """Run a scheduler under a new name until it ends; return True after a stop request, False after an error."""
    scheduler = JsonCron(connection=connection, logging_level="WARNING")
    register_periodic_jobs(scheduler, settings)
    process = heartbeats.Alive(scheduler.name, scheduler.hostname, ())
    log.info("scheduler.started", name=scheduler.name)
    try:
        with heartbeats.beating(settings.redis_url, heartbeats.Kind.SCHEDULER, process):
            scheduler.start()  # type: ignore[no-untyped-call]
    except AuthenticationError:
        raise  # a retry does not correct a password
    except RedisError as error:
        log.warning("scheduler.redis_unavailable", reason=type(error).__name__)
    except StopRequested:
        return True
    except Exception:
        log.exception("scheduler.failed")
    else:
        return True
    return False
