"""The registry of jobs names every job that the workflow requests, and nothing that does not exist."""

from __future__ import annotations

import inspect

from redis import Redis
from rq.utils import import_attribute

from datagen.entrypoints import rq_tasks
from datagen.entrypoints.scheduler import JsonCron, register_periodic_jobs
from datagen.operations.supervisor import commands
from datagen.queue.jobs import (
    ALL_QUEUES,
    FUNCTION_NAMES,
    GPU,
    HANDOVERS,
    PERIODIC_JOBS,
    ROW_JOBS,
    WORKER_QUEUES,
    leased_tables,
)
from datagen.settings import Settings
from datagen.store.tables.base import LeasedRow, Row
from datagen.workflow.services import JobKind


def test_every_function_of_rq_tasks_is_registered_and_no_other() -> None:
    functions = {
        f"{rq_tasks.__name__}.{name}"
        for name, function in inspect.getmembers(rq_tasks, inspect.isfunction)
        if function.__module__ == rq_tasks.__name__
    }
    assert functions == FUNCTION_NAMES


def test_every_kind_of_job_is_registered_with_a_function_of_one_argument() -> None:
    assert set(ROW_JOBS) == set(JobKind)
    for job in ROW_JOBS.values():
        assert len(inspect.signature(import_attribute(job.function_name)).parameters) == 1
        assert job.queue in (*ALL_QUEUES, GPU)


def test_every_leased_table_has_a_job() -> None:
    leased = {mapper.class_ for mapper in Row.registry.mappers if issubclass(mapper.class_, LeasedRow)}
    assert set(leased_tables().values()) == leased
    assert set(leased_tables()) == {
        "event",
        "inputs",
        "proposals",
        "outbox",
        "notification",
        "shard",
        "handover",
    }  # labels of metrics: alerts depend on them


def test_jobs_for_which_people_wait_come_before_all_others() -> None:
    order = {kind: ALL_QUEUES.index(job.queue) for kind, job in ROW_JOBS.items() if job.queue != GPU}
    waited_for = (JobKind.EVENT, JobKind.OUTBOX, JobKind.PREVIEW_SHARD)
    assert sorted(waited_for, key=order.__getitem__) == list(waited_for)
    assert max(order[kind] for kind in waited_for) < min(order[kind] for kind in order.keys() - set(waited_for))


def test_no_worker_that_serves_events_serves_downloads_and_pushes() -> None:
    parts = [command[4:] for command in commands(2).values() if command[3] == "worker"]
    served = [set(options[1::2]) if options else set(WORKER_QUEUES) for options in parts]
    assert set().union(*served) == set(ALL_QUEUES), "every queue is served"
    assert [queues for queues in served if HANDOVERS in queues] == [{HANDOVERS}]


def test_the_scheduler_runs_every_periodic_job_at_the_interval_of_its_setting() -> None:
    settings = Settings(_env_file=None, sweep_seconds=7, reconcile_seconds=31)
    scheduler = JsonCron(connection=Redis(), logging_level="WARNING")  # nothing connects before it starts
    register_periodic_jobs(scheduler, settings)
    registered = {(job.func_name, job.queue_name, job.interval) for job in scheduler.get_jobs()}
    sweep, reconcile = PERIODIC_JOBS
    assert registered == {(sweep.function_name, sweep.queue, 7), (reconcile.function_name, reconcile.queue, 31)}
