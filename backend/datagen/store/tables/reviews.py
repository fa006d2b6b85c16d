"""Tables of people's answers: verdicts on samples, and decisions."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column, relationship

from datagen.domain.verdict import Opinion
from datagen.store.tables.base import Row
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.studies import StudyRow


class VerdictRow(Row):
    """One reviewer's verdict on one sample, as last read from Label Studio.

    The key includes the sample, because a verdict may outlast its annotation: if a decision is based on the verdict, it
    is kept after the annotation is deleted. Label Studio may then give the annotation's id to another one. It does so
    after imports into SQLite, and on any database after a restore.
    """

    __tablename__ = "verdict"
    __table_args__ = (Index("verdict_by_original", "sample_id", "copy_of", "annotation_id"),)

    annotation_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    sample_id: Mapped[int] = mapped_column(ForeignKey("sample.id"), primary_key=True, index=True)
    #: the task of the annotation. It need not be the sample's own task, because people can copy tasks. 0: the task was
    #: lost with its project. None, in rows of early versions: the sample's own task
    task_id: Mapped[int | None] = mapped_column(BigInteger, default=None, index=True)
    #: the id of the original annotation if this one is its unchanged copy. The copy counts only if the original does
    #: not
    copy_of: Mapped[int | None] = mapped_column(BigInteger, default=None)
    opinion: Mapped[Opinion]
    reasons: Mapped[list[str]] = mapped_column(default=list)
    comment: Mapped[str] = mapped_column(String(4000), default="")
    #: the outlines that the reviewer drew or moved, each as ``label`` and ``points`` in pixels of the image
    outlines: Mapped[list[dict[str, Any]]] = mapped_column(default=list, server_default="[]")
    #: numbers of the sample's outlines, of all instances in order, that the reviewer left as shown; only if
    #: ``outlines`` holds any
    kept_outlines: Mapped[list[int]] = mapped_column(default=list, server_default="[]")
    reviewer: Mapped[str] = mapped_column(String(200))
    #: whether the verdict was given after the decision about its round. It is stored but does not count
    late: Mapped[bool] = mapped_column(default=False)
    #: whether the annotation was changed or deleted after the decision about its round. The row keeps the verdict as it
    #: was before, and that one counts
    changed_late: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: when the annotation was last changed or deleted, in Label Studio's format
    updated_at: Mapped[str] = mapped_column(String(40))
    #: the same, but of one that was changed late, when it was last changed before the decision
    given_at: Mapped[str] = mapped_column(String(40), default="", server_default="")


class DecisionRow(Row):
    """One decision point: a point at which the study waits for a person. It is a task of the Decisions project."""

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
    #: id of an annotation that was handled → time of its update. The same answer is therefore handled only once
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
