"""A whole installation of real parts: Label Studio, Redis, database, image store, web process, and a worker.

It is for the tests of workflow, jobs, web and the command line. Its fixtures are in ``studio_fixtures``. One web
process serves all these tests; each test has studies of its own. The worker is RQ's own. It runs in this process until
a condition is true, so that a test decides when work is done, and no test sleeps."""

from __future__ import annotations

import html
import json
import os
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from datagen.domain.decision import Decision
from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.entrypoints import bootstrap
from datagen.entrypoints.installation import ProcessRole, join
from datagen.imaging.png_encoder import encode_png
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Task
from datagen.label_studio.projects import task_publisher
from datagen.label_studio.projects.task_publisher import TaskDraft
from datagen.queue.jobs import ALL_QUEUES, leased_tables
from datagen.queue.queues import Queues
from datagen.queue.recovery import sweep
from datagen.queue.worker import run_worker
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.study_secrets import study_secret
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.inputs import InputReadingRow
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.messages import InboxRow, OutboxRow
from datagen.store.tables.reviews import DecisionRow, VerdictRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow.decision_tasks import decision_page
from datagen.workflow.decisions import submit
from datagen.workflow.services import JobKind, JobRequest, Services
from datagen.workflow.studies.open import open_study
from stage.label_studio_server import LabelStudio as Server
from stage.processes import Processes, wait_until

#: Size of the pictures in pixels, small enough that a round takes a second.
WIDTH, HEIGHT = 128, 96
#: Number of samples in a preview round of these tests, and in a shard.
ROUND, SHARD = 3, 2
#: Seconds after which waiting for a condition fails.
PATIENCE_S = 60.0
#: Id of a project that belongs to no study, so that its events change nothing.
UNKNOWN_PROJECT = 2**40


# -- pictures and annotations


def plate(seed: int, *, pit: tuple[int, int] | None = None) -> np.ndarray:
    """Return a grained grey plate [HEIGHT, WIDTH] uint8.

    ``pit`` is the centre (x, y) of a dark disc with a radius of 6 pixels; there is none by default.
    """
    tones = np.random.default_rng(seed).normal(150, 4, (HEIGHT, WIDTH))
    picture = np.clip(np.rint(tones), 0, 255).astype(np.uint8)
    if pit is not None:
        cv2.circle(picture, pit, 6, 30, -1)
    return picture


def box(x: float, y: float, width: float, height: float, label: str = "pit") -> dict[str, Any]:
    """Return a box region as Label Studio stores it; its numbers are in percent."""
    value = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [label]}
    return _region("concept", "rectanglelabels", value)


def polygon(points: Sequence[tuple[float, float]], label: str = "area") -> dict[str, Any]:
    """Return a polygon region on a canvas as Label Studio stores it; its points are in percent."""
    value = {"points": [list(point) for point in points], "closed": True, "polygonlabels": [label]}
    return _region("canvas", "polygonlabels", value)


