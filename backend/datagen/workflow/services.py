"""What the workflow works with: the outside, handed in; and the unit of work.

Nothing here reads settings or knows RQ: ``jobs`` builds a Workshop and gives it a ``enqueue``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.decision import MOST_IMAGES
from datagen.domain.foreign_text import plain
from datagen.domain.spec import Json
from datagen.errors import Refused
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.label_studio.api.client import LabelStudio
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.leases import start_afresh
from datagen.store.signed_urls import SignedUrls
from datagen.store.tables import AuditRow, OutboxKind, OutboxRow, StudyRow, WorkState, now


class JobKind(StrEnum):
    """Whose door is knocked on: what kind of work became possible."""

    EVENT = "event"  #: an inbox row waits
    INPUTS = "inputs"  #: a study's inputs changed
    PROPOSALS = "proposals"  #: a study's inputs were read, so proposals may be due
    SHARD = "shard"  #: a shard waits
    GPU_SHARD = "gpu_shard"  #: a shard waits whose engine needs a GPU
    OUTBOX = "outbox"  #: an outbox row waits


class JobRequest(NamedTuple):
    """Work that became possible: the door and the row's id. Losing a knock delays, and loses nothing."""

    job_kind: JobKind
    row_id: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What an input picture may be."""

    image_bytes: int
    image_pixels: int


@dataclass(frozen=True, kw_only=True)
class Services:
    """Everything outside that the workflow touches."""

    database: Database
    images: BlobStore
    #: for every picture that came from outside, when it comes in and whenever its pixels are needed
    decoder: DecoderSandbox
    label_studio: LabelStudio
    links: SignedUrls
    limits: Limits
    enqueue: Callable[[Sequence[JobRequest]], None]
    #: samples one job renders
    shard_size: int
    #: images of the largest generation run
    max_run_images: int = MOST_IMAGES
    #: as they are set, for all engines together: each takes those that it has a name for
    engine_parameters: Mapping[str, Json] = field(default_factory=dict)
    #: what stands in the way of rendering with an engine and parameters, asked before work is queued
    engine_problems: Callable[[str, Mapping[str, Json]], Sequence[str]] = lambda _engine, _parameters: ()
    #: a worker that was not heard of for so long is taken for dead, and its work is free again
    lease_seconds: float
    #: a round or run that waits for an image store or another outage is given up after so long
    outage_patience: timedelta = timedelta(hours=24)

    @contextmanager
    def unit(self) -> Iterator[UnitOfWork]:
        """One transaction; what it makes possible is knocked for once it is committed."""
        with self.database.write() as session:
            unit = UnitOfWork(session=session)
            yield unit
        if unit.job_requests:
            self.enqueue(unit.job_requests)


#: How a row is locked: rows that refer to it may be written meanwhile, which PostgreSQL's plain lock does not allow.
LOCK: dict[str, Any] = {"key_share": True}


@dataclass(kw_only=True)
class UnitOfWork:
    """One transaction and the knocks that follow it.

    Locks are taken in the order study, batch, shard, outbox row, so that no two transactions wait for each other. A
    transaction leaves out those that it does not need.
    """

    session: Session
    _job_requests: dict[JobRequest, None] = field(default_factory=dict)

    @property
    def job_requests(self) -> list[JobRequest]:
        """What the transaction makes possible, each once, in order."""
        return list(self._job_requests)

    def enqueue_after_commit(self, job_kind: JobKind, row_id: int) -> None:
        """Knock once the transaction is committed."""
        self._job_requests[JobRequest(job_kind, row_id)] = None

    def lock_study(self, study_id: int) -> StudyRow:
        """The study, locked until the transaction ends: two decisions about it follow one another.

        Raises:
            Refused: it is not there any more.
        """
        study = self.session.get(StudyRow, study_id, with_for_update=LOCK, populate_existing=True)
        if study is None:
            raise Refused("the study is not there any more")
        return study

    def add_to_outbox(self, study_id: int, kind: OutboxKind, subject_id: int) -> None:
        """Have Label Studio told; a second change before the telling is told with the first."""
        row = self.session.scalar(
            select(OutboxRow).where(OutboxRow.kind == kind, OutboxRow.subject_id == subject_id).with_for_update()
        )
        if row is None:
            row = OutboxRow(study_id=study_id, kind=kind, subject_id=subject_id)
            self.session.add(row)
            self.session.flush()
        else:
            row.revision += 1
            if row.state != WorkState.RUNNING:  # who is telling finds the newer revision when done, and tells again
                row.state, row.due_at = WorkState.PENDING, now()
                start_afresh(row)
        self.enqueue_after_commit(JobKind.OUTBOX, row.id)

    def note(self, study: StudyRow, who: str, what: str) -> None:
        """Keep a line of what was decided by whom."""
        self.session.add(AuditRow(study=study.name, who=who, what=what[:1000]))


def find_study(session: Session, name: str) -> StudyRow:
    """The study of that name.

    Raises:
        Refused: there is none; the sentence lists those that are.
    """
    study = session.scalar(select(StudyRow).where(StudyRow.name == plain(name)))
    if study is None:
        names = session.scalars(select(StudyRow.name).order_by(StudyRow.name)).all()
        raise Refused(f"there is no study named {name!r}; there are: {', '.join(names) or 'none yet'}")
    return study
