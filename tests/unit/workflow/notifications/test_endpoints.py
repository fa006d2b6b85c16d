"""Endpoints that failed are left alone, whatever number of deliveries waits; the others are not affected."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from datagen.domain.notification import Facts, NotificationEvent
from datagen.errors import DeliveryFailed, ReceiverSilent
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.notifications import DeliveryRow, EndpointRow, RecipientRow
from datagen.workflow.notifications import deliveries, endpoints
from datagen.workflow.notifications.deliveries import deliver, redeliver, send_test
from datagen.workflow.notifications.events import add_delivery
from datagen.workflow.notifications.recipients import add_recipient
from fake_studio import FakeStudio
from recorded_channels import RecordedChannels, Sent, record_notifications
from studio import Study

DEAD, ALIVE = "https://dead.example.org", "https://alive.example.org/x"


@pytest.fixture
def channels(studio: FakeStudio) -> RecordedChannels:
    """Channels on which nothing answers at hosts whose names begin with “dead”."""
    channels = record_notifications(studio)

    def answer(sent: Sent) -> str:
        if "//dead" in sent.address:
            raise ReceiverSilent("the receiver did not answer within 10 s")
        if "refuses" in sent.address:
            raise DeliveryFailed("the receiver answered with 500")
        return "answered with 204"

    channels.answer = answer
    return channels


@pytest.fixture(autouse=True)
def _no_wait_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "wait_after", lambda _failures, longest: longest)


def subscribe(study: Study, address: str) -> int:
    return add_recipient(
        study.studio.services, study.id, address, person="ann@example.org", events=["run.done"], who="ann"
    ).id


def notify(studio: FakeStudio, study: Study, recipient_id: int, number: int = 1) -> list[int]:
    """Add deliveries to a recipient, and return their ids."""
    with studio.services.unit() as unit:
        recipient = unit.session.get_one(RecipientRow, recipient_id)
        facts = Facts(study_id=study.id, study=study.name)
        return [add_delivery(unit, recipient, NotificationEvent.RUN_DONE, facts).id for _ in range(number)]


def row_of(studio: FakeStudio, delivery_id: int) -> DeliveryRow:
    with studio.rows() as session:
        return session.get_one(DeliveryRow, delivery_id)


def make_due(studio: FakeStudio, *, endpoints_too: bool = False) -> None:
    with studio.services.database.write() as session:
        session.execute(update(DeliveryRow).where(DeliveryRow.state == WorkState.PENDING).values(due_at=now()))
        if endpoints_too:
            session.execute(update(EndpointRow).values(closed_until=now()))


def deliver_all(studio: FakeStudio) -> None:
    """Run the job of every delivery that is due, as recovery would enqueue them."""
    make_due(studio)
    with studio.rows() as session:
        waiting = session.scalars(select(DeliveryRow.id).where(DeliveryRow.state == WorkState.PENDING)).all()
    for delivery_id in waiting:
        deliver(studio.services, delivery_id)


def test_of_many_deliveries_to_a_dead_endpoint_one_is_tried_and_the_others_wait(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    first, second = subscribe(study, f"{DEAD}/a"), subscribe(study, f"{DEAD}/b")
    waiting = [*notify(studio, study, first, 25), *notify(studio, study, second, 25)]
    for _ in range(3):
        deliver_all(studio)
    assert len(channels.sent) == 1
    states = [row_of(studio, delivery_id) for delivery_id in waiting]
    assert {row.state for row in states} == {WorkState.PENDING}
    assert sum(row.attempts for row in states) == 1, "those that were put off have no attempt"
    make_due(studio, endpoints_too=True)
    deliver_all(studio)
    assert len(channels.sent) == 2, "one again after the wait"


def test_endpoints_that_did_not_answer_take_turns(studio: FakeStudio, study: Study, channels: RecordedChannels) -> None:
    dead = [subscribe(study, f"https://dead{number}.example.org/") for number in range(10)]
    for recipient_id in dead:
        notify(studio, study, recipient_id)
    deliver_all(studio)
    assert len(channels.sent) == 10, "none had failed before"
    make_due(studio, endpoints_too=True)
    deliver_all(studio)
    deliver_all(studio)
    assert len(channels.sent) == 11
    with studio.rows() as session:
        turn = session.get_one(EndpointRow, "turn")
    assert turn.closed_until > now() + timedelta(seconds=endpoints.TURN_SECONDS - 30)


def test_endpoints_that_answer_with_a_fault_take_no_turns(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    """Such an attempt takes no time limit, so that nothing has to wait for it."""
    for number in range(3):
        notify(studio, study, subscribe(study, f"https://alive{number}.example.org/refuses"))
    deliver_all(studio)
    make_due(studio, endpoints_too=True)
    deliver_all(studio)
    assert len(channels.sent) == 6
    with studio.rows() as session:
        assert session.get(EndpointRow, "turn") is None


def test_other_endpoints_are_not_affected(studio: FakeStudio, study: Study, channels: RecordedChannels) -> None:
    notify(studio, study, subscribe(study, f"{DEAD}/a"))
    refused = notify(studio, study, subscribe(study, "https://alive.example.org/refuses"))[0]
    deliver_all(studio)
    sent = len(channels.sent)
    [delivered] = notify(studio, study, subscribe(study, ALIVE))
    deliver(studio.services, delivered)
    assert row_of(studio, delivered).state == WorkState.DONE, "its server answered another address with 500"
    assert row_of(studio, refused).state == WorkState.PENDING
    assert len(channels.sent) == sent + 1


def test_an_endpoint_that_answers_again_gets_all_that_waits(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    waiting = notify(studio, study, subscribe(study, f"{DEAD}/a"), 5)
    deliver_all(studio)
    channels.answer = lambda _sent: "answered with 204"
    make_due(studio, endpoints_too=True)
    deliver_all(studio)
    assert {row_of(studio, delivery_id).state for delivery_id in waiting} == {WorkState.DONE}
    with studio.rows() as session:
        assert session.scalars(select(EndpointRow.key)).all() == ["turn"]


def test_a_delivery_that_was_never_tried_is_given_up_in_the_end(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    tried, put_off = notify(studio, study, subscribe(study, f"{DEAD}/a"), 2)
    deliver_all(studio)
    with studio.services.database.write() as session:
        session.get_one(DeliveryRow, put_off).waiting_since = now() - deliveries.PATIENCE
    make_due(studio)
    deliver(studio.services, put_off)
    row = row_of(studio, put_off)
    assert (row.state, len(channels.sent)) == (WorkState.FAILED, 1)
    assert row.error.startswith("given up after 12 hours: the receiver did not accept earlier notifications")
    assert row_of(studio, tried).state == WorkState.PENDING


def test_a_person_may_try_an_endpoint_before_its_wait_is_over(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    recipient_id = subscribe(study, f"{DEAD}/a")
    [delivery_id] = notify(studio, study, recipient_id)
    deliver_all(studio)
    channels.answer = lambda _sent: "answered with 204"
    redeliver(studio.services, delivery_id, who="ann")
    deliver(studio.services, delivery_id)
    assert row_of(studio, delivery_id).state == WorkState.DONE
    test_id = send_test(studio.services, study.id, recipient_id, who="ann")
    deliver(studio.services, test_id)
    assert row_of(studio, test_id).state == WorkState.DONE


def test_endpoints_that_failed_long_ago_are_forgotten(
    studio: FakeStudio, study: Study, channels: RecordedChannels
) -> None:
    notify(studio, study, subscribe(study, f"{DEAD}/a"))
    deliver_all(studio)
    with studio.services.database.write() as session:
        first = session.scalars(select(EndpointRow)).first()
        assert first is not None
        first.closed_until = now() - timedelta(hours=25)
        forgotten = first.key
    deliveries.prune(studio.services.database)
    with studio.rows() as session:
        left = session.scalars(select(EndpointRow.key)).all()
    assert len(left) == 1
    assert forgotten not in left
