"""Endpoints of notifications that failed: each is left alone for a while, whatever number of deliveries waits for it.

This is a circuit breaker (Nygard, *Release It!*) whose state is in the database, so that all workers share it. A failed
attempt closes the recipient's address. If nothing answered, the attempt took a time limit, and it closes the whole
endpoint: a webhook's server, or the mail server. When its wait is over, one delivery is tried; the others wait for the
result. Endpoints that did not answer also take turns with one another, so that many dead ones do not occupy a worker.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from urllib.parse import urlsplit

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from datagen.domain.notification import Channel
from datagen.store.database import Database
from datagen.store.tables.base import now
from datagen.store.tables.notifications import EndpointRow, RecipientRow
from datagen.workflow.backoff import wait_after

#: Longest wait before an endpoint is tried again, seconds.
LONGEST_CLOSED_SECONDS = 3600.0
#: Seconds between two attempts at endpoints that did not answer before, of the whole installation.
TURN_SECONDS = 60.0
#: Seconds for which an endpoint is closed while it is tried: longer than any attempt takes.
TRIAL_SECONDS = 60.0
#: Hours after which an endpoint that did not fail again is forgotten.
_FORGOTTEN_HOURS = 24
#: Key of the row with the time of the next turn.
_TURN = "turn"


def closed_until(session: Session, recipient: RecipientRow, *, by_person: bool = False) -> datetime | None:
    """Return when a delivery to a recipient may be tried; None: now, and the caller has to try it.

    Args:
        session: the transaction that claims the delivery.
        recipient: the recipient.
        by_person: a person asks for the attempt and waits for it: the endpoint's own wait is skipped.
    """
    keys, moment = _keys(recipient), now()
    failed = _locked(session, keys)
    waits = [row.closed_until for row in failed if row.closed_until > moment and not by_person]
    if waits:
        return max(waits)
    if any(row.key == keys[-1] for row in failed):  # the endpoint did not answer: an attempt may take a time limit
        turn = _ensured(session, _TURN, moment)
        if turn.closed_until > moment:
            return turn.closed_until + timedelta(seconds=random.uniform(0.0, 5.0))  # noqa: S311 - spreads load
        turn.closed_until = moment + timedelta(seconds=TURN_SECONDS)
    for row in failed:
        row.closed_until = moment + timedelta(seconds=TRIAL_SECONDS)
    return None


def note_failure(session: Session, recipient: RecipientRow, *, answered: bool) -> None:
    """Close a recipient's address after a failed attempt, and its endpoint too if nothing ``answered``."""
    for key in sorted(_keys(recipient)[: 1 if answered else None]):
        row = _ensured(session, key, now())
        row.failures += 1
        row.closed_until = now() + timedelta(seconds=wait_after(row.failures, LONGEST_CLOSED_SECONDS))


def note_success(session: Session, recipient: RecipientRow) -> None:
    """Open a recipient's address and endpoint."""
    for row in _locked(session, _keys(recipient)):
        session.delete(row)


def open_for_person(session: Session, recipient: RecipientRow) -> None:
    """End the wait of a recipient's address and endpoint, because a person says that they can be tried."""
    for row in _locked(session, _keys(recipient)):
        row.closed_until = now()


def prune(database: Database) -> None:
    """Forget endpoints that did not fail again since their last wait ended long ago."""
    is_old = EndpointRow.closed_until < now() - timedelta(hours=_FORGOTTEN_HOURS)
    with database.read() as session:
        keys = session.scalars(select(EndpointRow.key).where(is_old)).all()
    if keys:
        with database.write() as session:
            session.execute(delete(EndpointRow).where(EndpointRow.key.in_(keys), is_old))


def _keys(recipient: RecipientRow) -> list[str]:
    """Return the keys of a recipient's address and of its endpoint: digests, because addresses have secret parts."""
    address = f"{recipient.channel} {recipient.address}"
    match recipient.channel:
        case Channel.WEBHOOK:
            parts = urlsplit(recipient.address)
            endpoint = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}"
        case Channel.EMAIL:
            endpoint = "mail server"
        case Channel.SERVICE:
            endpoint = address  # the services of one provider share its servers, which are not dead
    return [hashlib.sha256(text.encode()).hexdigest() for text in dict.fromkeys((address, endpoint))]


def _locked(session: Session, keys: Sequence[str]) -> list[EndpointRow]:
    """Return the rows of these keys, locked in the order of their keys, so that no two transactions deadlock."""
    query = select(EndpointRow).where(EndpointRow.key.in_(keys)).order_by(EndpointRow.key)
    return list(session.scalars(query.with_for_update().execution_options(populate_existing=True)))


def _ensured(session: Session, key: str, closed_until: datetime) -> EndpointRow:
    """Return the row of a key, locked; it is added with that time if there is none."""
    for row in _locked(session, [key]):
        return row
    try:
        with session.begin_nested():
            session.add(EndpointRow(key=key, failures=0, closed_until=closed_until))
    except IntegrityError:
        pass  # another process added it meanwhile
    [row] = _locked(session, [key])
    return row
