"""A worker killed while it sends a notification: the receiver gets it, and recognises a repetition by its id."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyEvent
from datagen.store.tables.base import WorkState
from datagen.store.tables.notifications import DeliveryRow
from datagen.workflow.notifications.recipients import add_recipient, remove_recipient
from notification_servers import HookServer, hook_server
from plant import Plant
from studio import Study

pytestmark = pytest.mark.integration


@pytest.fixture
def hooks(plant: Plant, reviewed: Study) -> Iterator[HookServer]:
    """A receiver that is notified when a run of the study ends."""
    with hook_server() as server:
        recipient = add_recipient(plant.services, reviewed.id, server.url, person="ann", events=["run.done"], who="ann")
        yield server
        remove_recipient(plant.services, reviewed.id, recipient.id, who="ann")


def newest(plant: Plant) -> DeliveryRow:
    with plant.services.database.read() as session:
        return session.scalars(select(DeliveryRow).order_by(DeliveryRow.id.desc()).limit(1)).one()


def test_notification_arrives_once_by_its_id_and_is_not_sent_after_it_was_accepted(
    plant: Plant, reviewed: Study, hooks: HookServer
) -> None:
    plant.kill("worker-2")

    def kill_once() -> None:
        if len(hooks.hooks) == 1:
            plant.kill("worker-1")

    hooks.before_answer = kill_once
    reviewed.act(StudyEvent.APPROVE, count=3)
    plant.until(lambda: "worker-1" not in plant.running, "The first attempt")
    assert newest(plant).state == WorkState.RUNNING, "it is not known whether it arrived"
    plant.start("worker-1", "worker-2")
    plant.until(lambda: newest(plant).state == WorkState.DONE, "The second attempt")
    plant.until_settled()
    first, second = hooks.hooks
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == newest(plant).message_id
    assert first.body == second.body


def test_receiver_that_fails_for_a_while_gets_the_notification_when_it_is_back(
    plant: Plant, reviewed: Study, hooks: HookServer
) -> None:
    hooks.answers = [500, 503]
    reviewed.act(StudyEvent.APPROVE, count=3)
    plant.until(lambda: newest(plant).state == WorkState.DONE, "The third attempt")
    plant.until_settled()
    assert len(hooks.hooks) == 3
    assert len({hook.headers["webhook-id"] for hook in hooks.hooks}) == 1
