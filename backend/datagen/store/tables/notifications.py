"""Tables of notifications: their recipients, their deliveries, and the attempts to deliver them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datagen.domain.notification import Channel, NotificationEvent
from datagen.store.tables.base import LeasedRow, Row, now


class RecipientRow(Row):
    """One recipient of a study's notifications: a person's address on one channel.

    The row of a removed recipient is kept for the log of deliveries, without its address and its secret.
    """

    __tablename__ = "recipient"
    __table_args__ = (Index("recipient_of_study", "study_id", "removed_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    #: who is notified: an e-mail address or another name of a person or a program
    person: Mapped[str] = mapped_column(String(200))
    channel: Mapped[Channel]
    #: the address, of which parts are secret; empty once the recipient is removed
    address: Mapped[str] = mapped_column(String(1000))
    #: the address without its secret parts, for people
    shown: Mapped[str] = mapped_column(String(300))
    #: of a webhook: the signing secret; else, and once it is removed, empty
    secret: Mapped[str] = mapped_column(String(100), default="")
    #: the events that it is notified of
    events: Mapped[list[str]]
    added_by: Mapped[str] = mapped_column(String(200))
    added_at: Mapped[datetime] = mapped_column(default=now)
    removed_at: Mapped[datetime | None] = mapped_column(default=None)


class DeliveryRow(LeasedRow):
    """One notification to one recipient: the outbox of notifications.

    It is written in the transaction of its event, so it exists once. Its lease lets one worker at a time send it.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("delivery_by_state", "state", "due_at"),
        Index("delivery_of_study", "study_id", "id"),
        Index("delivery_of_recipient", "recipient_id", "state"),
    )

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    recipient_id: Mapped[int] = mapped_column(ForeignKey("recipient.id"))
    #: the id that every attempt has, by which a receiver recognises a repetition
    message_id: Mapped[str] = mapped_column(String(40), unique=True)
    event: Mapped[NotificationEvent]
    #: the event's facts when it happened, as JSON of ``domain.notification.Facts``
    facts: Mapped[dict[str, Any]]
    #: when the event happened
    happened_at: Mapped[datetime] = mapped_column(default=now)
    #: when it was last accepted
    delivered_at: Mapped[datetime | None] = mapped_column(default=None)

    recipient: Mapped[RecipientRow] = relationship()


class DeliveryAttemptRow(Row):
    """One attempt to deliver a notification."""

    __tablename__ = "delivery_attempt"

    id: Mapped[int] = mapped_column(primary_key=True)
    delivery_id: Mapped[int] = mapped_column(ForeignKey("delivery.id"), index=True)
    at: Mapped[datetime] = mapped_column(default=now)
    seconds: Mapped[float]
    #: whether the receiver accepted the notification
    accepted: Mapped[bool]
    #: how the receiver answered, or why there was no answer, as a clause
    outcome: Mapped[str] = mapped_column(String(1000))


class EndpointRow(Row):
    """An address or a server that notifications could not be sent to: nothing is sent there for a while."""

    __tablename__ = "endpoint"

    #: the SHA-256 digest of its address; see ``workflow.notifications.endpoints``
    key: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: number of failed attempts since the last successful one
    failures: Mapped[int]
    #: the earliest time of the next attempt
    closed_until: Mapped[datetime]
