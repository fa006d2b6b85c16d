"""Who can write to Redis cannot have a worker run what the product does not do itself."""

from __future__ import annotations

import inspect

from datagen.entrypoints import rq_tasks
from datagen.queue.allowed_jobs import KNOWN


def test_every_task_is_known_and_nothing_else() -> None:
    ours = {
        f"{rq_tasks.__name__}.{name}"
        for name, function in inspect.getmembers(rq_tasks, inspect.isfunction)
        if function.__module__ == rq_tasks.__name__
    }
    assert ours == KNOWN
