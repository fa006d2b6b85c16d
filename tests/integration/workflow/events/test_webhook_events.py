"""Events from Label Studio: what those of each project mean, and that an outage loses none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.label_studio.api.client import LabelStudio
from datagen.queue.jobs import EVENTS
from datagen.store import leases
from datagen.store.tables import BatchKind, InboxRow, InputRow, StudyRow, now
from datagen.workflow.events import reconciler, webhook_events
from datagen.workflow.inputs.input_sync import collect, mark_stale
from datagen.workflow.services import UnitOfWork
from stage.ports import free_port
from studio import Studio, Study, asked, choice, said

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

#: Handles an event like a worker that is killed right after the transaction that began a round.
KILLED_AT_THE_ROUND = """
import os, signal, sys
from datagen.entrypoints.bootstrap import build_services, settings
from datagen.workflow.events import webhook_events
from datagen.workflow.services import JobKind

def die_at_a_shard(job_requests):
    if any(request.job_kind is JobKind.SHARD for request in job_requests):
        os.kill(os.getpid(), signal.SIGKILL)

webhook_events.handle(build_services(settings(), die_at_a_shard), int(sys.argv[1]))
"""


def due(studio: Studio, event: InboxRow) -> None:
    with studio.services.database.write() as session:
        session.get_one(InboxRow, event.id).due_at = now()


def again(studio: Studio, event: InboxRow) -> InboxRow:
    with studio.rows() as session:
        return session.get_one(InboxRow, event.id)


def backgrounds(studio: Studio, study: Study) -> int:
    with studio.rows() as session:
        return len(collect(session, study.row()).backgrounds)


def test_annotation_its_change_and_its_deletion_in_an_input_project_are_read(studio: Studio, study: Study) -> None:
    before = backgrounds(studio, study)
    [copy] = studio.client.import_tasks(
        study.projects[ProjectKind.BACKGROUNDS], [{"data": dict(study.tasks(ProjectKind.BACKGROUNDS)[0].data)}]
    )
    studio.settle()
    assert backgrounds(studio, study) == before + 1
    answer = studio.client.annotate(copy, [choice("use", "exclude")])
    studio.settle()
    assert backgrounds(studio, study) == before
    studio.client.update_annotation(answer, [choice("use", "use")])
    studio.settle()
    assert backgrounds(studio, study) == before + 1
    studio.client.delete_tasks(study.projects[ProjectKind.BACKGROUNDS], [copy])
    studio.settle()
    assert backgrounds(studio, study) == before


def test_event_is_retried_while_label_studio_is_unavailable(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("good"))
    [event] = [one for one in study.events(ProjectKind.PREVIEWS) if str(one.state) == "pending"]
    away = LabelStudio(f"http://127.0.0.1:{free_port()}", studio.server.token, read_attempts=1)
    for attempt in range(1, webhook_events.MAX_ATTEMPTS + 3):
        due(studio, event)
        webhook_events.handle(replace(studio.services, label_studio=away), event.id)
        row = again(studio, event)
        assert (str(row.state), row.attempts) == ("pending", attempt)
        assert "cannot be reached" in row.error
        assert row.due_at > now()
    away.close()
    due(studio, event)
    studio.settle()
    assert [str(row.opinion) for row in study.verdicts()] == ["good"]


def test_an_event_that_is_refused_is_given_up_with_its_reason(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("good"))
    [event] = [one for one in study.events(ProjectKind.PREVIEWS) if str(one.state) == "pending"]
    stranger = LabelStudio(studio.server.url, "0" * 40, read_attempts=1)
    for _ in range(webhook_events.MAX_ATTEMPTS):
        due(studio, event)
        webhook_events.handle(replace(studio.services, label_studio=stranger), event.id)
    stranger.close()
    row = again(studio, event)
    assert str(row.state) == "failed"
    assert "does not know the token" in row.error


def test_event_about_a_deleted_task_is_done(studio: Studio, study: Study) -> None:
    study.review()
    decision = study.decision_tasks()[-1]
    studio.client.annotate(decision.id, asked("build preview"))
    [event] = [one for one in study.events(ProjectKind.DECISIONS) if str(one.state) == "pending"]
    studio.client.delete_tasks(study.projects[ProjectKind.DECISIONS], [decision.id])
    studio.work(EVENTS)
    assert str(again(studio, event).state) == "done"
    assert study.row().state == "reviewing"
    studio.settle()


def start_training(studio: Studio, study: Study) -> InboxRow:
    """Choose it in the menu of the study's Previews project; the event that waits now."""
    backend = studio.client.backends(study.projects[ProjectKind.PREVIEWS])[0]
    headers = {"Authorization": f"Token {studio.server.token}"}
    url = f"{studio.server.url}/api/ml/{backend.id}/train"
    httpx.post(url, headers=headers, json={}, timeout=30).raise_for_status()
    [event] = [
        one for one in study.events(ProjectKind.PREVIEWS) if one.action == "START_TRAINING" and one.handled_at is None
    ]
    return event


