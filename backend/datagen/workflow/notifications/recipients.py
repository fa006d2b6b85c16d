"""The recipients of a study's notifications: adding, listing and removing them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from datagen.channels.channels import Address
from datagen.channels.webhooks import new_secret
from datagen.domain.foreign_text import is_showable, plain
from datagen.domain.notification import CHOOSABLE_EVENTS, Channel, NotificationEvent
from datagen.errors import Refused
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.notifications import DeliveryAttemptRow, DeliveryRow, RecipientRow
from datagen.workflow.services import Services

#: Largest number of recipients of a study.
MAX_RECIPIENTS = 50
#: Longest name of a person, characters.
LONGEST_PERSON = 200


def add_recipient(
    services: Services, study_id: int, address: str, *, person: str, events: Sequence[str] = (), who: str
) -> RecipientRow:
    """Add a recipient and return it. Its ``secret`` is to be shown to the person who added it, and not again.

    Args:
        services: the services.
        study_id: the study.
        address: the address, as a person gave it.
        person: who is notified.
        events: the events to be notified of; none for all.
        who: who adds it, for the audit log.

    Raises:
        Refused: the address, the person or an event cannot be used, the recipient exists, or there are too many.
    """
    checked = services.channels.address_of(plain(address))
    name = _person(person)
    chosen = _events(events)
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        present = recipients_of(unit.session, study_id)
        if any((row.channel, row.address) == (checked.channel, checked.value) for row in present):
            raise Refused(f"{checked.shown} is a recipient already; remove it first to change its events")
        if len(present) >= MAX_RECIPIENTS:
            raise Refused(f"the study has {MAX_RECIPIENTS} recipients, and no more are possible; remove one first")
        row = _row(study_id, checked, name, chosen, who)
        unit.session.add(row)
        unit.session.flush()
        unit.note(study, who, f"notifications: added recipient {row.id} ({checked.channel} {checked.shown}) for {name}")
    return row


def recipients_of(session: Session, study_id: int) -> list[RecipientRow]:
    """Return the recipients of a study, the oldest first."""
    query = select(RecipientRow).where(RecipientRow.study_id == study_id, RecipientRow.removed_at.is_(None))
    return list(session.scalars(query.order_by(RecipientRow.id)))


def get_recipient(session: Session, study_id: int, recipient_id: int) -> RecipientRow:
    """Return a recipient.

    Raises:
        Refused: the study has no such recipient (any more).
    """
    row = session.get(RecipientRow, recipient_id)
    if row is None or row.study_id != study_id or row.removed_at is not None:
        raise Refused(f"the study has no recipient {recipient_id}; it may have been removed")
    return row


def remove_recipient(services: Services, study_id: int, recipient_id: int, *, who: str) -> str:
    """Remove a recipient, and return its address as people see it. Its pending notifications are cancelled.

    Its address and its secret are deleted; the log of its deliveries is kept.

    Raises:
        Refused: the study has no such recipient (any more).
    """
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        row = get_recipient(unit.session, study_id, recipient_id)
        row.removed_at, row.address, row.secret = now(), "", ""
        waiting = (DeliveryRow.recipient_id == row.id, DeliveryRow.state.in_((WorkState.PENDING, WorkState.RUNNING)))
        unit.session.execute(update(DeliveryRow).where(*waiting).values(state=WorkState.CANCELLED, token=None))
        unit.note(study, who, f"notifications: removed recipient {row.id} ({row.channel} {row.shown})")
        return row.shown


def delete_notifications(session: Session, study_id: int) -> None:
    """Delete the recipients of a study that is being deleted, and their deliveries."""
    deliveries = select(DeliveryRow.id).where(DeliveryRow.study_id == study_id)
    for statement in (
        delete(DeliveryAttemptRow).where(DeliveryAttemptRow.delivery_id.in_(deliveries)),
        delete(DeliveryRow).where(DeliveryRow.study_id == study_id),
        delete(RecipientRow).where(RecipientRow.study_id == study_id),
    ):
        session.execute(statement.execution_options(synchronize_session=False))


def _row(study_id: int, address: Address, person: str, events: Sequence[NotificationEvent], who: str) -> RecipientRow:
    return RecipientRow(
        study_id=study_id,
        person=person,
        channel=address.channel,
        address=address.value,
        shown=address.shown[:300],
        secret=new_secret() if address.channel is Channel.WEBHOOK else "",
        events=[str(event) for event in events],
        added_by=plain(who)[:LONGEST_PERSON],
    )


def _person(given: str) -> str:
    name = " ".join("".join(letter for letter in plain(given) if is_showable(letter)).split())
    if not name or len(name) > LONGEST_PERSON:
        raise Refused(f"the name of who is notified has 1 to {LONGEST_PERSON} characters, such as an e-mail address")
    return name


def _events(given: Sequence[str]) -> tuple[NotificationEvent, ...]:
    unknown = [name for name in given if name not in CHOOSABLE_EVENTS]
    if unknown:
        raise Refused(f"there is no event {unknown[0][:50]!r}; there are: {', '.join(CHOOSABLE_EVENTS)}")
    return tuple(event for event in CHOOSABLE_EVENTS if not given or event in given)
