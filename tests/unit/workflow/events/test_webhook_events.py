"""Webhook events: what each means by its project, and that none is lost in an outage."""

from __future__ import annotations

import json
import uuid

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.errors import Refused
from datagen.label_studio.api.in_memory_server import Delivery
from datagen.queue.jobs import EVENTS
from datagen.store import leases
from datagen.store.tables.base import BatchKind, now
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.events import reconciler, webhook_events
from datagen.workflow.inputs.input_requests import request_reading
from datagen.workflow.inputs.input_sync import collect
from datagen.workflow.services import UnitOfWork
from fake_studio import ENGINE, FakeStudio
from studio import Study, asked, choice, verdict_result


def due(studio: FakeStudio, event: InboxRow) -> None:
    with studio.services.database.write() as session:
        session.get_one(InboxRow, event.id).due_at = now()


def again(studio: FakeStudio, event: InboxRow) -> InboxRow:
    with studio.rows() as session:
        return session.get_one(InboxRow, event.id)


def backgrounds(studio: FakeStudio, study: Study) -> int:
    with studio.rows() as session:
        return len(collect(session, study.row()).backgrounds)


def start_training(studio: FakeStudio, study: Study) -> InboxRow:
    """Choose “Start Training” in the menu of the study's Previews project; return the event that waits."""
    studio.start_training(study.projects[ProjectKind.PREVIEWS])
    [event] = [
        event
        for event in study.events(ProjectKind.PREVIEWS)
        if event.action == "START_TRAINING" and event.handled_at is None
    ]
    return event


def test_answer_change_and_deletion_in_an_input_project_are_followed(studio: FakeStudio, study: Study) -> None:
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


def test_event_during_an_outage_is_retried_until_label_studio_answers(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"))
    [event] = [event for event in study.events(ProjectKind.PREVIEWS) if str(event.state) == "pending"]
    studio.client.switch_off()
    for attempt in range(1, webhook_events.MAX_ATTEMPTS + 3):
        due(studio, event)
        webhook_events.handle(studio.services, event.id)
        row = again(studio, event)
        assert (str(row.state), row.attempts) == ("pending", attempt)
        assert "cannot be reached" in row.error
        assert row.due_at > now()
    studio.client.switch_on()
    due(studio, event)
    studio.settle()
    assert [str(row.opinion) for row in study.verdicts()] == ["good"]


def test_refused_event_is_given_up_with_the_reason(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("good"))
    [event] = [event for event in study.events(ProjectKind.PREVIEWS) if str(event.state) == "pending"]
    studio.client.revoke_token()
    for _ in range(webhook_events.MAX_ATTEMPTS):
        due(studio, event)
        webhook_events.handle(studio.services, event.id)
    row = again(studio, event)
    assert str(row.state) == "failed"
    assert "does not know the token" in row.error


def test_event_of_a_deleted_task_is_done(studio: FakeStudio, study: Study) -> None:
    decision = study.decision_tasks()[-1]
    studio.client.annotate(decision.id, asked("build preview"))
    [event] = [event for event in study.events(ProjectKind.DECISIONS) if str(event.state) == "pending"]
    studio.client.delete_tasks(study.projects[ProjectKind.DECISIONS], [decision.id])
    studio.work(EVENTS)
    assert str(again(studio, event).state) == "done"
    assert study.row().state == "reviewing"
    studio.settle()


def test_worker_that_lost_its_lease_builds_no_second_preview(studio: FakeStudio, study: Study) -> None:
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


def test_start_training_that_the_engine_refuses_is_shown_on_the_decision_task(studio: FakeStudio, study: Study) -> None:
    event = start_training(studio, study)
    study.use_engine("no-such-engine")
    studio.settle()
    study.use_engine(ENGINE)
    row = again(studio, event)
    assert (str(row.state), row.attempts) == ("done", 1)
    assert "Not done" in study.page()
    assert "no-such-engine" in study.page()


def test_events_of_published_tasks_start_nothing(studio: FakeStudio, study: Study) -> None:
    reported = [event for event in study.events(ProjectKind.PREVIEWS) if event.action == "TASKS_CREATED"]
    assert reported
    state = (len(study.batches()), len(study.audit()), study.row().inputs_changed)
    for event in reported:
        studio.replay(event)
    assert (len(study.batches()), len(study.audit()), study.row().inputs_changed) == state


def test_event_of_a_foreign_project_is_ignored(studio: FakeStudio) -> None:
    studio.post_webhook(b'{"action": "ANNOTATION_CREATED", "project": {"id": 1099511627776}, "annotation": {"id": 1}}')
    studio.settle()
    with studio.rows() as session:
        assert str(session.scalars(select(InboxRow).order_by(InboxRow.id.desc()).limit(1)).one().state) == "done"


def test_reconciler_acts_once_on_events_that_were_lost(studio: FakeStudio, study: Study) -> None:
    study.judge(verdict_result("bad", "too small"), verdict_result("good"))
    studio.client.annotate(study.decision_tasks()[-1].id, asked("refine"))
    studio.lose_events()

    reconciler.reconcile(studio.services)
    reconciler.reconcile(studio.services)  # the same changes, seen again, are acted on once
    studio.settle()

    child = study.specs()[-1]
    assert any("1 of 2 verdicts says “too small”" in note for note in child.notes)
    assert (str(child.state), study.row().state) == ("review", "reviewing")


def test_reused_task_ids_of_another_study_are_taken_over(studio: FakeStudio, study: Study) -> None:
    before = backgrounds(studio, study)
    with studio.services.database.write() as session:
        # another study read these tasks' namesakes before they were deleted, and was not asked since
        other = StudyRow(name=f"gone {uuid.uuid4().hex[:8]}", labels=["pit"], engine="composite", preview_size=1)
        other.inputs_read = other.inputs_changed = 1
        session.add(other)
        session.flush()
        for row in session.scalars(select(InputRow).where(InputRow.study_id == study.id)):
            row.study_id = other.id
        request_reading(UnitOfWork(session=session), session.get_one(StudyRow, study.id))
    studio.settle()
    assert backgrounds(studio, study) == before


def test_webhook_that_arrives_twice_is_stored_once(studio: FakeStudio, study: Study) -> None:
    bodies: list[bytes] = []
    receive = studio.receive

    def receive_twice(delivery: Delivery) -> None:
        bodies.append(json.dumps(delivery.body).encode())
        receive(delivery)
        receive(delivery)

    studio.client.deliver = receive_twice
    before = len(study.events(ProjectKind.PREVIEWS))
    study.judge(verdict_result("good"))
    studio.settle()
    # the creation, and the update of the task's columns, which sends no event
    assert len(study.events(ProjectKind.PREVIEWS)) == before + 1
    assert len(study.verdicts()) == 1
    studio.post_webhook(bodies[0], secret=studio.secret_of(study.id))  # once more, after it was handled
    studio.settle()
    assert len(study.events(ProjectKind.PREVIEWS)) == before + 1


def test_event_with_the_secret_of_another_study_is_refused(studio: FakeStudio, study: Study) -> None:
    other = studio.open_study(inputs=False)
    body = {"action": "ANNOTATION_CREATED", "project": study.projects[ProjectKind.PREVIEWS], "task": {"id": 1}}
    with pytest.raises(Refused, match="the webhook's secret is not that of this project's study"):
        studio.post_webhook(json.dumps(body).encode(), secret=studio.secret_of(other.id))
