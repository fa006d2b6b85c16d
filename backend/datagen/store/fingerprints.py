"""Fingerprints of what all processes of an installation must share, kept in its database.

A fingerprint is a salted scrypt hash: it tells whether two processes have the same secret, and not what the secret is.
Of a secret that was changed several values may be accepted; the newest one is the current one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.store.tables import SharedSecretRow

#: Cost of scrypt: 16 MiB and some 40 ms a hash, so that a password is not guessed from a backup's rows.
_COST, _BLOCK = 2**14, 8


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A secret as one process has it: every value that it accepts, the newest last; none where it lacks it."""

    name: str
    values: tuple[str, ...] = field(repr=False)


class Standing(StrEnum):
    """How a process's newest value compares with the registered ones."""

    UNREGISTERED = "unregistered"  #: nothing is registered under this name
    MISSING = "missing"  #: the process has no value
    CURRENT = "current"  #: it is the current one
    PREVIOUS = "previous"  #: it is accepted, and there is a newer one
    NEWER = "newer"  #: it is unknown, and the process also has the current one: it was changed here
    OTHER = "other"  #: it is unknown, and so are the others


def standing(session: Session, secret: SharedSecret) -> Standing:
    """Compare a process's secret with the registered fingerprints."""
    rows = _rows(session, secret.name)
    if not rows:
        return Standing.UNREGISTERED
    if not secret.values:
        return Standing.MISSING
    accepted = {row.fingerprint: row.is_current for row in rows}
    newest = accepted.get(fingerprint(secret.values[-1], rows[0].salt))
    if newest is not None:
        return Standing.CURRENT if newest else Standing.PREVIOUS
    if any(accepted.get(fingerprint(value, rows[0].salt)) for value in secret.values[:-1]):
        return Standing.NEWER
    return Standing.OTHER


def register(session: Session, secret: SharedSecret, *, exposed: bool = False) -> None:
    """Have exactly this process's values accepted, the newest as the current one. Writes nothing that is so already.

    ``exposed`` marks values that were sent in webhooks' headers by an earlier release.
    """
    rows = {row.fingerprint: row for row in _rows(session, secret.name)}
    salt = next((row.salt for row in rows.values()), secrets.token_hex(16))
    wanted = dict.fromkeys(fingerprint(value, salt) for value in secret.values)
    newest = [*wanted][-1]
    for digest, row in rows.items():
        if digest not in wanted:
            session.delete(row)
        elif row.is_current != (digest == newest):
            row.is_current = digest == newest
    for digest in wanted:
        if digest not in rows:
            session.add(
                SharedSecretRow(
                    name=secret.name, fingerprint=digest, salt=salt, is_current=digest == newest, exposed=exposed
                )
            )


def accepts_others(session: Session, secret: SharedSecret) -> bool:
    """Whether other values are registered than the ones that the process has."""
    rows = _rows(session, secret.name)
    salt = next((row.salt for row in rows), "")
    return {row.fingerprint for row in rows} != {fingerprint(value, salt) for value in secret.values}


def is_exposed(session: Session, name: str) -> bool:
    """Whether the current value was sent in webhooks' headers by an earlier release."""
    return any(row.exposed for row in _rows(session, name) if row.is_current)


@lru_cache(maxsize=64)  # a start compares the same few values several times
def fingerprint(value: str, salt: str) -> str:
    """The fingerprint of a value (64 hexadecimal digits)."""
    return hashlib.scrypt(value.encode(), salt=salt.encode(), n=_COST, r=_BLOCK, p=1, dklen=32).hex()


def _rows(session: Session, name: str) -> Sequence[SharedSecretRow]:
    return session.scalars(select(SharedSecretRow).where(SharedSecretRow.name == name)).all()
