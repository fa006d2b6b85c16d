"""The tables. A row is the truth of what is to be done; a queued job is only the knock on the door."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Enum,
    ForeignKey,
    Index,
    String,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import SpecState, StudyState
from datagen.domain.verdict import Opinion


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


class Instant(TypeDecorator[datetime]):
    """A moment in UTC; SQLite forgets time zones, so it is put back on reading."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give a naive value its time zone back."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class WorkState(StrEnum):
    """Where a piece of work stands: an event, a shard, something to publish, a batch."""

    PENDING = "pending"  #: to be done
    RUNNING = "running"  #: somebody is at it until the lease ends
    DONE = "done"  #: finished
    FAILED = "failed"  #: given up; the reason stands beside it
    CANCELLED = "cancelled"  #: nobody wants it any more


class BatchKind(StrEnum):
    """What a batch of samples is for."""

    ROUND = "round"  #: a preview round, to be judged
    RUN = "run"  #: a generation run, into the dataset


class OutboxKind(StrEnum):
    """What Label Studio must be told about."""

    SAMPLES = "samples"  #: the samples of a shard, as review or dataset tasks
    DECISION = "decision"  #: a decision point, as a task
    TABS = "tabs"  #: the saved tabs of a preview round
    REVIEW_TASKS = "review_tasks"  #: the verdicts in a round's task list, and which of its tasks wait for one
    PROPOSAL = "proposal"  #: what is proposed for an input task, where an older proposal may be shown


def _readable(kind: type[StrEnum]) -> Enum:
    """An enumeration stored as its value in a plain column: people can read it, and a new value needs no migration."""
    return Enum(
        kind, native_enum=False, create_constraint=False, length=20, values_callable=lambda e: [m.value for m in e]
    )


#: every enumeration that a column holds
_ENUMERATIONS: tuple[type[StrEnum], ...] = (
    StudyState,
    SpecState,
    ProjectKind,
    Role,
    Opinion,
    WorkState,
    BatchKind,
    OutboxKind,
)
_COLUMN_TYPES: dict[Any, Any] = {
    datetime: Instant(),
    dict[str, Any]: JSON(),
    list[str]: JSON(),
    list[int]: JSON(),
    list[dict[str, Any]]: JSON(),
}
_COLUMN_TYPES |= {kind: _readable(kind) for kind in _ENUMERATIONS}


