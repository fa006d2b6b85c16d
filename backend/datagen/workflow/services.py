"""The external services that the workflow uses, passed in as one object; and the unit of work.

This module reads no settings and does not depend on RQ: the caller builds ``Services`` and passes in ``enqueue``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.channels.channels import Channels
from datagen.domain.decision import MAX_IMAGES
from datagen.domain.foreign_text import plain
from datagen.domain.spec import Json
from datagen.errors import NotReady, Refused
from datagen.imaging.decoder_sandbox import DecoderSandbox
from datagen.label_studio.api.port import LabelStudioPort
from datagen.store import leases
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.download_files import DownloadFiles
from datagen.store.signed_urls import SignedUrls
from datagen.store.tables.base import OutboxKind
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.studies import StudyRow
from datagen.synthesis.engine import EngineSettings

#: Key of the lock that an import into Label Studio holds, so that imports take turns; arbitrary, but the same in every
#: release.
IMPORT_LOCK = 7_301_929
#: Seconds for which an import waits for its turn. Then it begins in spite of another import, and may have to be
#: repeated.
IMPORT_WAIT_SECONDS = 30.0
#: Key of the lock under which a study gets its name, and the seconds for which a process waits for it.
NAMES_LOCK, NAMES_WAIT_SECONDS = 7_301_928, 60.0


class JobKind(StrEnum):
    """The kind of a job, by the reason for which the job is enqueued."""

    EVENT = "event"  #: an inbox row is pending
    INPUTS = "inputs"  #: a study's inputs changed
    PROPOSALS = "proposals"  #: a study's inputs were read, so proposals may be due
    PREVIEW_SHARD = "preview_shard"  #: a shard of a round, an audit or a run's first images is pending: people wait
    SHARD = "shard"  #: a further shard of a run is pending
    GPU_SHARD = "gpu_shard"  #: a shard is pending whose engine needs a GPU
    OUTBOX = "outbox"  #: an outbox row is pending for which people wait
    UPKEEP = "upkeep"  #: an outbox row is pending that changes existing tasks, for which no person waits
    NOTIFICATION = "notification"  #: a delivery of a notification is pending
    HANDOVER = "handover"  #: a handover is pending


#: The kinds of outbox rows whose jobs are of the kind ``JobKind.UPKEEP``. Each may take many requests.
UPKEEP_KINDS = frozenset({OutboxKind.REVIEW_TASKS, OutboxKind.PROPOSAL})


def outbox_job_kind(kind: OutboxKind) -> JobKind:
    """Return the kind of the jobs that publish outbox rows of this kind."""
    return JobKind.UPKEEP if kind in UPKEEP_KINDS else JobKind.OUTBOX


class JobRequest(NamedTuple):
    """A job to enqueue: its kind and the id of its row. If the job is lost, the work on the row is only delayed."""

    job_kind: JobKind
    row_id: int


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest input picture that is accepted: its bytes, and its pixels."""

    image_bytes: int
    image_pixels: int


@dataclass(frozen=True, kw_only=True)
class Services:
    """All external services and settings that the workflow uses."""

    database: Database
    images: BlobStore
    #: the zips of downloads
    download_files: DownloadFiles
    #: decodes pictures that come from outside: on import, and whenever their pixels are needed
    decoder: DecoderSandbox
    label_studio: LabelStudioPort
    links: SignedUrls
    limits: Limits
    enqueue: Callable[[Sequence[JobRequest]], None]
    #: the channels that notifications are sent through
    channels: Channels = field(default_factory=Channels)
    #: address at which browsers reach the web process, for links in notifications, without a trailing slash
    own_url: str = ""
    #: number of samples that one job renders
    shard_size: int
    #: number of samples of an audit for which no number is given
    audit_size: int = 22
    #: number of spot checks in each shard of a run whose approval stated a promise
    spot_checks: int = 0
    #: largest number of images of one generation run
    max_run_images: int = MAX_IMAGES
    #: parameters from the settings, for all engines together; each engine takes those that it declares
    engine_parameters: Mapping[str, Json] = field(default_factory=dict)
    #: the settings that every engine is created with
    engine_settings: EngineSettings = field(default_factory=EngineSettings)
    #: returns the problems that prevent rendering with an engine and parameters; called before work is queued
    engine_problems: Callable[[str, Mapping[str, Json]], Sequence[str]] = lambda _engine, _parameters: ()
    #: duration of a lease: a worker that did not renew it for this long is considered dead, and another may claim the
    #: row
    lease_seconds: float
    #: longest wait of a round or run for an image store or another service that is unavailable; then it is given up
    outage_patience: timedelta = timedelta(hours=24)

    @contextmanager
    def unit(self) -> Iterator[UnitOfWork]:
        """Context manager that runs one transaction, and enqueues its jobs after it commits."""
        with self.database.write() as session:
            unit = UnitOfWork(session=session)
            yield unit
        if unit.job_requests:
            self.enqueue(unit.job_requests)

    def import_turn(self) -> AbstractContextManager[bool]:
        """Return a context manager that waits until no other process imports tasks into Label Studio.

        If two imports overlap, Label Studio on SQLite may find its database locked, and then loses labels (see
        ``ensure_tasks``). After ``IMPORT_WAIT_SECONDS`` the block is entered in spite of another import. Publications
        wait for less time; see ``outbox.import_turn``.
        """
        return self.database.one_at_a_time(IMPORT_LOCK, IMPORT_WAIT_SECONDS)

    @contextmanager
    def names_turn(self) -> Iterator[None]:
        """Context manager that waits until no other process creates or renames a study.

        The name is checked, the projects in Label Studio are created under it, and then the row is written. Two
        processes at once would create the projects of one name twice.

        Raises:
            NotReady: another process has taken too long.
        """
        with self.database.one_at_a_time(NAMES_LOCK, NAMES_WAIT_SECONDS) as is_alone:
            if not is_alone:
                raise NotReady("another study is being created or renamed at this moment; try again in a minute")
            yield


