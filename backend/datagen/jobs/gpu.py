"""Who renders for engines that need a GPU, and what stands in their way: asked before work is queued."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from redis.exceptions import RedisError

from datagen.domain.spec import Json
from datagen.jobs.queues import GPU, Queues, connect
from datagen.jobs.vitals import live_workers
from datagen.synthesis.engine import check_engine, needs_gpu


def engine_problems(redis_url: str, engine: str, parameters: Mapping[str, Json]) -> tuple[str, ...]:
    """Sentences on what stands in the way of rendering with an engine; empty when nothing does.

    An engine that needs a GPU is asked about this machine, unless its workers are elsewhere: those ask themselves
    when they take the work, before they load anything.
    """
    if not needs_gpu(engine):
        return ()  # an engine that is not installed here says so when it is to render
    try:
        with connect(redis_url) as redis:
            hosts = {str(worker.hostname) for worker in live_workers(Queues(redis)) if GPU in worker.queue_names()}
    except RedisError:
        return check_engine(engine, parameters)  # whether a worker lives cannot be seen
    if hosts and socket.gethostname() not in hosts:
        return ()
    problems = check_engine(engine, parameters)
    if not problems and not hosts:
        return (
            "No worker with a GPU is alive: start one with “datagen worker --gpu” on the machine that has it. "
            "Until then the study can go on with the engine “composite”.",
        )
    return problems
