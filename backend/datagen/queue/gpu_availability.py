"""Availability of workers for engines that need a GPU; checked before work is queued."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterable, Mapping

import structlog
from redis import Redis
from redis.exceptions import RedisError

from datagen.domain.spec import Json
from datagen.errors import EngineError
from datagen.queue.jobs import GPU
from datagen.queue.live_workers import live_workers
from datagen.queue.queues import Queues, connect
from datagen.queue.worker import WORKER_TTL_SECONDS
from datagen.synthesis.engine import EngineSettings, check_engine, needs_gpu, sentence
from datagen.workflow.parameter_routing import select_parameters

log = structlog.get_logger()


def engine_problems(
    redis_url: str, settings: EngineSettings, engine: str, parameters: Mapping[str, Json]
) -> tuple[str, ...]:
    """Return the problems that prevent rendering with an engine, a sentence each; empty if there are none.

    If the engine needs a GPU and all of its workers run on other machines, return the problems that those workers
    reported for the same parameters. In every other case, run the engine's own check on this machine.

    A worker that was started with other parameters has no report for these. It runs the check when it takes the work,
    before it loads a model.
    """
    if not needs_gpu(engine):
        return check_engine(engine, parameters, settings)
    try:
        with connect(redis_url) as redis:
            hosts = {worker.host for worker in live_workers(Queues(redis)) if GPU in worker.queues}
            if hosts and socket.gethostname() not in hosts:
                return _reported_problems(redis, hosts, engine, parameters)
    except RedisError:
        return check_engine(engine, parameters, settings)  # the heartbeats of the workers cannot be read
    problems = check_engine(engine, parameters, settings)
    if not problems and not hosts:
        return ("No worker with a GPU is alive: start one with “datagen worker --gpu” on the machine that has it.",)
    return problems


def log_problems(settings: EngineSettings, engine: str, given: Mapping[str, Json]) -> dict[str, Json]:
    """Log the problems of an engine on this machine, and return those of the given parameters that the engine takes.

    The worker starts in spite of problems: a version may set other parameters, and missing files may be added later.
    """
    parameters: dict[str, Json] = {}
    try:
        parameters = select_parameters(engine, given)
        problems = check_engine(engine, parameters, settings)
    except EngineError as error:
        problems = (sentence(str(error)),)
    for problem in problems:
        log.warning("worker.cannot_render", engine=engine, reason=problem)
    return parameters


def report_problems(redis: Redis, settings: EngineSettings, parameters: Mapping[str, Mapping[str, Json]]) -> None:
    """Publish the problems that prevent rendering on this machine in Redis, for machines without a GPU.

    The keys expire after one and a half times ``WORKER_TTL_SECONDS``.

    Args:
        parameters: Engine name → the parameters that it would render with.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable.
    """
    for engine, own in parameters.items():
        name = _key(socket.gethostname(), engine, own)
        redis.set(name, json.dumps(check_engine(engine, own, settings)), ex=int(1.5 * WORKER_TTL_SECONDS))


def _reported_problems(
    redis: Redis, hosts: Iterable[str], engine: str, parameters: Mapping[str, Json]
) -> tuple[str, ...]:
    """Return the problems that GPU machines reported; empty if at least one machine has no problem or no report."""
    sentences: list[str] = []
    for host in sorted(hosts):
        report = redis.get(_key(host, engine, parameters))
        problems = json.loads(str(report, "utf-8")) if isinstance(report, bytes) else []
        if not problems:
            return ()
        sentences += [f"On {host}: {problems[0]}", *problems[1:]]
    return tuple(sentences)


def _key(host: str, engine: str, parameters: Mapping[str, Json]) -> str:
    own = json.dumps(parameters.get(engine) or {}, sort_keys=True)
    return f"datagen:gpu:{host}:{engine}:{hashlib.sha256(own.encode()).hexdigest()[:16]}"
