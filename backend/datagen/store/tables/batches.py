"""Tables of spec versions, preview rounds and generation runs, their shards and samples."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datagen.domain.lifecycle import SpecState
from datagen.store.tables.base import BatchKind, FitPictureKind, LeasedRow, Row, WorkState, now
from datagen.store.tables.studies import StudyRow


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


class FitPictureRow(Row):
    """What a version's fit learned about one of its inputs, as a translucent picture to lay over that of the input."""

    __tablename__ = "fit_picture"
    __table_args__ = (Index("fit_picture_of_input", "spec_id", "kind", "picture"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    spec_id: Mapped[int] = mapped_column(ForeignKey("spec.id"))
    kind: Mapped[FitPictureKind]
    #: digest of the input's picture
    picture: Mapped[str] = mapped_column(String(64))
    #: the labels that it is about
    labels: Mapped[list[str]]
    #: digest of the translucent picture in the image store
    overlay: Mapped[str] = mapped_column(String(64))


def _count_of(context: DefaultExecutionContext) -> int:
    """Return the count of the batch that is inserted."""
    return int(context.get_current_parameters()["count"])  # type: ignore[no-untyped-call]


class BatchRow(Row):
    """A preview round, an audit or a generation run, with ``count`` samples.

    Place p of it has the sample of index ``first + p``; if the critic rejects that one, the first that it does not
    reject of ``first + p + stride``, ``first + p + 2 * stride`` and so on, below ``first + reserved``. Spot checks are
    a batch of their own, with copies of a few samples of their run, and so are rejected candidates.
    """

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
    #: distance of the indices of a place's candidates, at least ``count``; see ``workflow.rejection``
    stride: Mapped[int] = mapped_column(default=_count_of, server_default="0")
    #: number of indices from ``first`` that belong to the batch, a multiple of ``stride``
    reserved: Mapped[int] = mapped_column(default=_count_of, server_default="0")
    state: Mapped[WorkState] = mapped_column(default=WorkState.RUNNING)
    sheet: Mapped[str | None] = mapped_column(String(64), default=None)
    #: the current activity, or the reason for waiting. People need it because a fit or a sample can take minutes
    status_text: Mapped[str] = mapped_column(String(200), default="", server_default="")
    #: the time of the next attempt if the batch waits for an outage; ``status_text`` shows it
    retry_at: Mapped[datetime | None] = mapped_column(default=None)
    #: progress of the current fit, 0 to 1; 0 if no fit is in progress
    fit_progress: Mapped[float] = mapped_column(default=0.0, server_default="0")
    #: the engine's warnings during rendering, as sentences
    warnings: Mapped[list[str]] = mapped_column(default=list, server_default="[]")
    #: why it failed, was cancelled or paused; of spot checks: the alarm that they raised, which they raise once
    problem: Mapped[str] = mapped_column(String(1000), default="")
    #: of a paused run: the person who paused it; None: its spot checks did
    paused_by: Mapped[str | None] = mapped_column(String(200), default=None)
    #: of a paused run: since when
    paused_at: Mapped[datetime | None] = mapped_column(default=None)
    #: of a run: what the audits of its version promised when it was approved; None: there was no audit
    promise: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    #: of a run or an audit whose version rejects samples: the counts of ``workflow.rejection.Rejections``
    rejections: Mapped[dict[str, Any] | None] = mapped_column(default=None)
    requested_by: Mapped[str] = mapped_column(String(200))
    requested_at: Mapped[datetime] = mapped_column(default=now)
    rendered_at: Mapped[datetime | None] = mapped_column(default=None)
    published_at: Mapped[datetime | None] = mapped_column(default=None)

    spec: Mapped[SpecRow] = relationship()
    study: Mapped[StudyRow] = relationship()


class ShardRow(LeasedRow):
    """A part of a batch that one job renders: the places whose first candidates are ``start`` to ``stop - 1``."""

    __tablename__ = "shard"
    __table_args__ = (
        UniqueConstraint("batch_id", "start"),
        Index("shard_by_state", "state", "due_at"),
        Index("shard_of_batch", "batch_id", "state"),
        Index("shard_by_publication", "batch_id", "published_at"),
    )

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"))
    start: Mapped[int]
    stop: Mapped[int]
    #: number of samples rendered so far; their rows are written together at the end
    rendered_count: Mapped[int] = mapped_column(default=0, server_default="0")
    #: when its samples were all stored, in the image store and as rows
    rendered_at: Mapped[datetime | None] = mapped_column(default=None)
    #: seconds that the rendering took, without the engine's fit
    seconds: Mapped[float | None] = mapped_column(default=None)
    #: when its samples were all published as tasks in Label Studio
    published_at: Mapped[datetime | None] = mapped_column(default=None)
    #: the name of the batch that its tasks belong to in Label Studio, if that is no name of the batch; else empty
    task_batch: Mapped[str] = mapped_column(String(80), default="", server_default="")

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
    #: the id of its task; None before its shard is published, and after a person deleted the task
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the study's ``verdict_changes`` when a change of this sample's verdicts was last detected. A reading of its task
    #: that began before is outdated
    verdict_change: Mapped[int] = mapped_column(default=0)

    batch: Mapped[BatchRow] = relationship()


class SampleFactsRow(Row):
    """The values by which a sample of a run is searched and sorted: a narrow copy of parts of its ``SampleRow.body``.

    A page about 100,000 samples reads all of these rows of a run, which are 50 times smaller than the samples'.
    """

    __tablename__ = "sample_facts"
    __table_args__ = (
        Index("sample_facts_by_size", "batch_id", "size", "index"),
        Index("sample_facts_by_instances", "batch_id", "instances", "index"),
    )

    batch_id: Mapped[int] = mapped_column(ForeignKey("batch.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    #: number of instances, and the longer side of the largest box in pixels; 0 without instances
    instances: Mapped[int]
    size: Mapped[int]
    #: a bit for each ninth of the image with the centre of a box, in the order of ``export.selection.Place``
    places: Mapped[int]
    #: labels, and the first digits of the digests of the concepts' photos: each between two line feeds
    labels: Mapped[str] = mapped_column(Text)
    concepts: Mapped[str] = mapped_column(Text)
    background: Mapped[str] = mapped_column(Text)
