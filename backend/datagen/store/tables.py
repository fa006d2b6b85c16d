"""The tables. Rows are the source of truth; a queued job only triggers work on a row."""

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
    """State of a unit of work: an inbox event, a shard, an outbox entry or a batch."""

    PENDING = "pending"  #: not started
    RUNNING = "running"  #: a process works on it until the lease expires
    DONE = "done"  #: finished
    FAILED = "failed"  #: not retried any more; the row contains the reason
    CANCELLED = "cancelled"  #: no longer needed


class BatchKind(StrEnum):
    """Purpose of a batch of samples."""

    ROUND = "round"  #: a preview round for review
    RUN = "run"  #: a generation run for the dataset


class OutboxKind(StrEnum):
    """Kind of a change that has to be published to Label Studio."""

    SAMPLES = "samples"  #: the samples of a shard, as review or dataset tasks
    DECISION = "decision"  #: a decision point, as a task
    TABS = "tabs"  #: the saved tabs of a preview round
    REVIEW_TASKS = "review_tasks"  #: the verdicts in a round's task list, and the tasks without a verdict
    PROPOSAL = "proposal"  #: the proposal for an input task, which may still show an older one


def _enumeration_column(kind: type[StrEnum]) -> Enum:
    """Return a type that stores an enumeration's value as text: readable, and new values need no migration."""
    return Enum(
        kind, native_enum=False, create_constraint=False, length=20, values_callable=lambda e: [m.value for m in e]
    )


#: every enumeration that is the type of a column
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
_COLUMN_TYPES |= {kind: _enumeration_column(kind) for kind in _ENUMERATIONS}


