"""Base of the tables: column types, states of work, and the columns of leased work."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, DateTime, Enum, String, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import SpecState, StudyState
from datagen.domain.notification import Channel, NotificationEvent
from datagen.domain.verdict import Opinion, VerdictRule


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class Instant(TypeDecorator[datetime]):
    """A time in UTC. SQLite does not store time zones, so the time zone is added on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the value with the time zone UTC if it has none."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class WorkState(StrEnum):
    """State of work that a row stands for: an inbox event, a shard, an outbox row, a batch or another leased row."""

    PENDING = "pending"  #: not started
    RUNNING = "running"  #: a process works on it until the lease expires
    DONE = "done"  #: finished
    FAILED = "failed"  #: not retried any more; the row contains the reason
    PAUSED = "paused"  #: a run that waits for a decision, because of an alarm of its spot checks or because of a person
    CANCELLED = "cancelled"  #: no longer needed


class BatchKind(StrEnum):
    """Purpose of a batch of samples."""

    ROUND = "round"  #: a preview round for review, whose verdicts may change the next version
    AUDIT = "audit"  #: further samples of a version for review, whose verdicts measure it and train nothing
    RUN = "run"  #: a generation run for the dataset
    SPOT = "spot"  #: the spot checks of a run: copies of samples of it for review, with the number of the run
    REJECTED = "rejected"  #: candidates of a run that the critic rejected, with the number of the run

    @property
    def is_reviewed(self) -> bool:
        """Whether its samples are review tasks in the project Previews."""
        return self in REVIEWED_KINDS


#: The kinds of batches that belong to a run. They are no work of their own.
PARTS_OF_RUNS = (BatchKind.SPOT, BatchKind.REJECTED)
#: The kinds of batches whose samples are review tasks.
REVIEWED_KINDS = (BatchKind.ROUND, BatchKind.AUDIT, BatchKind.SPOT)


class OutboxKind(StrEnum):
    """Kind of a change that has to be published to Label Studio."""

    SAMPLES = "samples"  #: the samples of a shard, as review or dataset tasks
    DECISION = "decision"  #: a decision point, as a task
    TABS = "tabs"  #: the saved tabs of a preview round
    REVIEW_TASKS = "review_tasks"  #: a round's review tasks: the columns in their list, and whether they are closed
    PROPOSAL = "proposal"  #: the proposal for an input task, in place of an older one that Label Studio stores


class FitPictureKind(StrEnum):
    """What a picture of a version's fit shows."""

    MATTE = "matte"  #: the pixels of a concept photo that the engine takes for the concept
    AREA = "area"  #: where the engine expects and places the concept on a canvas or background


class HandoverKind(StrEnum):
    """The kind of a handover: a download or a push."""

    DOWNLOAD = "download"  #: as a zip to download
    PUSH = "push"  #: as tasks of a Label Studio project of a person's own


def _enumeration_column(kind: type[StrEnum]) -> Enum:
    """Return a column type that stores an enumeration's value as text, so that new values need no migration."""
    return Enum(
        kind, native_enum=False, create_constraint=False, length=20, values_callable=lambda e: [m.value for m in e]
    )


#: The enumerations that are types of columns.
_ENUMERATIONS: tuple[type[StrEnum], ...] = (
    StudyState,
    SpecState,
    ProjectKind,
    Role,
    Opinion,
    VerdictRule,
    WorkState,
    BatchKind,
    OutboxKind,
    Channel,
    NotificationEvent,
    HandoverKind,
    FitPictureKind,
)
_COLUMN_TYPES: dict[Any, Any] = {
    datetime: Instant(),
    dict[str, Any]: JSON(),
    list[str]: JSON(),
    list[int]: JSON(),
    list[dict[str, Any]]: JSON(),
}
_COLUMN_TYPES |= {kind: _enumeration_column(kind) for kind in _ENUMERATIONS}


class Row(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = _COLUMN_TYPES


class LeasedRow(Row):
    """Base of the tables of work that one process at a time does under a lease.

    ``token`` is the fencing token: a process that lost the lease finds another token and must not write its result.
    """

    __abstract__ = True

    id: Mapped[int] = mapped_column(primary_key=True)
    state: Mapped[WorkState] = mapped_column(default=WorkState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    token: Mapped[str | None] = mapped_column(String(32), default=None)
    #: while the row is running: when the lease expires; while it is pending: the earliest time of the next attempt
    due_at: Mapped[datetime] = mapped_column(default=now)
    #: number of attempts that ended because another service was unavailable
    waits: Mapped[int] = mapped_column(default=0, server_default="0")
    #: when the first attempt that ``waits`` counts ended; None if the row does not wait
    waiting_since: Mapped[datetime | None] = mapped_column(default=None)
    error: Mapped[str] = mapped_column(String(1000), default="")
