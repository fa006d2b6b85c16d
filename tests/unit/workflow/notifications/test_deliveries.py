"""Notifications of a study's events: each recipient gets each once, whatever is killed, refused or removed."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from datagen.domain.decision import Decision
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.notification import NotificationEvent
from datagen.errors import DeliveryFailed, DeliveryRefused, EngineError, Refused
from datagen.queue.jobs import ALL_QUEUES, NOTIFICATIONS
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.notifications import DeliveryAttemptRow, DeliveryRow, EndpointRow, RecipientRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions import batch_end
from datagen.workflow.decisions.submit import DecisionCommand, decide
from datagen.workflow.generation.shard_rendering import FittedEngineCache, RenderJob
from datagen.workflow.notifications import deliveries
from datagen.workflow.notifications.deliveries import KEPT_DAYS, MAX_ATTEMPTS, deliver, log_of, redeliver, send_test
from datagen.workflow.notifications.recipients import add_recipient, remove_recipient
from datagen.workflow.studies.maintenance import delete_study
from fake_studio import FakeStudio
from recorded_channels import HOOK, RecordedChannels, Sent, record_notifications
from studio import Study, verdict_result

#: The queues of all other work.
BUT_NOTIFICATIONS = [queue for queue in ALL_QUEUES if queue != NOTIFICATIONS]


@pytest.fixture
def channels(studio: FakeStudio) -> RecordedChannels:
    return record_notifications(studio)


def subscribe(study: Study, address: str = HOOK, *events: str) -> int:
    return add_recipient(
        study.studio.services, study.id, address, person="ann@example.org", events=events, who="ann"
    ).id


def rows(studio: FakeStudio) -> list[DeliveryRow]:
    with studio.rows() as session:
        return list(session.scalars(select(DeliveryRow).order_by(DeliveryRow.id)))


def events_of(channels: RecordedChannels) -> list[str]:
    return [str(sent.message.event) for sent in channels.sent]


def make_due(studio: FakeStudio) -> None:
    with studio.services.database.write() as session:
        session.execute(update(DeliveryRow).values(due_at=now()))
        session.execute(update(EndpointRow).values(closed_until=now()))


def ready(studio: FakeStudio, study: Study) -> DeliveryRow:
    """Build a round; its delivery waits to be sent."""
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.work(*BUT_NOTIFICATIONS)
    [row] = rows(studio)
    return row


def test_round_and_run_are_notified_once_when_they_end(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    study.act(StudyEvent.BUILD_PREVIEW)
    assert channels.sent == [], "nothing happened yet"
    studio.settle()
    study.act(StudyEvent.APPROVE, count=3, name="bulk")
    studio.settle()
    studio.pass_time()
    studio.settle()
    assert events_of(channels) == ["round.ready", "run.done"]
    round_ready, run_done = (sent.message for sent in channels.sent)
    assert round_ready.title == f"\u2068{study.name}\u2069: preview round 2 is ready for review"
    assert run_done.data == {
        "study": {"id": study.id, "name": study.name},
        "batch": {"kind": "run", "number": 1, "name": "bulk", "images": 3},
        "version": 2,
        "reason": "",
        "by": "",
        "page": f"http://datagen.test/studio/studies/{study.id}/run/1",
    }
    assert run_done.data["page"] in run_done.text


def test_each_recipient_gets_the_events_that_it_chose(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study, "bo@example.org", "run.failed", "run.done")
    subscribe(study, HOOK, "round.ready")
    study.decide("build preview")
    study.decide("approve", count=3)
    assert [(sent.address, str(sent.message.event)) for sent in channels.sent] == [
        (HOOK, "round.ready"),
        ("bo@example.org", "run.done"),
    ]


def test_failure_is_notified_with_its_reason(
    studio: FakeStudio, study: Study, channels: RecordedChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(study)

    def break_down(*_args: object) -> None:
        raise EngineError("the plates are too dark")

    monkeypatch.setattr(RenderJob, "work", break_down)
    study.decide("build preview")
    study.decide("approve", count=3)
    assert events_of(channels) == ["round.failed", "run.failed"]
    for sent in channels.sent:
        assert sent.message.data["reason"] == "the plates are too dark"
        assert "The plates are too dark." in sent.message.text


def test_pause_is_notified_with_its_alarm(studio: FakeStudio, study: Study, channels: RecordedChannels) -> None:
    subscribe(study)
    study.act(StudyEvent.APPROVE, count=3)
    with studio.services.unit() as unit:
        unit.lock_study(study.id)
        run = unit.session.scalars(select(BatchRow).where(BatchRow.kind == BatchKind.RUN)).one()
        batch_end.pause(unit, run, "paused", "3 of 3 spot checks are bad.")
        batch_end.pause(unit, run, "paused", "again")
    studio.settle()
    assert events_of(channels) == ["run.paused"]
    assert "3 of 3 spot checks are bad. Choose “go on” or “cancel”" in channels.sent[0].message.text


def test_pause_by_a_person_is_notified_to_others_and_to_programs(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    for person in ("ann@example.org", "bo@example.org"):
        add_recipient(studio.services, study.id, person, person=person, who="ann")
    subscribe(study, HOOK)
    study.act(StudyEvent.APPROVE, count=3)
    decision = Decision(action=StudyEvent.PAUSE, note="the GPU is needed")
    decide(studio.services, DecisionCommand(study_id=study.id, decision=decision, who="ann@example.org"))
    studio.settle()
    assert [(sent.address, str(sent.message.event)) for sent in channels.sent] == [
        ("bo@example.org", "run.paused"),
        (HOOK, "run.paused"),
    ]
    told = channels.sent[0].message
    assert told.title == f"\u2068{study.name}\u2069: run 1 is paused by \u2068ann@example.org\u2069"
    assert "spot checks" not in told.text
    assert channels.sent[1].message.data["by"] == "ann@example.org"


def test_event_that_is_rolled_back_is_not_notified(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    study.act(StudyEvent.APPROVE, count=3)

    def pause_and_fail() -> None:
        with studio.services.unit() as unit:
            unit.lock_study(study.id)
            run = unit.session.scalars(select(BatchRow).where(BatchRow.kind == BatchKind.RUN)).one()
            batch_end.pause(unit, run, "paused")
            raise RuntimeError("the transaction fails")

    with pytest.raises(RuntimeError):
        pause_and_fail()
    assert rows(studio) == []
    studio.settle()
    assert events_of(channels) == ["run.done"]


def test_a_worker_killed_before_sending_leaves_one_delivery(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    row = ready(studio, study)

    def die(_sent: Sent) -> str:
        channels.sent.clear()  # the request did not leave the machine
        raise SystemExit

    channels.answer = die
    with pytest.raises(SystemExit):
        deliver(studio.services, row.id)
    channels.answer = lambda _sent: "answered with 204"
    deliver(studio.services, row.id)
    assert channels.sent == [], "the lease of the dead worker still holds"
    make_due(studio)  # its lease ends
    studio.settle()
    deliver(studio.services, row.id)
    assert [sent.message.id for sent in channels.sent] == [row.message_id]


def test_a_worker_killed_after_sending_repeats_it_with_the_same_id_and_bytes(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    row = ready(studio, study)

    def die(_sent: Sent) -> str:
        raise SystemExit

    channels.answer = die
    with pytest.raises(SystemExit):
        deliver(studio.services, row.id)
    channels.answer = lambda _sent: "answered with 204"
    make_due(studio)
    studio.settle()
    first, second = (sent.message for sent in channels.sent)
    assert first == second
    assert (first.id, rows(studio)[0].state) == (row.message_id, WorkState.DONE)


def test_worker_that_lost_its_lease_while_it_sent_writes_nothing(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    row = ready(studio, study)

    def overtaken(_sent: Sent) -> str:
        channels.answer = lambda _sent: "answered with 204"
        make_due(studio)
        deliver(studio.services, row.id)  # another worker
        raise DeliveryFailed("this one saw no answer")

    channels.answer = overtaken
    deliver(studio.services, row.id)
    [after] = rows(studio)
    assert (after.state, after.error) == (WorkState.DONE, "")
    studio.pass_time()
    studio.settle()
    assert len(channels.sent) == 2, "an accepted delivery is not sent again"


def test_refused_delivery_is_repeated_with_growing_waits_and_given_up(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    row = ready(studio, study)

    def refuse(_sent: Sent) -> str:
        raise DeliveryFailed("the receiver answered with 500")

    channels.answer = refuse
    waits: list[timedelta] = []
    while rows(studio)[0].state == WorkState.PENDING:
        make_due(studio)
        began = now()
        deliver(studio.services, row.id)
        waits.append(rows(studio)[0].due_at - began)
    assert len(channels.sent) == MAX_ATTEMPTS
    assert timedelta(seconds=1) < waits[0] < timedelta(seconds=3)
    assert timedelta(minutes=30) < waits[-2] < timedelta(minutes=61)
    assert len({sent.message.id for sent in channels.sent}) == 1
    with studio.rows() as session:
        [logged] = log_of(session, study.id, 10)
    assert (logged.state, logged.attempts, logged.next_at) == (WorkState.FAILED, MAX_ATTEMPTS, None)
    assert {attempt.outcome for attempt in logged.latest} == {"the receiver answered with 500"}


def test_receiver_that_wants_no_more_is_not_asked_again(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)

    def gone(_sent: Sent) -> str:
        raise DeliveryRefused("the receiver answered with 410")

    channels.answer = gone
    row = ready(studio, study)
    deliver(studio.services, row.id)
    assert rows(studio)[0].state == WorkState.FAILED


def test_redelivery_sends_the_same_message_again(studio: FakeStudio, study: Study, channels: RecordedChannels) -> None:
    subscribe(study)
    row = ready(studio, study)
    studio.settle()
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).name = "renamed meanwhile"
    redeliver(studio.services, row.id, who="ann")
    studio.settle()
    first, second = (sent.message for sent in channels.sent)
    assert first == second
    with studio.rows() as session:
        [logged] = log_of(session, study.id, 10)
    assert (logged.attempts, [attempt.accepted for attempt in logged.latest]) == (2, [True, True])


def test_redelivery_of_what_is_not_there_is_refused(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    recipient_id = subscribe(study)
    row = ready(studio, study)
    studio.settle()
    with pytest.raises(Refused, match="no delivery 99"):
        redeliver(studio.services, 99, who="ann")
    with pytest.raises(Refused, match="no delivery"):
        redeliver(studio.services, row.id, who="ann", study_id=study.id + 1)
    remove_recipient(studio.services, study.id, recipient_id, who="ann")
    with pytest.raises(Refused, match="its recipient was removed"):
        redeliver(studio.services, row.id, who="ann")
    assert len(channels.sent) == 1


def test_recipient_removed_meanwhile_gets_nothing_and_its_secrets_are_deleted(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    recipient_id = subscribe(study)
    subscribe(study, "bo@example.org")
    study.act(StudyEvent.BUILD_PREVIEW)
    studio.work(*BUT_NOTIFICATIONS)
    remove_recipient(studio.services, study.id, recipient_id, who="ann")
    studio.settle()
    assert [sent.address for sent in channels.sent] == ["bo@example.org"]
    with studio.rows() as session:
        removed = session.get_one(RecipientRow, recipient_id)
        assert (removed.address, removed.secret, removed.shown) == ("", "", "https://hooks.example.org/…")
    assert [row.state for row in rows(studio)] == [WorkState.CANCELLED, WorkState.DONE]


def test_delivery_added_while_its_recipient_is_removed_is_cancelled(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    recipient_id = subscribe(study)
    row = ready(studio, study)
    with studio.services.database.write() as session:
        session.get_one(RecipientRow, recipient_id).removed_at = now()
    deliver(studio.services, row.id)
    assert channels.sent == []
    assert rows(studio)[0].state == WorkState.CANCELLED


def test_delivery_does_not_wait_for_label_studio(studio: FakeStudio, study: Study, channels: RecordedChannels) -> None:
    subscribe(study)
    ready(studio, study)
    studio.client.switch_off()
    studio.work()
    assert events_of(channels) == ["round.ready"]


def test_test_is_one_attempt_and_its_outcome_is_in_the_log(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    recipient_id = subscribe(study, HOOK, "run.done")

    def refuse(_sent: Sent) -> str:
        raise DeliveryFailed("the receiver answered with 500")

    channels.answer = refuse
    delivery_id = send_test(studio.services, study.id, recipient_id, who="ann")
    with pytest.raises(Refused, match="is under way"):
        send_test(studio.services, study.id, recipient_id, who="ann")
    studio.settle()
    with studio.rows() as session:
        [logged] = log_of(session, study.id, 10)
    assert (logged.id, logged.state, logged.attempts) == (delivery_id, WorkState.FAILED, 1)
    assert logged.latest[0].outcome == "the receiver answered with 500"
    assert channels.sent[0].message.event is NotificationEvent.TEST
    assert "asked for by \u2068ann\u2069" in channels.sent[0].message.text


def test_tests_and_redeliveries_of_a_recipient_are_bounded(
    studio: FakeStudio, study: Study, channels: RecordedChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MAX_ATTEMPTS_AN_HOUR", 2)
    recipient_id = subscribe(study)
    delivery_id = send_test(studio.services, study.id, recipient_id, who="ann")
    studio.settle()
    redeliver(studio.services, delivery_id, who="ann")
    studio.settle()
    with pytest.raises(Refused, match="was sent 2 notifications within an hour"):
        redeliver(studio.services, delivery_id, who="ann")
    with pytest.raises(Refused, match="within an hour"):
        send_test(studio.services, study.id, recipient_id, who="ann")
    with studio.services.database.write() as session:
        session.execute(update(DeliveryAttemptRow).values(at=now() - timedelta(hours=2)))
    send_test(studio.services, study.id, recipient_id, who="ann")
    study.decide("build preview")
    assert events_of(channels) == ["test", "test", "test", "round.ready"]


def test_a_recipient_that_is_removed_and_added_again_is_not_sent_more(
    studio: FakeStudio, study: Study, channels: RecordedChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "MAX_ATTEMPTS_AN_HOUR", 2)
    for _ in range(2):
        recipient_id = subscribe(study)
        send_test(studio.services, study.id, recipient_id, who="ann")
        studio.settle()
        remove_recipient(studio.services, study.id, recipient_id, who="ann")
    again, other = subscribe(study), subscribe(study, "https://elsewhere.example.org/hook")
    with pytest.raises(Refused, match="within an hour"):
        send_test(studio.services, study.id, again, who="ann")
    send_test(studio.services, study.id, other, who="ann")
    studio.settle()
    assert events_of(channels) == ["test"] * 3


def test_names_of_any_letters_are_sent_as_one_line_that_keeps_its_direction(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    name = "خدش 🦠👩\u200d🔬\u202e" + "🙂" * 50 + "\nBcc: eve@example.org"
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).name = name
    subscribe(study)
    ready(studio, study)
    studio.settle()
    message = channels.sent[0].message
    assert "\n" not in message.title
    assert message.title.startswith("\u2068خدش 🦠👩\u200d🔬🙂")
    assert message.title.count("\u2068") == message.title.count("\u2069") == 1
    assert "\u202e" not in message.title + message.text
    assert json.loads(json.dumps(message.data))["study"]["name"] == name


def test_old_deliveries_are_deleted_and_others_kept(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    old = ready(studio, study)
    studio.settle()
    assert deliveries.prune(studio.services.database) == 0
    with studio.services.database.write() as session:
        session.get_one(DeliveryRow, old.id).due_at = now() - timedelta(days=KEPT_DAYS + 1)
    assert deliveries.prune(studio.services.database) == 1
    with studio.rows() as session:
        assert session.scalar(select(func.count()).select_from(DeliveryAttemptRow)) == 0


def test_delivery_that_is_sent_again_while_old_ones_are_deleted_is_kept(
    studio: FakeStudio, study: Study, channels: RecordedChannels, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscribe(study)
    old = ready(studio, study)
    studio.settle()
    database = studio.services.database
    with database.write() as session:
        session.get_one(DeliveryRow, old.id).due_at = now() - timedelta(days=KEPT_DAYS + 1)
    write = database.write

    def write_late() -> AbstractContextManager[Session]:
        monkeypatch.undo()
        redeliver(studio.services, old.id, who="ann")
        return write()

    monkeypatch.setattr(database, "write", write_late)
    assert deliveries.prune(database) == 0
    studio.settle()
    assert events_of(channels) == ["round.ready", "round.ready"]


def test_deleted_study_takes_its_notifications_along(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    subscribe(study)
    ready(studio, study)
    studio.settle()
    delete_study(studio.services, study.name, "ann", with_projects=False)
    with studio.rows() as session:
        for table in (RecipientRow, DeliveryRow, DeliveryAttemptRow):
            assert session.scalar(select(func.count()).select_from(table)) == 0


def test_alarm_of_a_rendered_run_is_notified_once(studio: FakeStudio, study: Study, channels: RecordedChannels) -> None:
    subscribe(study, HOOK, "run.alarm", "run.paused")
    studio.services = replace(studio.services, spot_checks=2)
    studio.fitted_engines = FittedEngineCache(studio.services)
    study.act(StudyEvent.APPROVE, count=6)
    with studio.services.database.write() as session:
        run = session.scalars(select(BatchRow).where(BatchRow.kind == BatchKind.RUN)).one()
        run.promise = {"lower": 0.9, "sentence": "At least 90 % acceptable."}
    studio.settle()
    checks = [task for task in study.tasks(ProjectKind.PREVIEWS) if str(task.data["batch"]).startswith("spot-")]
    for task in checks:
        studio.client.annotate(task.id, verdict_result("bad"))
    studio.settle()
    assert events_of(channels) == ["run.alarm"]
    assert "spot checks are bad: at most" in channels.sent[0].message.text
