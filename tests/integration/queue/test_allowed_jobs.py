"""Write access to Redis does not suffice to make a worker run another function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from datagen.queue.jobs import EVENTS
from studio import Studio

pytest_plugins = ("studio_fixtures",)


@pytest.mark.integration
@pytest.mark.parametrize(
    "planted",
    [
        {"func": "os.mkdir", "args": ("MARK",)},
        {"func": "datagen.queue.worker.os.mkdir", "args": ("MARK",)},
        {"func": "pathlib.Path.mkdir", "args": ("MARK",)},
        {"func": "datagen.entrypoints.rq_tasks.sweep", "on_failure": "os.mkdir"},
        {"func": "datagen.entrypoints.rq_tasks.sweep", "on_success": "os.mkdir"},
    ],
)
def test_a_planted_job_fails_and_what_it_names_is_not_called(
    planted: dict[str, Any], studio: Studio, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    queue = Queue(EVENTS, connection=studio.queues.redis, serializer=JSONSerializer)
    args = tuple(str(mark) if argument == "MARK" else argument for argument in planted.get("args", ()))
    queue.enqueue_call(planted["func"], args=args, job_id="planted", failure_ttl=60, result_ttl=60)
    for event in ("on_failure", "on_success"):
        if event in planted:  # RQ's own API imports it first; who writes to Redis does not
            studio.queues.redis.hset("rq:job:planted", f"{event.removeprefix('on_')}_callback_name", planted[event])
    studio.work()
    assert not mark.exists()
    job = Job.fetch("planted", connection=studio.queues.redis, serializer=JSONSerializer)
    assert job.get_status() == ("finished" if "sweep" in planted["func"] else "failed")


@pytest.mark.integration
def test_a_pickled_job_is_not_unpickled(studio: Studio, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    Queue(EVENTS, connection=studio.queues.redis).enqueue_call("os.mkdir", args=(str(mark),), job_id="pickled")
    studio.work()
    assert not mark.exists()
