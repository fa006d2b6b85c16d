"""Idempotency keys: a request that is sent again with its key has the effect and the response of the first one.

A key belongs to the account that sent it. Its row is written before the request is carried out, and its response
afterwards. A request whose process was killed in between is carried out again after ``ABANDONED_SECONDS``, unless its
change is stored: the change sets ``applied`` in its own transaction, by ``mark_applied``.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from datagen.store.database import Database
from datagen.store.tables.api_requests import ApiRequestRow
from datagen.store.tables.base import now

#: Hours for which a key is remembered.
KEPT_HOURS = 24
#: Seconds after which a request without a response is considered abandoned: more than any request may take.
ABANDONED_SECONDS = 300
#: Largest number of rows that one transaction deletes.
PRUNED_AT_ONCE = 1_000


class KeyReused(Exception):
    """The key was sent with another request."""


class KeyInUse(Exception):
    """The first request with this key is being carried out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to carry out a request with a key, once."""

    key_digest: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The outcome of an earlier request with the same key.

    ``status`` and ``body`` are its response; both are None if its process was killed after the change was stored.
    """

    status: int | None
    body: str | None


def key_digest(account_id: int, key: str) -> str:
    """Return the digest under which a key of an account is stored."""
    return hashlib.sha256(f"{account_id}:{key}".encode()).hexdigest()


def claim(database: Database, digest: str, request_digest: str) -> Claim | Finished:
    """Return the right to carry out a request, or what became of the earlier request with its key.

    Raises:
        KeyReused: the key was sent with another request.
        KeyInUse: the earlier request is being carried out.
    """
    mine = Claim(key_digest=digest, token=secrets.token_hex(16))
    moment = now()
    try:
        with database.write() as session:
            row = session.get(ApiRequestRow, digest, with_for_update=True)
            if row is not None and row.started_at < moment - timedelta(hours=KEPT_HOURS):
                session.delete(row)
                session.flush()
                row = None
            if row is None:
                session.add(
                    ApiRequestRow(key_digest=digest, request_digest=request_digest, token=mine.token, started_at=moment)
                )
                return mine
            return _of_known(row, request_digest, mine, moment)
    except IntegrityError:  # another process inserted the row meanwhile
        raise KeyInUse(_IN_USE) from None


_IN_USE = "A request with this Idempotency-Key is being carried out. Send it again in a moment for its response."


def _of_known(row: ApiRequestRow, request_digest: str, mine: Claim, moment: datetime) -> Claim | Finished:
    if row.request_digest != request_digest:
        raise KeyReused(
            "This Idempotency-Key was sent with another request. Give each request a key of its own, and send a key "
            "again only with the same address and body."
        )
    if row.status is not None or row.applied:
        return Finished(status=row.status, body=row.body)
    if row.started_at > moment - timedelta(seconds=ABANDONED_SECONDS):
        raise KeyInUse(_IN_USE)
    row.token, row.started_at = mine.token, moment
    return mine


def mark_applied(session: Session, mine: Claim) -> bool:
    """Record in the transaction of a change that it is made; return False if it was, or if another process makes it."""
    row = session.get(ApiRequestRow, mine.key_digest, with_for_update=True, populate_existing=True)
    if row is None or row.token != mine.token or row.applied:
        return False
    row.applied = True
    return True


def finish(database: Database, mine: Claim, status: int, body: str) -> None:
    """Store the response."""
    with database.write() as session:
        row = session.get(ApiRequestRow, mine.key_digest, with_for_update=True)
        if row is not None and row.token == mine.token:
            row.status, row.body = status, body


def release(database: Database, mine: Claim) -> None:
    """Forget a request that changed nothing, so that it may be sent again."""
    is_mine = (ApiRequestRow.key_digest == mine.key_digest, ApiRequestRow.token == mine.token)
    with database.write() as session:
        session.execute(delete(ApiRequestRow).where(*is_mine, ApiRequestRow.applied.is_(False)))


def prune(database: Database) -> int:
    """Delete the keys that are older than ``KEPT_HOURS``, and return their number; each transaction deletes few."""
    deleted = 0
    while True:
        outdated = ApiRequestRow.started_at < now() - timedelta(hours=KEPT_HOURS)
        with database.read() as session:
            digests = session.scalars(select(ApiRequestRow.key_digest).where(outdated).limit(PRUNED_AT_ONCE)).all()
        if digests:
            with database.write() as session:
                session.execute(delete(ApiRequestRow).where(ApiRequestRow.key_digest.in_(digests), outdated))
        deleted += len(digests)
        if len(digests) < PRUNED_AT_ONCE:
            return deleted


def is_applied(database: Database, mine: Claim) -> bool:
    """Return whether the change of a request is stored."""
    with database.read() as session:
        row = session.get(ApiRequestRow, mine.key_digest)
        return row is not None and row.applied