class Row(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = _COLUMN_TYPES


class Leased:
    """Work that one process at a time does, for as long as its lease lasts.

    ``token`` is the fence: who lost the lease finds another token there, and writes nothing.
    """

    state: Mapped[WorkState] = mapped_column(default=WorkState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    token: Mapped[str | None] = mapped_column(String(32), default=None)
    #: running: when the lease ends; pending: not to be tried before
    due_at: Mapped[datetime] = mapped_column(default=now)
    #: how many of the attempts only found that something outside was unavailable
    waits: Mapped[int] = mapped_column(default=0, server_default="0")
    #: when it first found that
    waiting_since: Mapped[datetime | None] = mapped_column(default=None)
    error: Mapped[str] = mapped_column(String(1000), default="")


class StudyRow(Row):
    """One study."""

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    labels: Mapped[list[str]]
    state: Mapped[StudyState] = mapped_column(default=StudyState.COLLECTING)
    engine: Mapped[str] = mapped_column(String(50))
    preview_size: Mapped[int]
    #: counts the events that said that inputs changed
    inputs_changed: Mapped[int] = mapped_column(default=1)
    #: the count when they were last read: another one means that they are to be read again
    inputs_read: Mapped[int] = mapped_column(default=0)
    #: the count at the beginning of the newest reading that wrote rows: an older one writes none after it
    inputs_reading: Mapped[int] = mapped_column(default=0, server_default="0")
    #: how often the reading of inputs was postponed, until when, and what it waits for; see ``workflow.outages``
    inputs_waits: Mapped[int] = mapped_column(default=0, server_default="0")
    inputs_due_at: Mapped[datetime | None] = mapped_column(default=None)
    waits_for: Mapped[str] = mapped_column(String(300), default="", server_default="")
    #: when postponed proposals are made; None: none were postponed
    proposals_due_at: Mapped[datetime | None] = mapped_column(default=None)
    #: counts the times that verdicts were found changed
    verdict_changes: Mapped[int] = mapped_column(default=0)
    #: a run of more images has to be confirmed; None: the product's own number
    confirm_above: Mapped[int | None] = mapped_column(default=None)
    #: … and an approval of a round of which a smaller share was judged, or is good; None: see ``study_options``
    least_judged: Mapped[float | None] = mapped_column(default=None)
    least_good: Mapped[float | None] = mapped_column(default=None)
    #: largest run whose labels are annotations in Label Studio too; None: see ``study_options``
    annotate_up_to: Mapped[int | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default=now)
    #: its webhooks' secret is derived from this; empty: they carry the secret that all studies share
    webhook_salt: Mapped[str] = mapped_column(String(32), default="", server_default="")
    #: the salt before, accepted until every webhook has the new secret; None outside of such a change
    webhook_salt_previous: Mapped[str | None] = mapped_column(String(32), default=None)

    projects: Mapped[list[ProjectRow]] = relationship(back_populates="study")


class ProjectRow(Row):
    """One Label Studio project of a study."""

    __tablename__ = "project"

    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    kind: Mapped[ProjectKind]
    #: the newest ``updated_at`` of its tasks that the reconciler saw, as Label Studio writes it
    seen_until: Mapped[str] = mapped_column(String(40), default="")
    #: a digest of what it saw close before that, to know a second time what it saw then; empty once all of it is old
    seen: Mapped[str] = mapped_column(String(64), default="unknown", server_default="unknown")
    #: how much there was when it looked last
    counted: Mapped[str] = mapped_column(String(100), default="", server_default="")
    #: how many tasks there were when all of them were last read
    tasks: Mapped[int | None] = mapped_column(default=None)
    looked_at: Mapped[datetime | None] = mapped_column(default=None)
    #: why it, or part of it, cannot be read, as a sentence; empty when all of it can
    problem: Mapped[str] = mapped_column(String(1000), default="", server_default="")
    #: its tasks that Label Studio cannot send
    unreadable: Mapped[list[int]] = mapped_column(default=list, server_default="[]")
    #: fingerprint of the password that was last written into its ML-backend connection; empty: none was
    login: Mapped[str] = mapped_column(String(64), default="", server_default="")

    study: Mapped[StudyRow] = relationship(back_populates="projects")


class InputRow(Row):
    """One input task as last read from Label Studio: its picture, its regions, and what is wrong with it."""

    __tablename__ = "input"

    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    role: Mapped[Role]
    name: Mapped[str] = mapped_column(String(500))
    url: Mapped[str] = mapped_column(String(2000))
    #: the picture in the image store; None when it could not be used
    digest: Mapped[str | None] = mapped_column(String(64), default=None)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    #: somebody drew or said something about it
    answered: Mapped[bool] = mapped_column(default=False)
    #: when, as Label Studio writes it; empty when nobody did
    updated_at: Mapped[str] = mapped_column(String(40), default="")
    #: which annotation says so; None when none does, and in rows of versions before 0008
    annotation_id: Mapped[int | None] = mapped_column(BigInteger, default=None)
    #: what it says as Label Studio has it, in rows of versions before 0008; empty in others
    result: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    #: the same as domain values with the sentences about what cannot be used, as JSON (see ``parsed_results``): worked
    #: out before the row is written. None where it is to be worked out of ``result``, and where there is no picture
    parsed: Mapped[str | None] = mapped_column(Text, default=None)
    #: why the picture cannot be used; empty when it can
    problem: Mapped[str] = mapped_column(String(1000), default="")


class FetchedPictureRow(Row):
    """What came of fetching a picture that a study's tasks name by this address: the picture, or why it is none."""

    __tablename__ = "fetched_picture"

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    #: SHA-256 (hex) of the address, which may be longer than what an index takes
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: the picture in the image store; None when it could not be used
    digest: Mapped[str | None] = mapped_column(String(64), default=None)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    #: why the picture cannot be used; empty when it can
    problem: Mapped[str] = mapped_column(String(1000), default="")
    #: SHA-256 (hex) of the bytes that could not be used; None when none came
    content: Mapped[str | None] = mapped_column(String(64), default=None)
    #: the settings under which that is so: under others it is tried anew
    conditions: Mapped[str] = mapped_column(String(300))
    #: times that it was tried in vain
    attempts: Mapped[int] = mapped_column(default=0)
    #: when it is tried again; None: not before address or settings change
    retry_at: Mapped[datetime | None] = mapped_column(default=None, index=True)


class ProposalRow(Row):
    """What is proposed to the annotator of an input task, and what it was worked out from."""

    __tablename__ = "proposal"

    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    #: a digest of everything the proposal depends on
    basis: Mapped[str] = mapped_column(String(64))
    #: as Label Studio's /predict wants it
    prediction: Mapped[dict[str, Any]]


class SpecRow(Row):
    """One version of a study's spec."""

    __tablename__ = "spec"
    __table_args__ = (UniqueConstraint("study_id", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    version: Mapped[int]
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("spec.id"), default=None)
    state: Mapped[SpecState] = mapped_column(default=SpecState.RENDERING)
    digest: Mapped[str] = mapped_column(String(64))
    body: Mapped[dict[str, Any]]
    #: what changed against the parent, as sentences
    notes: Mapped[list[str]] = mapped_column(default=list)
    #: what the engine found when it fitted, as sentences
    findings: Mapped[list[str]] = mapped_column(default=list)
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    decided_by: Mapped[str | None] = mapped_column(String(200), default=None)
    decided_at: Mapped[datetime | None] = mapped_column(default=None)


class BatchRow(Row):
    """What is rendered together: a preview round or a generation run, samples ``first`` to ``first + count - 1``."""

    __tablename__ = "batch"
    __table_args__ = (UniqueConstraint("study_id", "kind", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    spec_id: Mapped[int] = mapped_column(ForeignKey("spec.id"), index=True)
    kind: Mapped[BatchKind]
    number: Mapped[int]
    name: Mapped[str] = mapped_column(String(200), default="")
    note: Mapped[str] = mapped_column(String(2000), default="")
    first: Mapped[int]
    count: Mapped[int]
    state: Mapped[WorkState] = mapped_column(default=WorkState.RUNNING)
    sheet: Mapped[str | None] = mapped_column(String(64), default=None)
    #: what is done for it at the moment, or what it waits for: a fit can take minutes, and so can a sample
    status_text: Mapped[str] = mapped_column(String(200), default="", server_default="")
    #: when what waits for an outage is tried again, as ``doing`` says
    retry_at: Mapped[datetime | None] = mapped_column(default=None)
    #: how much of a fit is done, 0 to 1; 0 when none is under way
    fit_progress: Mapped[float] = mapped_column(default=0.0, server_default="0")
    #: what the engine warned of while it was rendered, as sentences
    warnings: Mapped[list[str]] = mapped_column(default=list, server_default="[]")
    problem: Mapped[str] = mapped_column(String(1000), default="")
    requested_by: Mapped[str] = mapped_column(String(200))
    requested_at: Mapped[datetime] = mapped_column(default=now)
    rendered_at: Mapped[datetime | None] = mapped_column(default=None)
    published_at: Mapped[datetime | None] = mapped_column(default=None)

    spec: Mapped[SpecRow] = relationship()
    study: Mapped[StudyRow] = relationship()


class ShardRow(Leased, Row):
    """A part of a batch that one job renders: samples ``start`` to ``stop - 1``."""

    __tablename__ = "shard"
    __table_args__ = (
        UniqueConstraint("batch_id", "start"),
        Index("shard_by_state", "state", "due_at"),
        Index("shard_of_batch", "batch_id", "state"),
        Index("shard_by_publication", "batch_id", "published_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"))
    start: Mapped[int]
    stop: Mapped[int]
    #: how many of its samples its worker has made so far; they become rows all at once
    rendered_count: Mapped[int] = mapped_column(default=0, server_default="0")
    #: its samples are in the store and in their rows
    rendered_at: Mapped[datetime | None] = mapped_column(default=None)
    #: how long that took, the engine's fit not counted
    seconds: Mapped[float | None] = mapped_column(default=None)
    #: its samples are tasks in Label Studio
    published_at: Mapped[datetime | None] = mapped_column(default=None)

    batch: Mapped[BatchRow] = relationship()


class SampleRow(Row):
    """One synthesized image: its objects in the image store, its labels, where it comes from, its task."""

    __tablename__ = "sample"
    __table_args__ = (UniqueConstraint("batch_id", "index"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(120), unique=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"))
    shard_id: Mapped[int] = mapped_column(ForeignKey("shard.id"), index=True)
    index: Mapped[int]
    body: Mapped[dict[str, Any]]
    #: None once its shard is published: somebody deleted the task
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the study's count when its verdicts were last found changed: a reading begun before that is outdated
    verdict_change: Mapped[int] = mapped_column(default=0)

    batch: Mapped[BatchRow] = relationship()


class VerdictRow(Row):
    """One reviewer's answer to one sample, as Label Studio holds it now.

    Its sample is part of its key: Label Studio gives numbers of deleted annotations out again (where it imports into
    SQLite; everywhere after a restore), and a verdict that a decision stands on outlives its annotation.
    """

    __tablename__ = "verdict"
    __table_args__ = (Index("verdict_by_original", "sample_id", "copy_of", "annotation_id"),)

    annotation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sample_id: Mapped[int] = mapped_column(ForeignKey("sample.id"), primary_key=True, index=True)
    #: the task it was said on: people copy tasks, so a sample may have several. 0: one that was lost with its project;
    #: None: the sample's own, where a version wrote it that knew no others
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the annotation it is an untouched copy of; it counts only where that one does not
    copy_of: Mapped[int | None] = mapped_column(BigInteger, default=None)
    opinion: Mapped[Opinion]
    reasons: Mapped[list[str]] = mapped_column(default=list)
    comment: Mapped[str] = mapped_column(String(4000), default="")
    reviewer: Mapped[str] = mapped_column(String(200))
    #: came after the decision about its round: kept, but nothing was built on it
    late: Mapped[bool] = mapped_column(default=False)
    #: counts as it was given, and was changed or deleted after the decision about its round
    changed_late: Mapped[bool] = mapped_column(default=False, server_default=false())
    updated_at: Mapped[str] = mapped_column(String(40))


class DecisionRow(Row):
    """One decision point: a task at the Decisions desk, and what was answered."""

    __tablename__ = "decision"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    number: Mapped[int]
    #: the round or run it shows; None for the first, which shows the inputs
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), default=None)
    #: what the answer set going, whose progress it shows from then on
    started_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), default=None)
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the form as last acted on, so that the same answer seen twice is acted on once
    answer: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    action: Mapped[str | None] = mapped_column(String(20), default=None)
    answered_by: Mapped[str | None] = mapped_column(String(200), default=None)
    answered_at: Mapped[datetime | None] = mapped_column(default=None)
    #: why the last answer was not acted on, as a sentence
    problem: Mapped[str] = mapped_column(String(1000), default="")

    study: Mapped[StudyRow] = relationship()
    batch: Mapped[BatchRow | None] = relationship(foreign_keys=[batch_id])
    started: Mapped[BatchRow | None] = relationship(foreign_keys=[started_id])


class InboxRow(Leased, Row):
    """One event from Label Studio, unique by what happened."""

    __tablename__ = "inbox"
    __table_args__ = (Index("inbox_by_state", "state", "due_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(200), unique=True)
    action: Mapped[str] = mapped_column(String(40))
    project_id: Mapped[int | None] = mapped_column(BigInteger, default=None)
    task_ids: Mapped[list[int]] = mapped_column(default=list)
    annotation_ids: Mapped[list[int]] = mapped_column(default=list)
    received_at: Mapped[datetime] = mapped_column(default=now)
    handled_at: Mapped[datetime | None] = mapped_column(default=None)


class OutboxRow(Leased, Row):
    """Something Label Studio must be told; what exactly is read from the other rows when it is told."""

    __tablename__ = "outbox"
    __table_args__ = (UniqueConstraint("kind", "subject_id"), Index("outbox_by_state", "state", "due_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    kind: Mapped[OutboxKind]
    subject_id: Mapped[int] = mapped_column(BigInteger)
    #: counts the changes; done means done for the revision that was told
    revision: Mapped[int] = mapped_column(default=1)
    told_at: Mapped[datetime | None] = mapped_column(default=None)


class CounterRow(Row):
    """How often something happened, for figures."""

    __tablename__ = "counter"

    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger)


class SharedSecretRow(Row):
    """Fingerprint of a value that all processes of an installation must share; see ``store.fingerprints``."""

    __tablename__ = "shared_secret"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64), primary_key=True)
    salt: Mapped[str] = mapped_column(String(32), default="")
    #: the newest of the accepted values; the others stem from before the last change
    is_current: Mapped[bool] = mapped_column(default=True)
    #: an earlier release sent it in webhooks' headers, where every member of Label Studio reads it
    exposed: Mapped[bool] = mapped_column(default=False, server_default=false())
    registered_at: Mapped[datetime] = mapped_column(default=now)


class AuditRow(Row):
    """One line of what was decided by whom; it outlives the study, and so names it instead of pointing at it."""

    __tablename__ = "audit"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[datetime] = mapped_column(default=now)
    study: Mapped[str] = mapped_column(String(200), index=True)
    who: Mapped[str] = mapped_column(String(200))
    what: Mapped[str] = mapped_column(String(1000))