def _region(control: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
    sizes = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return {"id": uuid.uuid4().hex[:8], "from_name": control, "to_name": "image", "type": kind, "value": value, **sizes}


def choice(control: str, *chosen: str, to: str = "image") -> dict[str, Any]:
    """Return the answer of a Choices control."""
    return {"from_name": control, "to_name": to, "type": "choices", "value": {"choices": list(chosen)}}


def verdict_result(opinion: str, *reasons: str, comment: str = "") -> list[dict[str, Any]]:
    """Return the result of a filled review form."""
    form = [choice("verdict", opinion)]
    if reasons:
        form.append(choice("reasons", *reasons))
    if comment:
        form.append({"from_name": "comment", "to_name": "image", "type": "textarea", "value": {"text": [comment]}})
    return form


def text_of(page: str) -> str:
    """Return the text of a page without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page)).split())


#: Actions that ``asked`` confirms. They have to be confirmed if few previews are judged, as in most tests.
CONFIRMED = (StudyEvent.REFINE, StudyEvent.AUDIT, StudyEvent.APPROVE)


def asked(
    action: str | None,
    *,
    count: Any = None,
    audit_count: Any = None,
    name: str = "",
    note: str = "",
    confirmed: bool = True,
) -> list[dict[str, Any]]:
    """Return the result of a filled decision form.

    What may have to be confirmed is confirmed, unless ``confirmed`` is false.
    """
    form = [choice("action", action, to="summary")] if action else []
    if confirmed and action in CONFIRMED:
        form.append(choice("confirm", "I have looked", to="summary"))
    for field_name, number in (("count", count), ("audit_count", audit_count)):
        if number is not None:
            value = {"number": number}
            form.append({"from_name": field_name, "to_name": "summary", "type": "number", "value": value})
    for field_name, text in (("name", name), ("note", note)):
        if text:
            form.append({"from_name": field_name, "to_name": "summary", "type": "textarea", "value": {"text": [text]}})
    return form


#: Corners of a polygon, in percent, that covers the plate except a margin.
ANYWHERE = ((10.0, 10.0), (90.0, 10.0), (90.0, 90.0), (10.0, 90.0))


def good_inputs(count: int = 6) -> dict[Role, list[tuple[str, bytes, list[dict[str, Any]]]]]:
    """Return, for each role, ``count`` usable inputs, each as name, file and drawn regions."""
    pits = [(40 + 8 * number, 30 + 6 * number) for number in range(count)]
    around = [box(100 * (x - 8) / WIDTH, 100 * (y - 8) / HEIGHT, 1600 / WIDTH, 1600 / HEIGHT) for x, y in pits]
    return {
        Role.CONCEPT: [(f"pit-{n}.png", encode_png(plate(n, pit=pits[n])), [around[n]]) for n in range(count)],
        Role.CANVAS: [(f"canvas-{n}.png", encode_png(plate(100 + n)), [polygon(ANYWHERE)]) for n in range(count)],
        Role.BACKGROUND: [(f"plain-{n}.png", encode_png(plate(200 + n)), []) for n in range(count)],
    }


# -- the studio


@dataclass(kw_only=True)
class Studio:
    """The parts of one installation, with methods for what people and workers do."""

    server: Server
    settings: Settings
    environment: dict[str, str]
    services: Services
    queues: Queues
    #: addresses of uploaded pictures, by the file's bytes; each is uploaded once for the studies of all tests
    uploaded: dict[bytes, str] = field(default_factory=dict)
    opened: list[str] = field(default_factory=list)

    @property
    def client(self) -> LabelStudio:
        """A client of Label Studio's API with the product's token."""
        return self.services.label_studio

    # people

    def open_study(self, *, inputs: bool = True, labels: Sequence[str] = ("pit",), preview_size: int = ROUND) -> Study:
        """Create a study for this test and return it; with ``inputs`` it has the minimum of each kind."""
        name = f"wf {uuid.uuid4().hex[:10]}"
        opened = open_study(
            self.services,
            name,
            labels,
            bootstrap.server_access_of(self.settings),
            engine="composite",
            preview_size=preview_size,
        )
        self.opened.append(name)
        assert opened.problems == []
        with self.services.database.read() as session:
            study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == name)).one()
        study = Study(studio=self, id=study_id, name=name, projects=opened.projects)
        if inputs:
            for role, given in good_inputs().items():
                study.give(role, given)
        return study

    def addresses(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Return the addresses of files in Label Studio; a file is uploaded only once."""
        new = list(dict.fromkeys((name, data) for name, data in files if data not in self.uploaded))
        self.uploaded |= zip((data for _, data in new), self.client.upload(project_id, new), strict=True)
        return [self.uploaded[data] for _, data in files]

    def export_tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The tasks in the form of Label Studio's JSON export, in the order of ``task_ids``."""
        headers = {"Authorization": f"Token {self.server.token}"}
        url = f"{self.server.url}/api/projects/{project_id}/export"
        params = {"exportType": "JSON", "download_all_tasks": "true", "ids[]": list(task_ids)}
        answer = httpx.get(url, params=params, headers=headers, timeout=30).raise_for_status()
        exported = {task["id"]: task for task in answer.json()}
        return [exported[task_id] for task_id in task_ids]

    def edit_annotation(self, annotation_id: int, **fields: Any) -> None:
        """Change fields of an annotation, as the editor does."""
        headers = {"Authorization": f"Token {self.server.token}"}
        url = f"{self.server.url}/api/annotations/{annotation_id}/"
        httpx.patch(url, json=fields, headers=headers, timeout=30).raise_for_status()

    # the worker

    def work(self, *queues: str) -> None:
        """Run all queued jobs, and those that they enqueue; if ``queues`` are given, run only jobs of these.

        The web process enqueues a job a moment after it has stored an event. Here a recovery scan enqueues it at once.
        """
        sweep(self.services.database, self.queues)
        with self.as_process():
            run_worker(self.settings.redis_url, queues or ALL_QUEUES, burst=True)

    def work_until(self, condition: Callable[[], bool], event: str) -> None:
        """Run jobs until ``condition()`` is true; ``event`` names the condition.

        Recovery scans run meanwhile, as in the scheduler.
        """

        def worked() -> bool:
            self.work()
            return condition()

        wait_until(worked, PATIENCE_S, event, every=0.02)

    def settle(self) -> None:
        """Run jobs until nothing is left to do: no event, no shard, no outbox row."""
        self.work_until(lambda: not self.unfinished(), "the end of all work")

    def drain_notifier(self) -> None:
        """Wait until the web process has enqueued a job for every event that it has received."""
        last = {"action": "PROJECT_UPDATED", "project": {"id": UNKNOWN_PROJECT, "updated_at": uuid.uuid4().hex}}
        self.post_webhook(json.dumps(last).encode()).raise_for_status()
        with self.rows() as session:
            row_id = session.scalars(select(InboxRow.id).order_by(InboxRow.id.desc()).limit(1)).one()
        request = JobRequest(JobKind.EVENT, row_id)

        def was_enqueued() -> bool:
            if request in self.queues.queued():
                return True
            with self.rows() as session:  # a worker that runs beside the tests may have taken it from the queue
                return session.get_one(InboxRow, row_id).state == WorkState.DONE

        wait_until(was_enqueued, PATIENCE_S, "The job of the last event", every=0.02)

    def unfinished(self) -> int:
        """Return the number of rows that wait or are worked on."""
        waiting = (WorkState.PENDING, WorkState.RUNNING)
        with self.services.database.read() as session:
            rows = [
                row
                for kind in leased_tables().values()
                if kind is not InputReadingRow  # a read study's row may wait for the next attempt on a picture
                for row in session.scalars(select(kind.id).where(kind.state.in_(waiting)))
            ]
            unread = select(StudyRow.id).where(StudyRow.inputs_read != StudyRow.inputs_changed)
            return len(rows) + len(session.scalars(unread).all())

    @contextmanager
    def as_process(self) -> Iterator[None]:
        """Context manager in which this process has the product's environment.

        RQ's jobs read the settings from the environment.
        """
        with pytest.MonkeyPatch.context() as patch:
            for name in [*os.environ]:
                if name.startswith(("DATAGEN_", "LABEL_STUDIO_", "BASIC_AUTH_")):
                    patch.delenv(name)
            for name, value in self.environment.items():
                patch.setenv(name, value)
            yield

    @contextmanager
    def rows(self) -> Iterator[Session]:
        """Context manager of a session that reads rows."""
        with self.services.database.read() as session:
            yield session

    def secret_of(self, study_id: int) -> str:
        """The secret in the header of a study's webhooks."""
        with self.rows() as session:
            salt = session.get_one(StudyRow, study_id).webhook_salt
        return study_secret(self.settings.secret_of_webhooks, salt)

    def post_webhook(self, body: bytes, *, secret: str | None = None) -> httpx.Response:
        """Send a webhook request to the web process, as Label Studio does; return the response.

        By default it carries the secret that all studies shared in earlier versions.
        """
        headers = {"X-Datagen-Secret": self.settings.secret_of_webhooks if secret is None else secret}
        return httpx.post(f"{self.settings.own_url}/webhook", content=body, headers=headers, timeout=30)


@dataclass(kw_only=True)
class Study:
    """One study, with methods for what people and workers do."""

    studio: Studio
    id: int
    name: str
    projects: dict[ProjectKind, int]

    def give(self, role: Role, given: Sequence[tuple[str, bytes, list[dict[str, Any]]]]) -> list[int]:
        """Import inputs with their annotations as tasks; return the tasks' ids."""
        project_kind = {
            Role.CONCEPT: ProjectKind.CONCEPTS,
            Role.CANVAS: ProjectKind.CANVASES,
            Role.BACKGROUND: ProjectKind.BACKGROUNDS,
        }[role]
        project = self.projects[project_kind]
        urls = self.studio.addresses(project, [(name, data) for name, data, _ in given])
        drafts = [
            TaskDraft(
                key=f"{role}-{name}",
                data={"image": url, "name": name},
                annotations=[{"result": drawn}] if drawn else (),
            )
            for url, (name, _, drawn) in zip(urls, given, strict=True)
        ]
        task_ids = task_publisher.ensure_tasks(self.studio.client, project, f"given-{uuid.uuid4().hex[:8]}", drafts)
        return [task_ids[draft.key] for draft in drafts]

    # what people see

    def tasks(self, project_kind: ProjectKind) -> list[Task]:
        """The tasks of a project in Label Studio."""
        return list(self.studio.client.tasks(self.projects[project_kind]))

    def decision_tasks(self) -> list[Task]:
        """The tasks of the Decisions project, oldest first."""
        return self.tasks(ProjectKind.DECISIONS)

    def page(self, number: int = -1) -> str:
        """The HTML page of a decision task, by default of the newest."""
        return str(self.decision_tasks()[number].data["html"])

    def counts(self) -> dict[str, int]:
        """The numbers of verdicts on the newest round, as the decision task shows them."""
        counts = re.findall(r"<b>(\d+)</b> (good|bad|still to review)", self.page())
        assert len(counts) == 3, self.page()
        return {head: int(count) for count, head in counts}

    # what people do

    def decide(self, action: str | None, *, number: int = -1, settle: bool = True, **form: Any) -> int:
        """Fill in a decision task in Label Studio, by default the newest, and submit it; return the annotation's id."""
        annotation = self.studio.client.annotate(self.decision_tasks()[number].id, asked(action, **form))
        if settle:
            self.studio.settle()
        return annotation

    def judge(self, *opinions: list[dict[str, Any]]) -> list[int]:
        """Submit these review forms for the tasks of the newest round, in order; return the annotations' ids."""
        return [
            self.studio.client.annotate(task.id, form) for task, form in zip(self.round_tasks(), opinions, strict=False)
        ]

    def copy(self, project_kind: ProjectKind, *task_ids: int, with_annotations: bool = True) -> list[int]:
        """Export these tasks of a project and import them again, as people do; return the ids of the copies in order.

        ``with_annotations`` says whether the copies have the annotations of the tasks.
        """
        exported = self.studio.export_tasks(self.projects[project_kind], task_ids)
        kept = ("data", "meta", "annotations") if with_annotations else ("data", "meta")
        drafts = [{name: task[name] for name in kept} for task in exported]
        return self.studio.client.import_tasks(self.projects[project_kind], drafts)

    def remove_duplicates(self, project_kind: ProjectKind) -> None:
        """Run the Data Manager's “Remove Duplicated Tasks” on all tasks of a project."""
        project = self.projects[project_kind]
        httpx.post(
            f"{self.studio.server.url}/api/dm/actions/",
            params={"id": "remove_duplicates", "project": project},
            json={"project": project, "selectedItems": {"all": True, "excluded": []}},
            headers={"Authorization": f"Token {self.studio.server.token}"},
            timeout=30,
        ).raise_for_status()

    def change(self, annotation: int, **fields: Any) -> None:
        """Change fields of an annotation, as the editor does; its skip button sets ``was_cancelled``."""
        self.studio.edit_annotation(annotation, **fields)

    def review(self) -> SpecRow:
        """Bring the study from any state to a new round under review; return its version."""
        if self.row().state in (StudyState.PREVIEWING, StudyState.GENERATING):
            self.act(StudyEvent.CANCEL)
        self.act(StudyEvent.BUILD_PREVIEW)
        self.studio.settle()
        assert self.row().state == StudyState.REVIEWING, self.shown()
        return self.specs()[-1]

    def round_tasks(self) -> list[Task]:
        """The review tasks of the newest round, in the order of their index."""
        number = str(self.batches(BatchKind.ROUND)[-1].number)
        tasks = [task for task in self.tasks(ProjectKind.PREVIEWS) if task.data["round"] == number]
        return sorted(tasks, key=lambda task: int(task.data["index"]))

    # what is kept

    def use_engine(self, engine: str) -> None:
        """Set the engine of the study's next versions."""
        with self.studio.services.database.write() as session:
            session.get_one(StudyRow, self.id).engine = engine

    def row(self) -> StudyRow:
        """The study's row."""
        with self.studio.rows() as session:
            return session.get_one(StudyRow, self.id)

    def specs(self) -> list[SpecRow]:
        """The study's versions, oldest first."""
        with self.studio.rows() as session:
            return list(session.scalars(select(SpecRow).where(SpecRow.study_id == self.id).order_by(SpecRow.version)))

    def batches(self, kind: BatchKind | None = None) -> list[BatchRow]:
        """The study's rounds and runs, oldest first; with ``kind``, only those of this kind."""
        with self.studio.rows() as session:
            batches = session.scalars(select(BatchRow).where(BatchRow.study_id == self.id).order_by(BatchRow.id))
            return [batch for batch in batches if kind is None or batch.kind == kind]

    def samples_of(self, batch: BatchRow) -> list[SampleRow]:
        """The samples of a round or run, in the order of their index."""
        with self.studio.rows() as session:
            query = select(SampleRow).where(SampleRow.batch_id == batch.id).order_by(SampleRow.index)
            return list(session.scalars(query))

    def verdicts(self) -> list[VerdictRow]:
        """The verdicts on the newest round, in the order of their annotations."""
        return self.verdicts_of(self.batches(BatchKind.ROUND)[-1])

    def verdicts_of(self, batch: BatchRow) -> list[VerdictRow]:
        """The verdicts on a round, in the order of their annotations."""
        with self.studio.rows() as session:
            query = (
                select(VerdictRow)
                .join(SampleRow, SampleRow.id == VerdictRow.sample_id)
                .where(SampleRow.batch_id == batch.id)
                .order_by(VerdictRow.annotation_id)
            )
            return list(session.scalars(query))

    def points(self) -> list[DecisionRow]:
        """The study's decision points, oldest first."""
        with self.studio.rows() as session:
            query = select(DecisionRow).where(DecisionRow.study_id == self.id).order_by(DecisionRow.number)
            return list(session.scalars(query))

    def audit(self) -> list[str]:
        """The lines of the study's audit, oldest first."""
        with self.studio.rows() as session:
            rows = session.scalars(select(AuditRow).where(AuditRow.study == self.name).order_by(AuditRow.id))
            return [f"{row.who}: {row.what}" for row in rows]

    def events(self, project_kind: ProjectKind) -> list[InboxRow]:
        """The events of a project, oldest first."""
        with self.studio.rows() as session:
            query = select(InboxRow).where(InboxRow.project_id == self.projects[project_kind]).order_by(InboxRow.id)
            return list(session.scalars(query))

    def shown(self) -> str:
        """The HTML of the newest decision point's task, whether it is published or not."""
        with self.studio.rows() as session:
            newest = session.scalars(
                select(DecisionRow).where(DecisionRow.study_id == self.id).order_by(DecisionRow.number.desc()).limit(1)
            ).one()
            return decision_page.decision_data(session, self.studio.services, newest)["html"]

    def act(self, action: StudyEvent, **form: Any) -> None:
        """Decide as the command line does, without a form in Label Studio."""
        form.setdefault("confirmed", action in CONFIRMED)
        submit.decide(
            self.studio.services,
            submit.DecisionCommand(study_id=self.id, decision=Decision(action=action, **form), who="tester"),
        )

    def outbox(self) -> list[OutboxRow]:
        """All outbox rows."""
        with self.studio.rows() as session:
            return list(session.scalars(select(OutboxRow).where(OutboxRow.study_id == self.id).order_by(OutboxRow.id)))

    def project_rows(self) -> list[ProjectRow]:
        """The rows of the study's projects."""
        with self.studio.rows() as session:
            return list(session.scalars(select(ProjectRow).where(ProjectRow.study_id == self.id)))


# -- setting it up, and taking it down


def end_process() -> None:
    """Close the connections that this process opened as a process of the product, and clear their caches."""
    if bootstrap.services.cache_info().currsize:
        bootstrap.services().label_studio.close()
        bootstrap.services().database.close()
    if bootstrap.queues.cache_info().currsize:
        bootstrap.queues().redis.close()
    for kept in (
        bootstrap.settings,
        bootstrap.joined_roles,
        bootstrap.services,
        bootstrap.queues,
        bootstrap.fitted_engines,
    ):
        kept.cache_clear()


def settings_of(environment: dict[str, str]) -> Settings:
    """Return the settings of a process with this environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        return Settings(_env_file=None)


def install(settings: Settings) -> None:
    """Create the database of a new installation and its secrets, as its first process does."""
    database = Database(settings.resolved_database_url)
    database.upgrade()
    database.close()
    join(settings, ProcessRole.WEB)


def start_web(processes: Processes, environment: dict[str, str], folder: Path) -> Any:
    """Start the web process (gunicorn), and return it when it answers."""
    url = f"http://127.0.0.1:{environment['PORT']}/health"

    def answers() -> bool:
        try:
            return httpx.get(url, timeout=2).is_success
        except httpx.TransportError:
            return False

    argv = [sys.executable, "-m", "datagen", "web"]
    return processes.start(f"web-{environment['PORT']}", argv, env=environment, cwd=folder, ready=answers, within=60)
