"""Tables of the whole installation: counters, fingerprints of shared secrets, and the audit log."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, String, false
from sqlalchemy.orm import Mapped, mapped_column

from datagen.store.tables.base import Row, now


class CounterRow(Row):
    """A counter of events, for metrics."""

    __tablename__ = "counter"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class SharedSecretRow(Row):
    """Fingerprint of a value that all processes of an installation must share; see ``store.fingerprints``."""

    __tablename__ = "shared_secret"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    salt: Mapped[str] = mapped_column(String(32), default="")
    #: whether it is the newest accepted value. The other accepted values are those before the last change
    is_current: Mapped[bool] = mapped_column(default=True)
    #: whether an earlier release sent it in webhooks' headers, which every member of Label Studio can read
    exposed: Mapped[bool] = mapped_column(default=False, server_default=false())
    registered_at: Mapped[datetime] = mapped_column(default=now)


class AuditRow(Row):
    """One entry of the audit log. It outlasts its study, so it contains the study's name, not a foreign key."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    study: Mapped[str] = mapped_column(String(200), index=True)
    who: Mapped[str] = mapped_column(String(200))
    what: Mapped[str] = mapped_column(String(1000))
