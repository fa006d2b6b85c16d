"""A studio without servers: rows in SQLite, images and Label Studio in memory, and jobs run when a test says so.

It is for unit tests of workflow, whose ``conftest`` has the fixtures. It has the same methods as ``studio.Studio``, so
that a ``studio.Study`` works with either. Webhooks of Label Studio are stored in the inbox, as the web process does."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fsspec.implementations.memory import MemoryFileSystem
from sqlalchemy import create_engine, event, select, update
from sqlalchemy.orm import Session

from datagen.imaging import codec
from datagen.label_studio.api.in_memory import InMemoryLabelStudio
from datagen.label_studio.api.in_memory_server import Delivery
from datagen.label_studio.projects.provisioning import SECRET_HEADER, ServerAccess
from datagen.queue.jobs import ALL_QUEUES, ROW_JOBS, leased_tables
from datagen.queue.recovery import sweep
from datagen.store.blob_store import BlobStore
from datagen.store.database import Database
from datagen.store.download_files import DownloadFiles
from datagen.store.signed_urls import SignedUrls
from datagen.store.study_secrets import read_claim, study_secret
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.inputs import InputReadingRow
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import StudyRow
from datagen.web.inbox import record
from datagen.workflow.events import webhook_events
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.handovers.handover_job import hand_over
from datagen.workflow.inputs import input_jobs
from datagen.workflow.notifications import deliveries
from datagen.workflow.outbox import dispatcher
from datagen.workflow.services import JobKind, JobRequest, Limits, Services
from datagen.workflow.studies.open import open_study
from instant_engine import NAME as ENGINE
from studio import ROUND, SHARD, Study, good_inputs

OWN_URL = "http://datagen.test"
SECRET = "the webhooks' secret of these tests"
ACCESS = ServerAccess(url=OWN_URL, webhook_secret=SECRET, basic_user="datagen", basic_pass="a password")
UNFINISHED = (WorkState.PENDING, WorkState.RUNNING)
#: Number of waits after which ``settle`` fails.
MAX_WAITS = 20
#: File name of the database.
ROWS = "rows.sqlite3"
#: The URL of a studio's images, by a name of its own: a study that is deleted takes its images along.
IMAGES = "memory://{name}"
#: An engine whose dialect and compiled statements all databases of the tests share.
_SHARED = create_engine("sqlite://")
with _SHARED.connect():
    pass  # the dialect reads the version of SQLite when it first connects
LIMITS = Limits(image_bytes=10**7, image_pixels=10**6)


class PlainDecoder:
    """Decodes pictures in this process; its methods and limits are those of ``DecoderSandbox``."""

    def size_of(self, data: bytes) -> tuple[int, int]:
        height, width = self.decode(data).shape[:2]
        return width, height

    def decode(self, data: bytes) -> codec.Pixels:
        return codec.decode(data, max_bytes=LIMITS.image_bytes, max_pixels=LIMITS.image_pixels)


@dataclass
class JobQueue:
    """The queued job requests, each once, in the order of arrival."""

    waiting: dict[JobRequest, None] = field(default_factory=dict)

    def enqueue(self, job_requests: Sequence[JobRequest]) -> None:
        self.waiting |= dict.fromkeys(job_requests)

    def queued(self) -> set[JobRequest]:
        return set(self.waiting)

    def schedule(self, request: JobRequest) -> None:
        """Enqueue the job for a stored event at once; the web process does so a moment later."""
        self.enqueue([request])

    def take(self, queues: Sequence[str]) -> JobRequest | None:
        """Remove and return the next request of the first of these queues that has one; None if all are empty."""
        for queue in queues:
            for request in self.waiting:
                if ROW_JOBS[request.job_kind].queue == queue:
                    del self.waiting[request]
                    return request
        return None


@dataclass(kw_only=True)
class FakeStudio:
    """The parts of one installation, with methods for what people and workers do."""

    folder: Path
    services: Services
    client: InMemoryLabelStudio
    queue: JobQueue
    fitted_engines: FittedEngineCache
    #: whether webhooks of Label Studio arrive
    hears: bool = True

    @property
    def email(self) -> str:
        """The e-mail address of Label Studio's user."""
        return self.client.whoami()

    def close(self) -> None:
        """Close the database, and remove the images."""
        self.services.database.close()
        store = MemoryFileSystem.store
        for path in _objects_of(self.folder):
            del store[path]

    # people

    def open_study(self, *, inputs: bool = True, labels: Sequence[str] = ("pit",), preview_size: int = ROUND) -> Study:
        """Create a study for one test and return it; with ``inputs`` it has the minimum of each kind."""
        name = f"wf {uuid.uuid4().hex[:10]}"
        created = open_study(self.services, name, labels, ACCESS, engine=ENGINE, preview_size=preview_size)
        assert created.problems == []
        with self.rows() as session:
            study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == name)).one()
        study = Study(studio=self, id=study_id, name=name, projects=created.projects)  # type: ignore[arg-type]
        if inputs:
            for role, given in good_inputs().items():
                study.give(role, given)
        return study

    def addresses(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Upload files to Label Studio; return their addresses."""
        return self.client.upload(project_id, files)

    def export_tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The tasks in the form of Label Studio's JSON export."""
        return self.client.export_tasks(project_id, task_ids)

    def edit_annotation(self, annotation_id: int, **fields: Any) -> None:
        """Change fields of an annotation, as the editor does."""
        self.client.edit_annotation(annotation_id, **fields)

    def start_training(self, project_id: int) -> None:
        """Choose “Start Training” in the menu of a project."""
        self.client.start_training(project_id)

    # the web process

    def receive(self, delivery: Delivery) -> None:
        """Store the event of a webhook request."""
        if self.hears:
            claim = read_claim(delivery.headers.get(SECRET_HEADER, ""), [SECRET])
            record(self.services.database, self.queue, json.dumps(delivery.body).encode(), claim)

    def post_webhook(self, body: bytes, *, secret: str = SECRET) -> None:
        """Store an event that Label Studio did not send.

        By default it carries the secret that all studies shared in earlier versions.
        """
        record(self.services.database, self.queue, body, read_claim(secret, [SECRET]))

    def secret_of(self, study_id: int) -> str:
        """The secret in the header of a study's webhooks."""
        with self.rows() as session:
            return study_secret(SECRET, session.get_one(StudyRow, study_id).webhook_salt)

    # the worker

    def work(self, *queues: str) -> None:
        """Run all queued jobs, and those that they enqueue; if ``queues`` are given, run only jobs of these."""
        sweep(self.services.database, self.queue)
        while (request := self.queue.take(queues or ALL_QUEUES)) is not None:
            self._run(request)

    def settle(self) -> None:
        """Run jobs until nothing is left to do: no event, no shard, no outbox row. Delayed rows become due at once."""
        for _ in range(MAX_WAITS):
            self.work()
            if not self.unfinished():
                return
            self.pass_time()
        raise AssertionError(f"still to do after {MAX_WAITS} waits: {self._unfinished_rows()}")

    def pass_time(self) -> None:
        """Make every delayed row due, and every lease expired."""
        with self.services.database.write() as session:
            for kind in leased_tables().values():
                session.execute(update(kind).where(kind.state.in_(UNFINISHED)).values(due_at=now()))

    def _run(self, request: JobRequest) -> None:
        row_id, services = request.row_id, self.services
        match request.job_kind:
            case JobKind.EVENT:
                webhook_events.handle(services, row_id)
            case JobKind.INPUTS:
                input_jobs.read_inputs(services, row_id)
            case JobKind.SHARD | JobKind.PREVIEW_SHARD:
                render_shard(services, self.fitted_engines, row_id)
            case JobKind.PROPOSALS:
                input_jobs.make_proposals(services, self.fitted_engines, row_id)
            case JobKind.OUTBOX | JobKind.UPKEEP:
                dispatcher.dispatch(services, row_id)
            case JobKind.NOTIFICATION:
                deliveries.deliver(services, row_id)
            case JobKind.HANDOVER:
                hand_over(services, row_id)
            case _:
                raise AssertionError(request)

    def unfinished(self) -> int:
        """Return the number of rows that wait or are worked on."""
        return len(self._unfinished_rows())

    def _unfinished_rows(self) -> list[str]:
        with self.rows() as session:
            rows = [
                f"{kind.__tablename__} {row.id} {row.state} {row.error}"
                for kind in leased_tables().values()
                if kind is not InputReadingRow  # a read study's row may wait for the next attempt on a picture
                for row in session.scalars(select(kind).where(kind.state.in_(UNFINISHED)))
            ]
            unread = session.scalars(select(StudyRow.name).where(StudyRow.inputs_read != StudyRow.inputs_changed))
            return [*rows, *(f"inputs of {name}" for name in unread)]

    def lose_events(self) -> None:
        """Drop the events that wait, as if their webhooks had not arrived."""
        with self.services.database.write() as session:
            for event in session.scalars(select(InboxRow).where(InboxRow.state == WorkState.PENDING)):
                event.state = WorkState.CANCELLED
        self.queue.waiting.clear()

    def replay(self, event: InboxRow) -> None:
        """Handle an event again, as after a crash that happened before the event was marked as done."""
        with self.services.database.write() as session:
            row = session.get_one(InboxRow, event.id)
            row.state, row.due_at = WorkState.RUNNING, now()
        webhook_events.handle(self.services, event.id)
        with self.rows() as session:
            assert session.get_one(InboxRow, event.id).state == WorkState.DONE

    @contextmanager
    def rows(self) -> Iterator[Session]:
        """Context manager of a session that reads rows."""
        with self.services.database.read() as session:
            yield session


def build(folder: Path, client: InMemoryLabelStudio) -> FakeStudio:
    """Return a studio whose database is in ``folder``."""
    queue = JobQueue()
    services = Services(
        database=_database(folder),
        images=BlobStore(IMAGES.format(name=_images_of(folder))),
        download_files=DownloadFiles(IMAGES.format(name=_images_of(folder))),
        decoder=PlainDecoder(),  # type: ignore[arg-type]
        label_studio=client,
        links=SignedUrls(OWN_URL, b"a key of these tests", 30),
        limits=LIMITS,
        enqueue=queue.enqueue,
        shard_size=SHARD,
        lease_seconds=60.0,
    )
    studio = FakeStudio(
        folder=folder, services=services, client=client, queue=queue, fitted_engines=FittedEngineCache(services)
    )
    client.deliver = studio.receive
    return studio


def copy_of(studio: FakeStudio, folder: Path) -> FakeStudio:
    """Return a copy of a studio, with its data in ``folder``. Changes of one do not affect the other."""
    with closing(sqlite3.connect(studio.folder / ROWS)) as source, closing(sqlite3.connect(folder / ROWS)) as target:
        source.backup(target)
    # no object changes, so that both stores hold the same files
    source, target = _images_of(studio.folder), _images_of(folder)
    stored = MemoryFileSystem.store
    for path in _objects_of(studio.folder):
        stored[path.replace(source, target, 1)] = stored[path]
    studio.client.deliver = None
    copied = build(folder, deepcopy(studio.client))
    studio.client.deliver = studio.receive
    copied.queue.waiting |= studio.queue.waiting
    return copied


def _images_of(folder: Path) -> str:
    return f"studio-{hashlib.sha256(str(folder).encode()).hexdigest()[:20]}"


def _objects_of(folder: Path) -> list[str]:
    beginning = f"/{_images_of(folder)}/"
    return [path for path in MemoryFileSystem.store if path.startswith(beginning)]


def _database(folder: Path) -> Database:
    database = Database(f"sqlite:///{folder / ROWS}")
    # no test cuts the power, so nothing has to reach the disk
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    # compiling a statement takes longer than executing it; the databases of all tests share what was compiled
    for engine in (database.engine, database._writing):
        engine.dialect, engine._compiled_cache = _SHARED.dialect, _SHARED._compiled_cache
    return database
