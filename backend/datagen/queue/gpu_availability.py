"""Who renders for engines that need a GPU, and what stands in their way: asked before work is queued."""

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
from datagen.queue.live_workers import live_workers
from datagen.queue.queues import GPU, Queues, connect
from datagen.queue.worker import WORKER_TTL_SECONDS
from datagen.synthesis.engine import check_engine, needs_gpu, sentence
from datagen.synthesis.parameter_routing import select_parameters

log = structlog.get_logger()


def engine_problems(redis_url: str, engine: str, parameters: Mapping[str, Json]) -> tuple[str, ...]:
    """Sentences on what stands in the way of rendering with an engine; empty when nothing does.

    An engine that needs a GPU is asked about this machine, unless its workers are elsewhere: then what they told of
    theirs counts, as far as they were started with the same parameters. Others ask themselves when they take the work,
    before they load anything.
    """
    if not needs_gpu(engine):
        return check_engine(engine, parameters)
    try:
        with connect(redis_url) as redis:
            hosts = {worker.host for worker in live_workers(Queues(redis)) if GPU in worker.queues}
            if hosts and socket.gethostname() not in hosts:
                return _told(redis, hosts, engine, parameters)
    except RedisError:
        return check_engine(engine, parameters)  # whether a worker lives cannot be seen
    problems = check_engine(engine, parameters)
    if not problems and not hosts:
        return ("No worker with a GPU is alive: start one with “datagen worker --gpu” on the machine that has it.",)
    return problems


def log_problems(engine: str, given: Mapping[str, Json]) -> dict[str, Json]:
    """Log what stands in this machine's way with the parameters that are set here; the engine's own of them.

    The worker serves all the same: a version may name other parameters, and what is missing may come.
    """
    parameters: dict[str, Json] = {}
    try:
        parameters = select_parameters(engine, given)
        problems = check_engine(engine, parameters)
    except EngineError as wrong:
        problems = (sentence(str(wrong)),)
    for problem in problems:
        log.warning("worker.cannot_render", engine=engine, reason=problem)
    return parameters


def tell_problems(redis: Redis, parameters: Mapping[str, Mapping[str, Json]]) -> None:
    """Write what prevents rendering on this machine into Redis, for machines without its GPU; the key expires.

    Args:
        parameters: engine -> the parameters that it would render with.

    Raises:
        redis.exceptions.RedisError: Redis is unavailable.
    """
    for engine, own in parameters.items():
        name = _key(socket.gethostname(), engine, own)
        redis.set(name, json.dumps(check_engine(engine, own)), ex=int(1.5 * WORKER_TTL_SECONDS))


def _told(redis: Redis, hosts: Iterable[str], engine: str, parameters: Mapping[str, Json]) -> tuple[str, ...]:
    """What the GPU's machines told; empty where nothing stands in the way of one of them, or one did not tell."""
    said: list[str] = []
    for host in sorted(hosts):
        answer = redis.get(_key(host, engine, parameters))
        problems = json.loads(str(answer, "utf-8")) if isinstance(answer, bytes) else []
        if not problems:
            return ()
        said += [f"On {host}: {problems[0]}", *problems[1:]]
    return tuple(said)


def _key(host: str, engine: str, parameters: Mapping[str, Json]) -> str:
    own = json.dumps(parameters.get(engine) or {}, sort_keys=True)
    return f"datagen:gpu:{host}:{engine}:{hashlib.sha256(own.encode()).hexdigest()[:16]}"
