"""The jobs that a worker runs: the functions of ``jobs.tasks``, and no other that a job in Redis may name.

JSON instead of pickle keeps a job from bringing code along, but RQ still imports and calls any function that it names.
Whoever can write to Redis could so run anything; with this, only what the product does anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from redis.exceptions import RedisError, ResponseError
from rq.exceptions import NoSuchJobError, StopRequested
from rq.job import Job
from rq.timeouts import BaseTimeoutException

from datagen.errors import Refused

log = structlog.get_logger()

#: What a job may call, by its name in Redis: all of ``jobs.tasks``, which is not imported for that.
KNOWN = frozenset(
    f"datagen.entrypoints.rq_tasks.{name}"
    for name in ("handle_event", "refresh_inputs", "propose", "render", "publish_outbox_row", "sweep", "reconcile")
)


def is_unreadable(fault: Exception) -> bool:
    """Whether RQ raised this over what it read in Redis: whatever it is, unless Redis is away or a signal came."""
    if isinstance(fault, RedisError):
        return isinstance(fault, ResponseError)  # a key of another type
    return not isinstance(fault, (StopRequested, BaseTimeoutException))


class AllowedJob(Job):
    """A job of ours; one of somebody else's fails, and what it names is not even imported."""

    def refresh(self) -> None:
        """Read the job from Redis.

        Raises:
            NoSuchJobError: it is not there, or has a date, number or type that RQ does not write; workers pass it over,
                and the sweeper queues its row again.
        """
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except NoSuchJobError:
            raise
        except Exception as nonsense:
            if not is_unreadable(nonsense):
                raise
            log.warning("job.unreadable", job=self.id, reason=str(nonsense))
            raise NoSuchJobError(f"the job {self.id} in Redis cannot be read") from nonsense

    @property
    def func(self) -> Callable[..., None]:
        """The function that the job calls."""
        if self.instance is not None or self.func_name not in KNOWN:
            raise Refused(f"the job {self.id} is none of Datagen's; see who else can write to this Redis")
        function: Callable[..., None] = super().func
        return function

    @property
    def success_callback(self) -> None:
        """Ours have none, and no other is imported."""

    @property
    def failure_callback(self) -> None:
        """Ours have none, and no other is imported."""

    @property
    def stopped_callback(self) -> None:
        """Ours have none, and no other is imported."""

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """Ours have none, and no address that a job names is called."""
