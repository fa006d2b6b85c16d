"""Heartbeats of workers and schedulers: keys in Redis that expire unless they are renewed.

RQ's own registries keep an entry for minutes after a process was killed, and compare the clocks of several machines.
The expiry of a key depends on Redis's clock alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import NamedTuple

import structlog
from redis import Redis
from redis.exceptions import RedisError

from datagen.queue.queues import connect
from datagen.store.periodic_thread import run_periodically

log = structlog.get_logger()

#: Interval between heartbeats, seconds.
BEAT_SECONDS = 2.0
#: Seconds without a heartbeat after which a process is considered dead.
LIFETIME_SECONDS = 8
#: Maximum number of names read per kind; more than any installation has processes.
MAX_NAMES = 10_000


class Kind(StrEnum):
    """The kind of a process that sends heartbeats."""

    WORKER = "worker"
    SCHEDULER = "scheduler"


class Alive(NamedTuple):
    """A process whose heartbeat is fresh: its name, its machine, and the queues it serves."""

    name: str
    host: str
    queues: tuple[str, ...]


def beat(redis: Redis, kind: Kind, process: Alive) -> None:
    """Send one heartbeat of a process.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable.
    """
    with redis.pipeline() as pipeline:
        pipeline.sadd(_names(kind), process.name)
        pipeline.set(_key(kind, process.name), json.dumps([process.host, *process.queues]), ex=LIFETIME_SECONDS)
        pipeline.execute()


def end(redis: Redis, kind: Kind, name: str) -> None:
    """Delete the heartbeat of a process that has ended.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable.
    """
    with redis.pipeline() as pipeline:
        pipeline.srem(_names(kind), name)
        pipeline.delete(_key(kind, name))
        pipeline.execute()


@contextmanager
def beating(redis_url: str, kind: Kind, process: Alive) -> Iterator[None]:
    """Send heartbeats of a process in a thread until the block ends, then delete the heartbeat.

    While Redis is unavailable, the thread keeps trying.
    """

    def send() -> None:
        try:
            beat(redis, kind, process)
        except RedisError as error:  # the next heartbeat may succeed
            log.warning("heartbeat.not_sent", kind=str(kind), reason=type(error).__name__)

    with connect(redis_url) as redis:
        send()
        try:
            with run_periodically(send, BEAT_SECONDS, f"heartbeat-{kind}"):
                yield
        finally:
            try:
                end(redis, kind, process.name)
            except RedisError as error:  # the key expires
                log.warning("heartbeat.not_ended", kind=str(kind), reason=type(error).__name__)


def alive(redis: Redis, kind: Kind) -> list[Alive]:
    """Return the processes with a fresh heartbeat, sorted by name, and remove the names of the others.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable.
    """
    names = sorted(_text(name) for name in redis.sscan_iter(_names(kind), count=1000))[:MAX_NAMES]
    if not names:
        return []
    values = redis.mget([_key(kind, name) for name in names])
    processes = [_parsed(name, value) for name, value in zip(names, values, strict=True)]
    if dead := [name for name, value in zip(names, values, strict=True) if value is None]:
        redis.srem(_names(kind), *dead)
    return [process for process in processes if process is not None]


def _parsed(name: str, value: bytes | str | None) -> Alive | None:
    """Parse a heartbeat; return None if there is none, or if the value is not a heartbeat."""
    if value is None:
        return None
    try:
        host, *queues = json.loads(value)
    except (ValueError, TypeError):
        return None
    return Alive(name, str(host), tuple(map(str, queues)))


def _text(name: bytes | str) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def _names(kind: Kind) -> str:
    return f"datagen:{kind}s"


def _key(kind: Kind, name: str) -> str:
    return f"datagen:{kind}:{name}"