class Row(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map = _COLUMN_TYPES


class Leased:
    """Columns of work that one process at a time does under a lease.

    ``token`` is the fencing token: a process that lost the lease finds another token and must not write its result.
    """

    state: Mapped[WorkState] = mapped_column(default=WorkState.PENDING)
    attempts: Mapped[int] = mapped_column(default=0)
    token: Mapped[str | None] = mapped_column(String(32), default=None)
    #: running: when the lease expires; pending: the earliest time of the next attempt
    due_at: Mapped[datetime] = mapped_column(default=now)
    #: number of attempts that ended because another service was unavailable
    waits: Mapped[int] = mapped_column(default=0, server_default="0")
    #: when the first of them ended
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
    #: number of events that announced changes of inputs
    inputs_changed: Mapped[int] = mapped_column(default=1)
    #: ``inputs_changed`` at the last reading of the inputs: they are read again once the two differ
    inputs_read: Mapped[int] = mapped_column(default=0)
    #: ``inputs_changed`` at the start of the newest reading that wrote rows; an older reading may not write after it
    inputs_reading: Mapped[int] = mapped_column(default=0, server_default="0")
    #: number of times that the reading of inputs was postponed, its next time, and its reason; see ``workflow.outages``
    inputs_waits: Mapped[int] = mapped_column(default=0, server_default="0")
    inputs_due_at: Mapped[datetime | None] = mapped_column(default=None)
    waits_for: Mapped[str] = mapped_column(String(300), default="", server_default="")
    #: when postponed proposals are computed; None: no proposals are postponed
    proposals_due_at: Mapped[datetime | None] = mapped_column(default=None)
    #: number of times that changes of verdicts were detected
    verdict_changes: Mapped[int] = mapped_column(default=0)
    #: largest run that needs no confirmation, in images; None: the product's default
    confirm_above: Mapped[int | None] = mapped_column(default=None)
    #: smallest shares of judged and of good samples for an approval without confirmation; None: see ``study_options``
    least_judged: Mapped[float | None] = mapped_column(default=None)
    least_good: Mapped[float | None] = mapped_column(default=None)
    #: largest run whose labels are also published as annotations, in images; None: see ``study_options``
    annotate_up_to: Mapped[int | None] = mapped_column(default=None)
    created_at: Mapped[datetime] = mapped_column(default=now)
    #: salt of its webhooks' secret; empty: the webhooks contain the secret that all studies share
    webhook_salt: Mapped[str] = mapped_column(String(32), default="", server_default="")
    #: the previous salt, accepted until every webhook has the new secret; None if no change is in progress
    webhook_salt_previous: Mapped[str | None] = mapped_column(String(32), default=None)

    projects: Mapped[list[ProjectRow]] = relationship(back_populates="study")


class ProjectRow(Row):
    """One Label Studio project of a study."""

    __tablename__ = "project"

    project_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    kind: Mapped[ProjectKind]
    #: the newest ``updated_at`` of its tasks that the reconciler has read, in Label Studio's format
    seen_until: Mapped[str] = mapped_column(String(40), default="")
    #: digest of the changes that the reconciler read close before that, to recognize them; empty once all are old
    seen: Mapped[str] = mapped_column(String(64), default="unknown", server_default="unknown")
    #: counts of the project at the reconciler's last look
    counted: Mapped[str] = mapped_column(String(100), default="", server_default="")
    #: number of tasks when all of them were last read
    tasks: Mapped[int | None] = mapped_column(default=None)
    looked_at: Mapped[datetime | None] = mapped_column(default=None)
    #: why all or part of the project cannot be read, as a sentence; empty if it can
    problem: Mapped[str] = mapped_column(String(1000), default="", server_default="")
    #: ids of tasks that Label Studio fails to return
    unreadable: Mapped[list[int]] = mapped_column(default=list, server_default="[]")
    #: fingerprint of the password last written to its ML-backend connection; empty: none was written
    login: Mapped[str] = mapped_column(String(64), default="", server_default="")

    study: Mapped[StudyRow] = relationship(back_populates="projects")


class InputRow(Row):
    """One input task as last read from Label Studio: its picture, its regions, and its problems."""

    __tablename__ = "input"

    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    role: Mapped[Role]
    name: Mapped[str] = mapped_column(String(500))
    url: Mapped[str] = mapped_column(String(2000))
    #: digest of the picture in the image store; None if the picture is unusable
    digest: Mapped[str | None] = mapped_column(String(64), default=None)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    #: whether the task has an answer: a region or a choice of an annotator
    answered: Mapped[bool] = mapped_column(default=False)
    #: when it was answered, in Label Studio's format; empty if it was not
    updated_at: Mapped[str] = mapped_column(String(40), default="")
    #: the annotation with the answer; None if there is none, and in rows of versions before 0008
    annotation_id: Mapped[int | None] = mapped_column(BigInteger, default=None)
    #: the annotation's result in Label Studio's format, in rows of versions before 0008; empty in others
    result: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    #: the result as domain values, with the sentences about its unusable parts, as JSON (see ``parsed_results``);
    #: computed before the row is written. None if it has to be computed from ``result``, or if there is no picture
    parsed: Mapped[str | None] = mapped_column(Text, default=None)
    #: why the picture is unusable; empty if it is usable
    problem: Mapped[str] = mapped_column(String(1000), default="")


class FetchedPictureRow(Row):
    """Result of fetching a picture from an address in a study's tasks: the picture, or the problem."""

    __tablename__ = "fetched_picture"

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    #: SHA-256 (hex) of the address, which may be too long for an index
    address: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: digest of the picture in the image store; None if the picture is unusable
    digest: Mapped[str | None] = mapped_column(String(64), default=None)
    width: Mapped[int] = mapped_column(default=0)
    height: Mapped[int] = mapped_column(default=0)
    #: why the picture is unusable; empty if it is usable
    problem: Mapped[str] = mapped_column(String(1000), default="")
    #: SHA-256 (hex) of the unusable bytes; None if none were received
    content: Mapped[str | None] = mapped_column(String(64), default=None)
    #: the settings of the attempt: under other settings the picture is fetched again
    conditions: Mapped[str] = mapped_column(String(300))
    #: number of failed attempts
    attempts: Mapped[int] = mapped_column(default=0)
    #: time of the next attempt; None: no attempt until the address or the settings change
    retry_at: Mapped[datetime | None] = mapped_column(default=None, index=True)


class ProposalRow(Row):
    """The proposal for the annotator of an input task, and the digest of its inputs."""

    __tablename__ = "proposal"

    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    #: digest of everything that the proposal depends on
    basis: Mapped[str] = mapped_column(String(64))
    #: in the format of an answer to Label Studio's /predict
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
    #: changes from the parent, as sentences
    notes: Mapped[list[str]] = mapped_column(default=list)
    #: the engine's findings from its fit, as sentences
    findings: Mapped[list[str]] = mapped_column(default=list)
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    decided_by: Mapped[str | None] = mapped_column(String(200), default=None)
    decided_at: Mapped[datetime | None] = mapped_column(default=None)


class BatchRow(Row):
    """A preview round or a generation run, with the samples ``first`` to ``first + count - 1``."""

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
    #: the current activity, or the reason for waiting: a fit can take minutes, and so can a sample
    status_text: Mapped[str] = mapped_column(String(200), default="", server_default="")
    #: when work that an outage delays is retried, as ``status_text`` shows
    retry_at: Mapped[datetime | None] = mapped_column(default=None)
    #: progress of the current fit, 0 to 1; 0 if no fit is in progress
    fit_progress: Mapped[float] = mapped_column(default=0.0, server_default="0")
    #: the engine's warnings during rendering, as sentences
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
    #: number of samples rendered so far; their rows are written together at the end
    rendered_count: Mapped[int] = mapped_column(default=0, server_default="0")
    #: when its samples were in the image store and their rows were written
    rendered_at: Mapped[datetime | None] = mapped_column(default=None)
    #: seconds that the rendering took, without the engine's fit
    seconds: Mapped[float | None] = mapped_column(default=None)
    #: when its samples were tasks in Label Studio
    published_at: Mapped[datetime | None] = mapped_column(default=None)

    batch: Mapped[BatchRow] = relationship()


class SampleRow(Row):
    """One synthesized image: its objects in the image store, its labels, its provenance and its task."""

    __tablename__ = "sample"
    __table_args__ = (UniqueConstraint("batch_id", "index"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(120), unique=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"))
    shard_id: Mapped[int] = mapped_column(ForeignKey("shard.id"), index=True)
    index: Mapped[int]
    body: Mapped[dict[str, Any]]
    #: None after its shard was published: the task was deleted in Label Studio
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the study's ``verdict_changes`` when a change of its verdicts was last detected; a reading begun before is stale
    verdict_change: Mapped[int] = mapped_column(default=0)

    batch: Mapped[BatchRow] = relationship()


class VerdictRow(Row):
    """One reviewer's verdict on one sample, as last read from Label Studio.

    The key includes the sample, because Label Studio reuses ids of deleted annotations (after imports into SQLite, and
    on any database after a restore) and a verdict that a decision is based on is kept after the annotation is deleted.
    """

    __tablename__ = "verdict"
    __table_args__ = (Index("verdict_by_original", "sample_id", "copy_of", "annotation_id"),)

    annotation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sample_id: Mapped[int] = mapped_column(ForeignKey("sample.id"), primary_key=True, index=True)
    #: the task of the annotation; a sample may have several, because tasks can be copied. 0: a task that was lost with
    #: its project; None: the sample's own task, in rows of versions that supported no others
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the annotation of which it is an unchanged copy; it counts only if the original does not
    copy_of: Mapped[int | None] = mapped_column(BigInteger, default=None)
    opinion: Mapped[Opinion]
    reasons: Mapped[list[str]] = mapped_column(default=list)
    comment: Mapped[str] = mapped_column(String(4000), default="")
    #: the outlines that the reviewer drew or moved, each as ``label`` and ``points`` in pixels of the image
    outlines: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    reviewer: Mapped[str] = mapped_column(String(200))
    #: whether it was given after the decision about its round: it is stored but did not affect the decision
    late: Mapped[bool] = mapped_column(default=False)
    #: whether its annotation was changed or deleted after the decision about its round: the original verdict counts
    changed_late: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: when the annotation was last changed, in Label Studio's format; of one that was changed late, when that was
    updated_at: Mapped[str] = mapped_column(String(40))


class DecisionRow(Row):
    """One decision point: a task of the Decisions project, and its answer."""

    __tablename__ = "decision"
    __table_args__ = (UniqueConstraint("study_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"))
    number: Mapped[int]
    #: the round or run that it shows; None for the first decision, which shows the inputs
    batch_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), default=None)
    #: the round or run that the answer started; the decision then shows its progress
    started_id: Mapped[int | None] = mapped_column(ForeignKey("batch.id"), default=None)
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the form's answer that was last applied, so that the same answer is applied only once
    answer: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    action: Mapped[str | None] = mapped_column(String(20), default=None)
    answered_by: Mapped[str | None] = mapped_column(String(200), default=None)
    answered_at: Mapped[datetime | None] = mapped_column(default=None)
    #: the note that was given with the answer
    note: Mapped[str] = mapped_column(String(2000), default="", server_default="")
    #: why the last answer was not applied, as a sentence
    problem: Mapped[str] = mapped_column(String(1000), default="")

    study: Mapped[StudyRow] = relationship()
    batch: Mapped[BatchRow | None] = relationship(foreign_keys=[batch_id])
    started: Mapped[BatchRow | None] = relationship(foreign_keys=[started_id])


class InboxRow(Leased, Row):
    """One event from Label Studio, unique by its fingerprint."""

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
    """A change to publish to Label Studio; its content is read from the other rows when it is published."""

    __tablename__ = "outbox"
    __table_args__ = (UniqueConstraint("kind", "subject_id"), Index("outbox_by_state", "state", "due_at"))

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    kind: Mapped[OutboxKind]
    subject_id: Mapped[int] = mapped_column(BigInteger)
    #: number of changes; the state done refers to the revision that was published
    revision: Mapped[int] = mapped_column(default=1)
    told_at: Mapped[datetime | None] = mapped_column(default=None)


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
    #: whether it is the newest of the accepted values; the others precede the last change
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
