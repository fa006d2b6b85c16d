"""Tables of events received from Label Studio, and of changes to publish there."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from datagen.store.tables.base import LeasedRow, OutboxKind, now


class InboxRow(LeasedRow):
    """One event from Label Studio, unique by its fingerprint."""

    __tablename__ = "inbox"
    __table_args__ = (Index("inbox_by_state", "state", "due_at"),)

    fingerprint: Mapped[str] = mapped_column(String(200), unique=True)
    action: Mapped[str] = mapped_column(String(40))
    project_id: Mapped[int | None] = mapped_column(BigInteger, default=None)
    task_ids: Mapped[list[int]] = mapped_column(default=list)
    annotation_ids: Mapped[list[int]] = mapped_column(default=list)
    received_at: Mapped[datetime] = mapped_column(default=now)
    handled_at: Mapped[datetime | None] = mapped_column(default=None)


class OutboxRow(LeasedRow):
    """A change to publish to Label Studio. The content is read from other rows at the time of publication."""

    __tablename__ = "outbox"
    __table_args__ = (UniqueConstraint("kind", "subject_id"), Index("outbox_by_state", "state", "due_at"))

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    kind: Mapped[OutboxKind]
    subject_id: Mapped[int] = mapped_column(BigInteger)
    #: number of changes so far. If it grows during a publication, the row is published again
    revision: Mapped[int] = mapped_column(default=1)
    #: when it was last published
    published_at: Mapped[datetime | None] = mapped_column(default=None)
