"""Deliveries of an event: one row for each recipient, written in the transaction of the event.

So a delivery exists exactly if the transaction of its event was committed.
"""

from __future__ import annotations

import secrets

from datagen.domain.notification import Channel, Facts, NotificationEvent
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SpecRow
from datagen.store.tables.notifications import DeliveryRow, RecipientRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.notifications.recipients import recipients_of
from datagen.workflow.services import JobKind, UnitOfWork


def notify(
    unit: UnitOfWork, study: StudyRow, event: NotificationEvent, batch: BatchRow, reason: str = "", by: str = ""
) -> None:
    """Add a delivery of an event to every recipient of the study that is to be notified of it.

    A person is not notified of an own action; a webhook is, because a program receives it.

    Args:
        unit: the transaction in which the event happens.
        study: the study.
        event: the event.
        batch: the round, audit or run that the event is about.
        reason: why it failed, or the alarm, as a sentence.
        by: the person whose action it is; empty if it is nobody's.
    """
    recipients = [
        row
        for row in recipients_of(unit.session, study.id)
        if event in row.events and (row.channel is Channel.WEBHOOK or not by or row.person != by)
    ]
    if not recipients:
        return
    facts = Facts(
        study_id=study.id,
        study=study.name,
        kind=str(batch.kind),
        number=batch.number,
        name=batch.name if batch.kind is BatchKind.RUN else "",
        version=unit.session.get_one(SpecRow, batch.spec_id).version,
        images=batch.count,
        reason=reason,
        by=by,
    )
    for recipient in recipients:
        add_delivery(unit, recipient, event, facts)


def add_delivery(unit: UnitOfWork, recipient: RecipientRow, event: NotificationEvent, facts: Facts) -> DeliveryRow:
    """Add a delivery to one recipient, and enqueue its job after the commit."""
    row = DeliveryRow(
        study_id=recipient.study_id,
        recipient_id=recipient.id,
        message_id=f"msg_{secrets.token_hex(16)}",
        event=event,
        facts=facts.to_json(),
    )
    unit.session.add(row)
    unit.session.flush()
    unit.enqueue_after_commit(JobKind.NOTIFICATION, row.id)
    return row
