"""Fingerprints of the secrets that all processes of an installation must share, stored in its database.

A fingerprint is a salted scrypt hash: it shows whether two processes have the same secret without revealing the secret.
While a secret is being changed, several values may be accepted; the newest one is the current one.
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

from datagen.store.tables.installation import SharedSecretRow

#: Cost of scrypt: 16 MiB and some 40 ms per hash, so that a password cannot be guessed from a backup's rows.
_COST, _BLOCK = 2**14, 8


@dataclass(frozen=True, slots=True)
class SharedSecret:
    """A secret as one process knows it. ``values`` are those that the process accepts, the newest last."""

    name: str
    values: tuple[str, ...] = field(repr=False)


class Standing(StrEnum):
    """Result of the comparison of a process's newest value with the registered ones."""

    UNREGISTERED = "unregistered"  #: nothing is registered under this name
    MISSING = "missing"  #: the process has no value
    CURRENT = "current"  #: the value is the current one
    PREVIOUS = "previous"  #: the value is accepted, but a newer one is registered
    NEWER = (
        "newer"  #: the secret was changed here: the value is not registered, but the process also has the current one
    )
    OTHER = "other"  #: the value is not registered, and the process does not have the current one


def standing(session: Session, secret: SharedSecret) -> Standing:
    """Return how a process's secret compares with the registered fingerprints."""
    rows = _rows(session, secret.name)
    if not rows:
        return Standing.UNREGISTERED
    if not secret.values:
        return Standing.MISSING
    accepted = {row.fingerprint: row.is_current for row in rows}
    newest_is_current = accepted.get(fingerprint(secret.values[-1], rows[0].salt))
    if newest_is_current is not None:
        return Standing.CURRENT if newest_is_current else Standing.PREVIOUS
    if any(accepted.get(fingerprint(value, rows[0].salt)) for value in secret.values[:-1]):
        return Standing.NEWER
    return Standing.OTHER


def register(session: Session, secret: SharedSecret, *, exposed: bool = False) -> None:
    """Register exactly this process's values, the newest as the current one; rows that are up to date stay unchanged.

    ``exposed`` marks values that an earlier release sent in webhooks' headers.
    """
    rows = {row.fingerprint: row for row in _rows(session, secret.name)}
    salt = next((row.salt for row in rows.values()), secrets.token_hex(16))
    digests = dict.fromkeys(fingerprint(value, salt) for value in secret.values)
    newest = [*digests][-1]
    for digest, row in rows.items():
        if digest not in digests:
            session.delete(row)
        elif row.is_current != (digest == newest):
            row.is_current = digest == newest
    for digest in digests:
        if digest not in rows:
            session.add(
                SharedSecretRow(
                    name=secret.name, fingerprint=digest, salt=salt, is_current=digest == newest, exposed=exposed
                )
            )


def accepts_others(session: Session, secret: SharedSecret) -> bool:
    """Return whether the registered values differ from the process's values."""
    rows = _rows(session, secret.name)
    salt = next((row.salt for row in rows), "")
    return {row.fingerprint for row in rows} != {fingerprint(value, salt) for value in secret.values}


def is_exposed(session: Session, name: str) -> bool:
    """Return whether an earlier release sent the current value in webhooks' headers."""
    return any(row.exposed for row in _rows(session, name) if row.is_current)


@lru_cache(maxsize=64)  # a start compares the same few values several times
def fingerprint(value: str, salt: str) -> str:
    """Return the fingerprint of a value (64 hexadecimal digits)."""
    return hashlib.scrypt(value.encode(), salt=salt.encode(), n=_COST, r=_BLOCK, p=1, dklen=32).hex()


def _rows(session: Session, name: str) -> Sequence[SharedSecretRow]:
    return session.scalars(select(SharedSecretRow).where(SharedSecretRow.name == name)).all()
