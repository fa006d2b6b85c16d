"""The page of a study's notifications: its recipients, and the log of deliveries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from datagen.domain.notification import CHOOSABLE_EVENTS, Channel, NotificationEvent
from datagen.store.keyset_page import keyset_page
from datagen.workflow.notifications.deliveries import LoggedDelivery, log_of
from datagen.workflow.notifications.recipients import MAX_RECIPIENTS, recipients_of
from datagen.workflow.study_pages.access import Visible, visible_study

#: Number of deliveries on a page.
DELIVERIES_A_PAGE = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipientLine:
    """A recipient, without the secret parts of its address."""

    id: int
    person: str
    channel: Channel
    shown: str
    #: the events that it is notified of; empty for all
    events: tuple[NotificationEvent, ...]
    added_by: str
    added_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationsView:
    """The page of a study's notifications."""

    id: int
    study: str
    recipients: tuple[RecipientLine, ...]
    #: largest number of recipients
    most: int
    #: the events that can be chosen
    events: tuple[NotificationEvent, ...]
    #: the newest first
    deliveries: tuple[LoggedDelivery, ...]
    #: the id from which the next page goes on; None on the last page
    next_before: int | None


def notifications_of(
    session: Session, study_id: int, project_ids: Visible, before: int | None = None
) -> NotificationsView:
    """Return the page of a study's notifications.

    Args:
        session: the session.
        study_id: the study.
        project_ids: what the person may see.
        before: the id of the last delivery of the page before; None for the first page.

    Raises:
        Refused: there is no such study, or the person may not see it.
    """
    study = visible_study(session, study_id, project_ids)
    deliveries = log_of(session, study.id, DELIVERIES_A_PAGE + 1, before)
    shown, next_before = keyset_page(deliveries, DELIVERIES_A_PAGE, lambda delivery: delivery.id)
    return NotificationsView(
        id=study.id,
        study=study.name,
        recipients=tuple(
            RecipientLine(
                id=row.id,
                person=row.person,
                channel=row.channel,
                shown=row.shown,
                events=() if len(row.events) == len(CHOOSABLE_EVENTS) else tuple(map(NotificationEvent, row.events)),
                added_by=row.added_by,
                added_at=row.added_at,
            )
            for row in recipients_of(session, study.id)
        ),
        most=MAX_RECIPIENTS,
        events=CHOOSABLE_EVENTS,
        deliveries=tuple(shown),
        next_before=next_before,
    )
