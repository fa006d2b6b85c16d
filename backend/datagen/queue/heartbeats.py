"""Heartbeats: which workers and schedulers live, by keys in Redis that end by themselves when nobody renews them.

RQ's own registries are kept for minutes after a process was killed, and compare clocks of several machines. A key's
end is counted by Redis alone.
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

#: A heartbeat is sent this often, seconds.
BEAT_SECONDS = 2.0
#: A process that sent none for so long is considered dead, seconds.
LIFETIME_SECONDS = 8
#: Names looked at of one kind: more processes than any installation has.
MOST_NAMES = 10_000


class Kind(StrEnum):
    """What kind of process sends heartbeats."""

    WORKER = "worker"
    SCHEDULER = "scheduler"


class Alive(NamedTuple):
    """A process whose heartbeat is fresh: its name, its machine, and the queues it serves."""

    name: str
    host: str
    queues: tuple[str, ...]


def beat(redis: Redis, kind: Kind, process: Alive) -> None:
    """Say once that a process lives.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    with redis.pipeline() as pipeline:
        pipeline.sadd(_names(kind), process.name)
        pipeline.set(_key(kind, process.name), json.dumps([process.host, *process.queues]), ex=LIFETIME_SECONDS)
        pipeline.execute()


def end(redis: Redis, kind: Kind, name: str) -> None:
    """Say that a process has ended.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    with redis.pipeline() as pipeline:
        pipeline.srem(_names(kind), name)
        pipeline.delete(_key(kind, name))
        pipeline.execute()


@contextmanager
def beating(redis_url: str, kind: Kind, process: Alive) -> Iterator[None]:
    """Send heartbeats in a thread until the block ends; while Redis does not answer, go on trying."""

    def send() -> None:
        try:
            beat(redis, kind, process)
        except RedisError as away:  # the next one may be heard
            log.warning("heartbeat.not_sent", kind=str(kind), reason=type(away).__name__)

    with connect(redis_url) as redis:
        send()
        try:
            with run_periodically(send, BEAT_SECONDS, f"heartbeat-{kind}"):
                yield
        finally:
            try:
                end(redis, kind, process.name)
            except RedisError as away:  # it ends by itself
                log.warning("heartbeat.not_ended", kind=str(kind), reason=type(away).__name__)


def alive(redis: Redis, kind: Kind) -> list[Alive]:
    """The processes whose heartbeat is fresh, by name; those that died are forgotten.

    Raises:
        redis.exceptions.RedisError: Redis does not answer.
    """
    names = sorted(_text(name) for name in redis.sscan_iter(_names(kind), count=1000))[:MOST_NAMES]
    if not names:
        return []
    values = redis.mget([_key(kind, name) for name in names])
    found = [(name, _parsed(name, value)) for name, value in zip(names, values, strict=True)]
    if dead := [name for name, value in zip(names, values, strict=True) if value is None]:
        redis.srem(_names(kind), *dead)
    return [process for _, process in found if process is not None]


def _parsed(name: str, value: bytes | str | None) -> Alive | None:
    """A heartbeat as it was sent; None for none, and for what somebody else wrote there."""
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
