"""Sessions of people who have logged in. They are stored in Redis, and their cookie holds nothing but a random token.

Redis is chosen over rows because a session ends by itself there, and is read at every request: on SQLite a row would
make page views wait for writers. If Redis is emptied, people log in again. Redis is trusted less than the database, so
a stored session is signed with the installation's keys, and is stored under a digest of its token: whoever reads or
writes Redis can neither use a session nor invent one.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog
from itsdangerous import BadData, URLSafeSerializer

from datagen.errors import DatagenError
from datagen.label_studio.api.accounts import Account, AccountDirectory

log = structlog.get_logger()

#: Seconds without a request after which a session ends, and seconds after the log-in after which it ends in any case:
#: a working day.
IDLE_SECONDS, LONGEST_SECONDS = 2 * 3600, 12 * 3600
#: The same from the log-in on, for a person who sees some of the organization's projects: which, is read at the log-in.
LONGEST_RESTRICTED_SECONDS = 3600
#: Seconds after which Label Studio is asked again whether the account is still a member, and after which it is asked
#: once more if it did not answer.
REFRESH_SECONDS, RETRY_SECONDS = 600, 60
#: Seconds between two prolongations of a session that is in use.
_PROLONG_SECONDS = 60
_PREFIX = "datagen:session:"


class ExpiringStore(Protocol):
    """The commands of Redis that sessions use."""

    def get(self, name: str, /) -> Any:
        """Return the stored bytes; None if there are none."""
        ...

    def set(self, name: str, value: str, /, *, ex: int, xx: bool) -> Any:
        """Store a value for ``ex`` seconds; if ``xx``, only in place of one that is stored."""
        ...

    def delete(self, name: str, /) -> Any:
        """Remove a value."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A log-in of a person. Times are in seconds since the epoch."""

    account: Account
    #: when the person logged in
    began: float
    #: when Label Studio last confirmed the account, or, less ``REFRESH_SECONDS``, will be asked again
    checked: float
    #: when the session was last prolonged
    seen: float


class Sessions:
    """The sessions of an installation; thread-safe.

    Args:
        store: Redis.
        directory: The accounts of Label Studio.
        keys: The installation's keys; the last one signs, and all are accepted.
        clock: The time in seconds since the epoch.
    """

    def __init__(
        self,
        store: ExpiringStore,
        directory: AccountDirectory,
        keys: Sequence[bytes],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._directory, self._clock = store, directory, clock
        self._serializer = URLSafeSerializer([*keys], salt="datagen.session")
        self._refreshing = threading.Lock()

    def begin(self, account: Account) -> str:
        """Store a new session and return the token for its cookie."""
        token, now = secrets.token_urlsafe(32), self._clock()
        self._write(token, Session(account=account, began=now, checked=now, seen=now), must_exist=False)
        return token

    def current(self, token: str) -> Session | None:
        """Return the session of a token; None if there is none, it has ended, or its account is no member any more."""
        session = self._read(token)
        if session is None:
            return None
        now = self._clock()
        if now - session.checked >= REFRESH_SECONDS and self._refreshing.acquire(blocking=False):
            # requests that come meanwhile use the session as it is; one check takes ten seconds at most
            try:
                refreshed = self._refreshed(session, now)
            finally:
                self._refreshing.release()
            if refreshed is None:
                self.end(token)
                return None
            session = refreshed
            self._prolong(token, session)
        elif now - session.seen >= _PROLONG_SECONDS:
            session = replace(session, seen=now)
            self._prolong(token, session)
        return session

    def end(self, token: str) -> None:
        """Remove a session."""
        self._store.delete(_name(token))

    def _refreshed(self, session: Session, now: float) -> Session | None:
        try:
            is_member = self._directory.is_member(session.account)
        except DatagenError as unknown:  # Label Studio is unavailable, or the installation's own token is refused
            log.warning("session.not_refreshed", reason=str(unknown))
            return replace(session, checked=now - REFRESH_SECONDS + RETRY_SECONDS, seen=now)
        if not is_member:
            log.info("session.ended", reason="the account is no member of the organization any more")
            return None
        return replace(session, checked=now, seen=now)

    def _read(self, token: str) -> Session | None:
        stored = self._store.get(_name(token))
        if stored is None:
            return None
        try:
            body = self._serializer.loads(stored.decode() if isinstance(stored, bytes) else stored)
        except (BadData, UnicodeDecodeError):
            return None  # not written by an installation with these keys, or signed with a key that was removed
        ids = body["project_ids"]
        account = Account(
            id=body["id"], email=body["email"], project_ids=None if ids is None else frozenset(map(int, ids))
        )
        if body["token"] != _name(token) or self._clock() - body["began"] >= _longest(account):
            return None
        return Session(account=account, began=body["began"], checked=body["checked"], seen=body["seen"])

    def _prolong(self, token: str, session: Session) -> None:
        """Store a session anew, unless it was ended meanwhile."""
        self._write(token, session, must_exist=True)

    def _write(self, token: str, session: Session, *, must_exist: bool) -> None:
        account = session.account
        body = {
            "token": _name(token),  # so that one session's value is not accepted under another's name
            "id": account.id,
            "email": account.email,
            "project_ids": None if account.project_ids is None else sorted(account.project_ids),
            "began": session.began,
            "checked": session.checked,
            "seen": session.seen,
        }
        left = _longest(account) - (self._clock() - session.began)
        seconds = max(1, int(min(IDLE_SECONDS, left)))
        self._store.set(_name(token), str(self._serializer.dumps(body)), ex=seconds, xx=must_exist)


def _longest(account: Account) -> int:
    return LONGEST_SECONDS if account.project_ids is None else LONGEST_RESTRICTED_SECONDS


def _name(token: str) -> str:
    return _PREFIX + hashlib.sha256(token.encode()).hexdigest()
