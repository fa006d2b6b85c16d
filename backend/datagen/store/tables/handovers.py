"""Table of handovers: generated images that are handed over in the background, because it takes minutes."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from datagen.store.tables.base import HandoverKind, LeasedRow, now


class HandoverRow(LeasedRow):
    """A request of a person for generated images of a study: its options, its progress and its result."""

    __tablename__ = "handover"
    __table_args__ = (
        Index("handover_by_state", "state", "due_at"),
        Index("handover_of_study", "study_id", "id"),
        Index("handover_by_expiry", "expires_at"),
    )

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    kind: Mapped[HandoverKind]
    #: which images, and how they are handed over, as JSON; see ``workflow.handovers.wishes``
    wish: Mapped[dict[str, Any]]
    requested_by: Mapped[str] = mapped_column(String(200))
    requested_at: Mapped[datetime] = mapped_column(default=now)
    #: number of images that are handed over, and of all; 0 before they are counted
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    finished_at: Mapped[datetime | None] = mapped_column(default=None)
    #: what was left out, or done otherwise, as sentences
    notes: Mapped[list[str]] = mapped_column(default=list)
    #: of a download: the name of its zip in the store's folder of downloads; empty once the zip is removed
    file: Mapped[str] = mapped_column(String(80), default="")
    #: of a download that is done: the size of the zip, and when it is removed
    bytes: Mapped[int | None] = mapped_column(BigInteger, default=None)
    expires_at: Mapped[datetime | None] = mapped_column(default=None)
