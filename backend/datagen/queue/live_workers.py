"""Lists the workers whose heartbeat is fresh."""

from __future__ import annotations

from datagen.queue import heartbeats
from datagen.queue.queues import Queues


def live_workers(queues: Queues) -> list[heartbeats.Alive]:
    """Return the workers whose heartbeat is fresh.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable.
    """
    return heartbeats.alive(queues.redis, heartbeats.Kind.WORKER)
