"""The jobs that a worker runs: an allow-list of the functions in the registry of jobs.

Serialization as JSON instead of pickle keeps code out of a job, but RQ still imports and calls any function that a job
names. Without the allow-list, write access to Redis would be enough to run any importable function.
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
from datagen.queue.jobs import FUNCTION_NAMES

log = structlog.get_logger()


def is_unreadable(error: Exception) -> bool:
    """Return whether RQ raised this error because of data in Redis that it could not interpret.

    True for every error but an unavailable Redis, a stop request and a timeout.
    """
    if isinstance(error, RedisError):
        return isinstance(error, ResponseError)  # the key has another type
    return not isinstance(error, (StopRequested, BaseTimeoutException))


class AllowedJob(Job):
    """A job whose function is on the allow-list; any other job fails, and its function is not imported."""

    def refresh(self) -> None:
        """Read the job from Redis.

        Raises:
            NoSuchJobError: the job does not exist, or has a date, number or type that RQ does not write. Workers skip
                it, and the recovery scan enqueues its row again.
        """
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except NoSuchJobError:
            raise
        except Exception as error:
            if not is_unreadable(error):
                raise
            log.warning("job.unreadable", job=self.id, reason=str(error))
            raise NoSuchJobError(f"the job {self.id} in Redis cannot be read") from error

    @property
    def func(self) -> Callable[..., None]:
        """The function that the job calls.

        Raises:
            Refused: the function is not on the allow-list.
        """
        if self.instance is not None or self.func_name not in FUNCTION_NAMES:
            raise Refused(f"the job {self.id} is none of Datagen's; see who else can write to this Redis")
        function: Callable[..., None] = super().func
        return function

    @property
    def success_callback(self) -> None:
        """Always None: Datagen's jobs have no callbacks, and none is imported."""

    @property
    def failure_callback(self) -> None:
        """Always None: Datagen's jobs have no callbacks, and none is imported."""

    @property
    def stopped_callback(self) -> None:
        """Always None: Datagen's jobs have no callbacks, and none is imported."""

    def send_webhooks(self, *_args: Any, **_kwargs: Any) -> None:
        """Do nothing: Datagen's jobs have no webhooks, and no address that a job names is called."""
