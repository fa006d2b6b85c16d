"""Two workers and the same row: one of them does the work, the other one finds it claimed."""

from __future__ import annotations

import os
import threading
from dataclasses import replace

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.label_studio.api.client import LabelStudio
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.messages import OutboxRow
from datagen.workflow.decisions import submit
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import JobKind, JobRequest
from plant import Plant, approved, assert_nothing_twice_nothing_missing, shards
from plant_installation import SHARD
from stage.gateway import Answer, Forward, Gateway, Passing
from studio import Study, asked, verdict_result

pytestmark = pytest.mark.integration


def test_for_one_shard_and_one_outbox_row(plant: Plant, reviewed: Study) -> None:
    plant.kill("worker-1", "worker-2", "scheduler")
    reviewed.act(StudyEvent.APPROVE, count=SHARD)
    [shard] = shards(reviewed, approved(reviewed))
    plant.queues.enqueue([JobRequest(JobKind.SHARD, shard.id)] * 6)
    plant.start("worker-1", "worker-2")
    plant.until(lambda: str(shards(reviewed, approved(reviewed))[0].state) == "done", "The shard")
    plant.until(lambda: str(approved(reviewed).state) == "done", "The end of the run")
    with plant.rows() as session:
        assert session.scalar(select(ShardRow.attempts).where(ShardRow.id == shard.id)) == 1
        tellings = session.scalars(select(OutboxRow.id).where(OutboxRow.study_id == reviewed.id)).all()
    plant.queues.enqueue([JobRequest(JobKind.OUTBOX, row_id) for row_id in tellings] * 3)
    plant.start("scheduler")
    plant.until_settled()
    assert_nothing_twice_nothing_missing(reviewed)


def test_for_one_decision(plant: Plant, reviewed: Study) -> None:
    """The webhook's event and the reconciler find the same answer in the same moment."""
    plant.kill("worker-1", "worker-2", "scheduler")
    rounds = len(reviewed.batches(BatchKind.ROUND))
    task_id = reviewed.decision_tasks()[-1].id
    plant.client.annotate(task_id, asked("refine"))
    task = plant.client.task(task_id, reviewed.projects[ProjectKind.DECISIONS])
    both = threading.Barrier(2)

    def follow() -> None:
        both.wait()
        submit.handle_answer(plant.services, reviewed.projects[ProjectKind.DECISIONS], task)

    racers = [threading.Thread(target=follow) for _ in range(2)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert len(reviewed.batches(BatchKind.ROUND)) == rounds + 1
    answered = next(point for point in reviewed.points() if point.task_id == task_id)
    assert answered.problem == ""  # no refusal is shown
    assert not any("refused" in line for line in reviewed.audit()[-2:])


def test_for_one_verdict_the_newer_reading_is_kept(plant: Plant, reviewed: Study) -> None:
    """A worker reads “good”, is delayed, and writes after another one that read the changed verdict “bad”."""
    plant.kill("worker-1", "worker-2", "scheduler")
    [annotation] = reviewed.judge(verdict_result("good"))
    project, task_id = reviewed.projects[ProjectKind.PREVIEWS], reviewed.round_tasks()[0].id
    was_read, may_go_on = threading.Event(), threading.Event()

    def hold(passing: Passing, forward: Forward) -> Answer | None:
        answer = forward()
        if not was_read.is_set():
            was_read.set()
            assert may_go_on.wait(30)
        return answer

    with Gateway(plant.server.url) as slow:
        held_up = replace(plant.services, label_studio=LabelStudio(slow.url, plant.server.token))
        assert held_up.label_studio.whoami()
        slow.meddler = hold
        late = threading.Thread(target=verdict_sync.sync_tasks, args=(held_up, project, [task_id]))
        late.start()
        assert was_read.wait(30)
        plant.client.update_annotation(annotation, verdict_result("bad", "too large"))
        verdict_sync.sync_tasks(plant.services, project, [task_id])
        may_go_on.set()
        late.join()
        held_up.label_studio.close()
    assert [(str(row.opinion), row.reasons) for row in reviewed.verdicts()] == [("bad", ["too large"])]


def test_workers_give_way_to_the_web_process(plant: Plant) -> None:
    """Label Studio waits a second for the answer to a webhook; rendering on the same machine can wait."""
    web, *workers = (
        os.getpriority(os.PRIO_PROCESS, plant.running[part].pid) for part in ("web", "worker-1", "worker-2")
    )
    assert all(worker > web for worker in workers)