def test_start_training_builds_one_preview_though_its_worker_was_killed_after_deciding(
    studio: Studio, study: Study
) -> None:
    study.review()
    rounds = len(study.batches(BatchKind.ROUND))
    event = start_training(studio, study)
    command = [sys.executable, "-c", KILLED_AT_THE_ROUND, str(event.id)]
    killed = subprocess.run(command, env={**os.environ, **studio.environment}, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(study.batches(BatchKind.ROUND)) == rounds + 1
    # the round is ready, so that another could be built, when the killed worker's lease has ended
    studio.work_until(lambda: study.row().state == "reviewing", "the round")
    due(studio, event)
    webhook_events.handle(studio.services, event.id)
    studio.settle()
    assert len(study.batches(BatchKind.ROUND)) == rounds + 1
    assert again(studio, event).handled_at is not None
    assert "Not done" not in study.page()


def test_a_worker_that_lost_its_lease_to_another_builds_no_second_preview(studio: Studio, study: Study) -> None:
    study.review()
    rounds = len(study.batches(BatchKind.ROUND))
    event = start_training(studio, study)
    with studio.services.database.write() as session:
        overslept = leases.claim(session, InboxRow, event.id, seconds=-1)
    assert overslept is not None
    studio.settle()  # another worker takes it, and the round is there
    assert len(study.batches(BatchKind.ROUND)) == rounds + 1
    webhook_events.start_training(studio.services, overslept, study.id)
    studio.settle()
    assert len(study.batches(BatchKind.ROUND)) == rounds + 1


def test_start_training_that_the_engine_refuses_says_so_on_the_decision_task(studio: Studio, study: Study) -> None:
    study.review()
    event = start_training(studio, study)
    study.use_engine("no-such-engine")
    studio.settle()
    study.use_engine("composite")
    row = again(studio, event)
    assert (str(row.state), row.attempts) == ("done", 1)
    assert "Not done" in study.page()
    assert "no-such-engine" in study.page()


def test_our_own_tasks_coming_back_as_events_set_nothing_going(studio: Studio, study: Study) -> None:
    study.review()
    told = [one for one in study.events(ProjectKind.PREVIEWS) if one.action == "TASKS_CREATED"]
    assert told
    state = (len(study.batches()), len(study.audit()), study.row().inputs_changed)
    for event in told:
        studio.replay(event)
    assert (len(study.batches()), len(study.audit()), study.row().inputs_changed) == state


def test_event_of_an_unknown_project_is_ignored(studio: Studio) -> None:
    studio.post_webhook(b'{"action": "ANNOTATION_CREATED", "project": {"id": 1099511627776}, "annotation": {"id": 1}}')
    studio.settle()
    with studio.rows() as session:
        assert str(session.scalars(select(InboxRow).order_by(InboxRow.id.desc()).limit(1)).one().state) == "done"


def test_reconciler_finds_changes_of_lost_webhooks(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(said("bad", "too small"), said("good"))
    studio.client.annotate(study.decision_tasks()[-1].id, asked("refine"))
    with studio.services.database.write() as session:  # as if none had arrived
        for kind in (ProjectKind.PREVIEWS, ProjectKind.DECISIONS):
            for event in study.events(kind):
                session.delete(session.get_one(InboxRow, event.id))
    studio.queues.redis.flushdb()

    reconciler.reconcile(studio.services)
    reconciler.reconcile(studio.services)  # the same changes, seen again, are acted on once
    studio.settle()

    child = study.specs()[-1]
    assert any("1 of 2 verdicts says “too small”" in note for note in child.notes)
    assert (str(child.state), study.row().state) == ("review", "reviewing")


def test_task_ids_that_label_studio_reused_block_no_row(studio: Studio, study: Study) -> None:
    before = backgrounds(studio, study)
    with studio.services.database.write() as session:
        # another study read these tasks' namesakes before they were deleted, and was not asked since
        other = StudyRow(name=f"gone {uuid.uuid4().hex[:8]}", labels=["pit"], engine="composite", preview_size=1)
        other.inputs_read = other.inputs_changed = 1
        session.add(other)
        session.flush()
        for row in session.scalars(select(InputRow).where(InputRow.study_id == study.id)):
            row.study_id = other.id
        mark_stale(UnitOfWork(session=session), study.id)
    studio.settle()
    assert backgrounds(studio, study) == before
