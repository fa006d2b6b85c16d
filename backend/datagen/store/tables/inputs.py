"""Tables of a study's inputs: tasks, fetched pictures, proposals, and the work on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from datagen.domain.inputs import Role
from datagen.store.tables.base import LeasedRow, Row


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
    #: the id of the annotation with the answer. None: there is no answer, or the row was written before migration 0008
    annotation_id: Mapped[int | None] = mapped_column(BigInteger, default=None)
    #: the annotation's result in Label Studio's format, in rows that were written before migration 0008; else empty
    result: Mapped[list[dict[str, Any]]] = mapped_column(default=list)
    #: the annotation's result as domain values, and sentences about its unusable parts, as JSON; see
    #: ``workflow.inputs.parsed_results``. None: it has to be parsed from ``result``, or there is no usable picture
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
    #: the settings during the attempt, as text. If they change, the picture is fetched again
    conditions: Mapped[str] = mapped_column(String(300))
    #: number of failed attempts
    attempts: Mapped[int] = mapped_column(default=0)
    #: time of the next attempt; None: no attempt until the address or the settings change
    retry_at: Mapped[datetime | None] = mapped_column(default=None, index=True)


class InputReadingRow(LeasedRow):
    """The work of reading a study's inputs. The row has the study's id, and is added with the first request."""

    __tablename__ = "input_reading"
    __table_args__ = (Index("input_reading_by_state", "state", "due_at"),)

    id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)


class ProposalMakingRow(LeasedRow):
    """The work of making a study's proposals. The row has the study's id, and is added with the first request."""

    __tablename__ = "proposal_making"
    __table_args__ = (Index("proposal_making_by_state", "state", "due_at"),)

    id: Mapped[int] = mapped_column(ForeignKey("study.id"), primary_key=True)
    #: number of requests. If it changes during the work, the work is repeated
    revision: Mapped[int] = mapped_column(default=1)


class ProposalRow(Row):
    """The proposal that an annotator sees on an input task."""

    __tablename__ = "proposal"

    task_id: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id"), index=True)
    #: digest of everything that the proposal depends on. If it changes, the proposal is outdated
    basis: Mapped[str] = mapped_column(String(64))
    #: the proposal as a prediction, in the format of a response to Label Studio's /predict
    prediction: Mapped[dict[str, Any]]
