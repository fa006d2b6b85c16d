"""Deliveries of notifications: sending them, the log, redelivery and tests.

A notification is sent at least once: if a worker is killed between the receiver's response and its own commit, the
notification is sent again with the same id. Once a delivery is committed as accepted, it is sent again only if a person
requests it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from sqlalchemy import and_, delete, func, or_, select
from sqlalchemy.orm import Session, joinedload

from datagen.domain.foreign_text import plain
from datagen.domain.notification import Facts, NotificationEvent
from datagen.domain.wording import counted
from datagen.errors import DeliveryFailed, DeliveryRefused, ReceiverSilent, Refused
from datagen.store import leases
from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.notifications import DeliveryAttemptRow, DeliveryRow, RecipientRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.leased_work import LeasedJob, LeaseLost, Write, leased_work
from datagen.workflow.notifications import endpoints
from datagen.workflow.notifications.events import add_delivery
from datagen.workflow.notifications.messages import message_of
from datagen.workflow.notifications.recipients import get_recipient
from datagen.workflow.services import JobKind, Services, UnitOfWork

#: Attempts before a notification is given up, and the longest wait between two, seconds: 6 to 11 hours in all.
MAX_ATTEMPTS, LONGEST_WAIT_SECONDS = 22, 3600.0
#: Time for which a delivery waits for an endpoint that is left alone because others failed there; then it is given up.
PATIENCE = timedelta(hours=12)
#: Days for which ended deliveries are kept, and number of them that one call deletes.
KEPT_DAYS, PRUNED_AT_ONCE = 90, 500
#: Attempts to send to a recipient within an hour after which no test and no redelivery is accepted.
MAX_ATTEMPTS_AN_HOUR = 60
#: Number of attempts of a delivery that the log shows, the newest.
ATTEMPTS_SHOWN = 5


def deliver(services: Services, delivery_id: int) -> None:
    """Send one notification, if it is due and no other worker owns it."""
    leased_work(services, _DeliveryJob(services), delivery_id)


class _DeliveryJob(LeasedJob[DeliveryRow]):
    """The delivery of a notification to its recipient."""

    table = DeliveryRow
    max_failures = MAX_ATTEMPTS
    longest_wait = LONGEST_WAIT_SECONDS
    permanent_faults = (DeliveryRefused,)

    def __init__(self, services: Services) -> None:
        self._services = services
        self._began_at, self._began = now(), time.monotonic()
        self._failure: DeliveryFailed | None = None

    def claim(self, unit: UnitOfWork, row_id: int, seconds: float) -> DeliveryRow | None:
        """Claim the delivery, unless its recipient was removed, or nothing is sent to its endpoint now."""
        row = super().claim(unit, row_id, seconds)
        if row is None:
            return None
        if row.recipient.removed_at is not None:
            row.state, row.token = WorkState.CANCELLED, None
            return None
        is_test = row.event is NotificationEvent.TEST
        until = endpoints.closed_until(unit.session, row.recipient, by_person=is_test)
        if until is None:
            return row
        self._put_off(unit, row, until)
        return None

    def _put_off(self, unit: UnitOfWork, row: DeliveryRow, until: datetime) -> None:
        """Release a claimed delivery whose endpoint is left alone; give it up if it has waited for too long."""
        if row.waiting_since is None or now() - row.waiting_since < PATIENCE:
            leases.put_off(
                row, row.error or "the receiver did not accept earlier notifications, and is tried later", until
            )
            return
        reason = row.error or "the receiver did not accept earlier notifications"
        row.attempts -= 1  # nothing was tried
        leases.give_up(row, f"given up after {PATIENCE.total_seconds() / 3600:.0f} hours: {reason}")
        self._note(unit, row, row.error, accepted=False)

    def work(self, row: DeliveryRow, lost: threading.Event) -> Write[DeliveryRow]:
        """Send the notification, and return a function that writes the attempt."""
        recipient, message = row.recipient, message_of(row, self._services.own_url)
        if lost.is_set():
            raise LeaseLost
        self._began_at, self._began = now(), time.monotonic()
        try:
            outcome = self._services.channels.send(recipient.channel, recipient.address, recipient.secret, message)
        except DeliveryFailed as failure:
            self._failure = failure
            if row.event is NotificationEvent.TEST:  # a person waits for the answer
                raise DeliveryRefused(str(failure)) from failure
            raise
        return partial(self._accepted, outcome)

    def failed(self, unit: UnitOfWork, row: DeliveryRow) -> None:
        """Write the attempt that failed."""
        self._close_endpoint(unit, row)
        self._note(unit, row, row.error, accepted=False)

    def gave_up(self, unit: UnitOfWork, row: DeliveryRow) -> None:
        """Write the last attempt."""
        self._close_endpoint(unit, row)
        self._note(unit, row, row.error, accepted=False)

    def _accepted(self, outcome: str, unit: UnitOfWork, row: DeliveryRow) -> None:
        row.delivered_at = now()
        endpoints.note_success(unit.session, row.recipient)
        self._note(unit, row, outcome, accepted=True)

    def _close_endpoint(self, unit: UnitOfWork, row: DeliveryRow) -> None:
        if self._failure is not None and not isinstance(self._failure, DeliveryRefused):
            answered = not isinstance(self._failure, ReceiverSilent)
            endpoints.note_failure(unit.session, row.recipient, answered=answered)

    def _note(self, unit: UnitOfWork, row: DeliveryRow, outcome: str, *, accepted: bool) -> None:
        seconds = time.monotonic() - self._began
        attempt = DeliveryAttemptRow(
            delivery_id=row.id, at=self._began_at, seconds=seconds, accepted=accepted, outcome=plain(outcome)[:1000]
        )
        unit.session.add(attempt)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAttempt:
    """One attempt, for people."""

    at: datetime
    seconds: float
    accepted: bool
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedDelivery:
    """A delivery with its newest attempts, for people."""

    id: int
    message_id: str
    event: NotificationEvent
    happened_at: datetime
    #: its recipient: the person, and the address without its secret parts
    person: str
    shown: str
    state: WorkState
    attempts: int
    delivered_at: datetime | None
    #: the time of the next attempt; None if there is none
    next_at: datetime | None
    #: the newest first
    latest: tuple[LoggedAttempt, ...]
    #: whether it can be sent again: its recipient was not removed, and it is not being sent
    can_redeliver: bool


def log_of(session: Session, study_id: int, limit: int, before: int | None = None) -> list[LoggedDelivery]:
    """Return the newest deliveries of a study, the newest first; those before the id ``before``, if it is given."""
    query = select(DeliveryRow).where(DeliveryRow.study_id == study_id).options(joinedload(DeliveryRow.recipient))
    if before is not None:
        query = query.where(DeliveryRow.id < before)
    rows = list(session.scalars(query.order_by(DeliveryRow.id.desc()).limit(limit)))
    attempts = _attempts(session, [row.id for row in rows])
    return [_logged(row, attempts.get(row.id, [])) for row in rows]


def redeliver(services: Services, delivery_id: int, *, who: str, study_id: int | None = None) -> None:
    """Send a notification again, with the same id. One that waits for its next attempt is sent at once.

    Args:
        services: the services.
        delivery_id: the delivery.
        who: who asks for it, for the audit log.
        study_id: the study that it must belong to; None: any.

    Raises:
        Refused: there is no such delivery, its recipient was removed or was sent too much, or it is being sent at this
            moment.
    """
    with services.unit() as unit:
        row = unit.session.get(DeliveryRow, delivery_id, with_for_update=True)
        if row is None or study_id not in (None, row.study_id):
            raise Refused(f"there is no delivery {delivery_id}; the log of deliveries lists those that exist")
        if row.recipient.removed_at is not None:
            raise Refused(f"delivery {delivery_id} is not sent again: its recipient was removed")
        if row.state == WorkState.RUNNING:
            raise Refused(f"delivery {delivery_id} is being sent at this moment; look at the log again in a minute")
        _check_rate(unit.session, row.recipient)
        leases.request(row)
        row.error = ""
        endpoints.open_for_person(unit.session, row.recipient)
        unit.enqueue_after_commit(JobKind.NOTIFICATION, row.id)
        study = unit.session.get_one(StudyRow, row.study_id)
        unit.note(study, who, f"notifications: redelivery {row.id} ({row.event}) to {row.recipient.shown}")


def send_test(services: Services, study_id: int, recipient_id: int, *, who: str) -> int:
    """Queue a test notification for one recipient, and return the id of its delivery.

    A worker sends it within seconds, in one attempt; the log shows the outcome. ``deliver`` sends it at once.

    Raises:
        Refused: the study has no such recipient (any more), a test of it is under way, or it was sent too much.
    """
    with services.unit() as unit:
        study = unit.lock_study(study_id)
        recipient = get_recipient(unit.session, study_id, recipient_id)
        if _is_under_way(unit.session, recipient):
            raise Refused(f"a test of {recipient.shown} is under way; its outcome will be in the log of deliveries")
        _check_rate(unit.session, recipient)
        facts = Facts(study_id=study.id, study=study.name, reason=who)
        row = add_delivery(unit, recipient, NotificationEvent.TEST, facts)
        unit.note(study, who, f"notifications: test of recipient {recipient.id} ({recipient.shown})")
        return row.id


def prune(database: Database) -> int:
    """Delete deliveries that ended long ago, and return their number. Endpoints that failed long ago are forgotten."""
    ended = DeliveryRow.state.in_((WorkState.DONE, WorkState.FAILED, WorkState.CANCELLED))
    old = DeliveryRow.due_at < now() - timedelta(days=KEPT_DAYS)
    with database.read() as session:
        query = select(DeliveryRow.id).where(ended, old).order_by(DeliveryRow.id).limit(PRUNED_AT_ONCE)
        ids = session.scalars(query).all()
    endpoints.prune(database)
    if ids:
        with database.write() as session:
            # one that a person has sent again meanwhile is kept
            locked = select(DeliveryRow.id).where(DeliveryRow.id.in_(ids), ended, old).with_for_update()
            ids = session.scalars(locked).all()
            session.execute(delete(DeliveryAttemptRow).where(DeliveryAttemptRow.delivery_id.in_(ids)))
            session.execute(delete(DeliveryRow).where(DeliveryRow.id.in_(ids)))
    return len(ids)


def _is_under_way(session: Session, recipient: RecipientRow) -> bool:
    query = select(DeliveryRow.id).where(
        DeliveryRow.recipient_id == recipient.id,
        DeliveryRow.event == NotificationEvent.TEST,
        DeliveryRow.state.in_((WorkState.PENDING, WorkState.RUNNING)),
    )
    return session.scalars(query.limit(1)).first() is not None


def _check_rate(session: Session, recipient: RecipientRow) -> None:
    """Check the number of attempts for a recipient within the last hour, before a person requests another one.

    Attempts for removed recipients with the same shown address count, too.

    Raises:
        Refused: there were ``MAX_ATTEMPTS_AN_HOUR`` or more.
    """
    query = select(func.count()).select_from(DeliveryAttemptRow).join(DeliveryRow)
    # of a removed recipient only the shown address is kept
    same = (
        RecipientRow.study_id == recipient.study_id,
        RecipientRow.channel == recipient.channel,
        RecipientRow.shown == recipient.shown,
        RecipientRow.removed_at.is_not(None),
    )
    ids = select(RecipientRow.id).where(or_(RecipientRow.id == recipient.id, and_(*same)))
    recent = DeliveryAttemptRow.at > now() - timedelta(hours=1)
    number = session.scalar(query.where(DeliveryRow.recipient_id.in_(ids), recent))
    if number is not None and number >= MAX_ATTEMPTS_AN_HOUR:
        raise Refused(f"{recipient.shown} was sent {counted(number, 'notification')} within an hour; try again later")


def _attempts(session: Session, delivery_ids: Sequence[int]) -> dict[int, list[LoggedAttempt]]:
    """Return delivery → its attempts, the newest first."""
    query = select(DeliveryAttemptRow).where(DeliveryAttemptRow.delivery_id.in_(delivery_ids))
    attempts: dict[int, list[LoggedAttempt]] = {}
    for row in session.scalars(query.order_by(DeliveryAttemptRow.id.desc())):
        attempt = LoggedAttempt(at=row.at, seconds=row.seconds, accepted=row.accepted, outcome=row.outcome)
        attempts.setdefault(row.delivery_id, []).append(attempt)
    return attempts


def _logged(row: DeliveryRow, attempts: Sequence[LoggedAttempt]) -> LoggedDelivery:
    return LoggedDelivery(
        id=row.id,
        message_id=row.message_id,
        event=row.event,
        happened_at=row.happened_at,
        person=row.recipient.person,
        shown=row.recipient.shown,
        state=row.state,
        attempts=len(attempts),
        delivered_at=row.delivered_at,
        next_at=row.due_at if row.state == WorkState.PENDING else None,
        latest=tuple(attempts[:ATTEMPTS_SHOWN]),
        can_redeliver=row.recipient.removed_at is None and row.state != WorkState.RUNNING,
    )
