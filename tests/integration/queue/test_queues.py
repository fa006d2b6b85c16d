"""Queues and the recovery scan: a job only triggers work on a row, which the scan finds without it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from sqlalchemy import func, select

from datagen.domain.lifecycle import StudyEvent
from datagen.entrypoints.rq_tasks import sweep as sweep_job
from datagen.entrypoints.scheduler import JsonCron
from datagen.queue.jobs import (
    ALL_QUEUES,
    EVENTS,
    GPU,
    HANDOVERS,
    NOTIFICATIONS,
    PREVIEWS,
    PUBLISHING,
    SYNTHESIS,
    UPKEEP,
)
from datagen.queue.queues import Queues, connect
from datagen.queue.recovery import sweep
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.messages import InboxRow
from datagen.workflow.services import JobKind, JobRequest
from stage.ports import free_port
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def waiting_row(studio: Studio, **values: object) -> int:
    """An inbox row whose project belongs to no study."""
    with studio.services.database.write() as session:
        number = session.scalar(select(func.count()).select_from(InboxRow))
        row = InboxRow(fingerprint=f"test {number}", action="TASKS_CREATED", project_id=2**40)
        for name, value in values.items():
            setattr(row, name, value)
        session.add(row)
        session.flush()
        return row.id


def test_each_door_has_its_queue_and_events_come_first(studio: Studio) -> None:
    studio.queues.enqueue([JobRequest(job_kind, 7) for job_kind in JobKind])
    assert ALL_QUEUES[0] == EVENTS
    assert studio.queues.depths() == {
        EVENTS: 1,
        PUBLISHING: 1,
        PREVIEWS: 1,
        NOTIFICATIONS: 1,
        UPKEEP: 2,
        SYNTHESIS: 2,
        HANDOVERS: 1,
        GPU: 1,
    }
    assert studio.queues.queued() == {JobRequest(job_kind, 7) for job_kind in JobKind}


def test_a_foreign_job_in_our_queues_is_not_taken_for_a_knock(studio: Studio) -> None:
    for job_id in ("event-", "event-x-1", "strange-7-ab", "7"):
        Queue(EVENTS, connection=studio.queues.redis, serializer=JSONSerializer).enqueue_call(
            "datagen.entrypoints.rq_tasks.sweep", job_id=job_id
        )
    assert studio.queues.queued() == set()


def test_enqueueing_without_redis_loses_nothing_and_raises_nothing(studio: Studio) -> None:
    with Redis(port=free_port(), socket_connect_timeout=1) as nowhere:
        deaf = Queues(nowhere)
        row_id = waiting_row(studio)
        deaf.enqueue([JobRequest(JobKind.EVENT, row_id)])
        with pytest.raises(RedisError):
            sweep(studio.services.database, deaf)
    assert sweep(studio.services.database, studio.queues) == 1
    assert studio.queues.queued() == {JobRequest(JobKind.EVENT, row_id)}
    studio.settle()


def test_a_queue_that_was_emptied_is_filled_again(studio: Studio, study: Study) -> None:
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.queues.redis.flushdb()  # as after a crash of Redis
    studio.settle()
    assert study.row().state == "reviewing"


def test_the_sweeper_knocks_for_what_is_due_and_once(studio: Studio) -> None:
    due = waiting_row(studio)
    waiting_row(studio, due_at=now() + timedelta(seconds=60))  # a wait that is not over
    waiting_row(studio, state=WorkState.RUNNING, due_at=now() + timedelta(seconds=60))  # a worker holds the lease
    dead = waiting_row(studio, state=WorkState.RUNNING, due_at=now() - timedelta(seconds=1))  # its worker died
    waiting_row(studio, state=WorkState.FAILED)
    waiting_row(studio, state=WorkState.DONE)
    assert sweep(studio.services.database, studio.queues) == 2
    assert studio.queues.queued() == {JobRequest(JobKind.EVENT, due), JobRequest(JobKind.EVENT, dead)}
    assert sweep(studio.services.database, studio.queues) == 0


def test_a_job_whose_row_is_gone_or_done_does_nothing(studio: Studio) -> None:
    done = waiting_row(studio, state=WorkState.DONE)
    studio.queues.enqueue(
        [JobRequest(JobKind.EVENT, done), JobRequest(JobKind.EVENT, 10**9), JobRequest(JobKind.SHARD, 10**9)]
    )
    studio.queues.enqueue([JobRequest(JobKind.OUTBOX, 10**9)])
    studio.work()
    assert studio.queues.depths() == dict.fromkeys((*ALL_QUEUES, GPU), 0)
    with studio.rows() as session:
        assert session.get_one(InboxRow, done).attempts == 0


def test_a_job_that_fails_does_not_stop_the_worker(studio: Studio) -> None:
    queue = Queue(EVENTS, connection=studio.queues.redis, serializer=JSONSerializer)
    queue.enqueue_call("datagen.entrypoints.rq_tasks.handle_event", args=("no number", "too many"))
    row_id = waiting_row(studio)
    studio.queues.enqueue([JobRequest(JobKind.EVENT, row_id)])
    studio.work()
    with studio.rows() as session:
        assert session.get_one(InboxRow, row_id).state == WorkState.DONE


def test_periodic_jobs_are_json_too_and_do_not_pile_up(studio: Studio) -> None:
    cron = JsonCron(connection=studio.queues.redis, logging_level="WARNING")
    job = cron.register(sweep_job, EVENTS, interval=1, job_timeout=60)
    for _ in range(3):
        job.next_enqueue_time = None
        cron.enqueue_jobs()
    queue = Queue(EVENTS, connection=studio.queues.redis, serializer=JSONSerializer)
    assert len(queue.job_ids) == 1
    queued = Job.fetch(queue.job_ids[0], connection=studio.queues.redis, serializer=JSONSerializer)
    assert queued.func_name == "datagen.entrypoints.rq_tasks.sweep"
    studio.work()


def test_a_web_request_does_not_wait_long_for_a_redis_that_hangs() -> None:
    assert connect("redis://127.0.0.1:1/0").connection_pool.connection_kwargs["socket_timeout"] <= 5
