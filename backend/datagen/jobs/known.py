"""The jobs that a worker runs: the functions of ``jobs.tasks``, and no other that a job in Redis may name.

JSON instead of pickle keeps a job from bringing code along, but RQ still imports and calls any function that it names.
Whoever can write to Redis could so run anything; with this, only what the product does anyway.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rq.job import Job

from datagen.errors import Refused

#: What a job may call, by its name in Redis: all of ``jobs.tasks``, which is not imported for that.
KNOWN = frozenset(
    f"datagen.jobs.tasks.{name}"
    for name in ("handle_event", "refresh_inputs", "propose", "render", "tell", "sweep", "reconcile")
)


class KnownJob(Job):
    """A job of ours; one of somebody else's fails, and what it names is not even imported."""

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