#: The lock mode of rows. While a row is locked, rows that refer to it may still be written. PostgreSQL's default lock
#: mode does not allow this.
LOCK: dict[str, Any] = {"key_share": True}


@dataclass(kw_only=True)
class UnitOfWork:
    """One transaction and the jobs to enqueue after it commits.

    Locks are taken in the order study, batch, shard, outbox row, so that no two transactions deadlock. A transaction
    omits the locks that it does not need.
    """

    session: Session
    _job_requests: dict[JobRequest, None] = field(default_factory=dict)

    @property
    def job_requests(self) -> list[JobRequest]:
        """The jobs to enqueue, in order and without duplicates."""
        return list(self._job_requests)

    def enqueue_after_commit(self, job_kind: JobKind, row_id: int) -> None:
        """Enqueue the job after the transaction commits."""
        self._job_requests[JobRequest(job_kind, row_id)] = None

    def lock_study(self, study_id: int) -> StudyRow:
        """Return the study, locked until the transaction ends. The lock makes decisions about one study take turns.

        Raises:
            Refused: the study does not exist any more.
        """
        study = self.session.get(StudyRow, study_id, with_for_update=LOCK, populate_existing=True)
        if study is None:
            raise Refused("the study is not there any more")
        return study

    def add_to_outbox(self, study_id: int, kind: OutboxKind, subject_id: int) -> None:
        """Add an outbox row, so that a change is published to Label Studio.

        Further changes of the same subject before its publication share the row.
        """
        row = self.session.scalar(
            select(OutboxRow).where(OutboxRow.kind == kind, OutboxRow.subject_id == subject_id).with_for_update()
        )
        if row is None:
            row = OutboxRow(study_id=study_id, kind=kind, subject_id=subject_id)
            self.session.add(row)
            self.session.flush()
        else:
            row.revision += 1
            leases.request(row)  # a running worker sees the newer revision at its end and repeats it
        self.enqueue_after_commit(outbox_job_kind(kind), row.id)

    def note(self, study: StudyRow, who: str, action: str) -> None:
        """Add a line to the audit log: the person and the decision."""
        self.session.add(AuditRow(study=study.name, who=who, what=action[:1000]))


#: The id of a study, or its name as a person gave it. Work that follows a check of what a person may do takes the id:
#: meanwhile the study may be renamed, and another one may get its name.
StudyKey = int | str


def find_study(session: Session, key: StudyKey) -> StudyRow:
    """Return the study of that id or name.

    Raises:
        Refused: there is no such study; the message lists the existing ones if a name is given.
    """
    if isinstance(key, int):
        row = session.get(StudyRow, key)
        if row is None:
            raise Refused("the study is not there any more")
        return row
    name = key
    study = session.scalar(select(StudyRow).where(StudyRow.name == plain(name)))
    if study is None:
        names = session.scalars(select(StudyRow.name).order_by(StudyRow.name)).all()
        raise Refused(f"there is no study named {name!r}; there are: {', '.join(names) or 'none yet'}")
    return study
