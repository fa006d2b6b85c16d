"""The database is unavailable: webhooks are answered with 503 at once, and their changes are found when it is back."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from redis import Redis
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.entrypoints import bootstrap
from datagen.store.tables.messages import InboxRow, OutboxRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.events.reconciler import reconcile
from datagen.workflow.outbox.dispatcher import dispatch
from datagen.workflow.services import Services
from datagen.workflow.studies.open import open_study
from stage.label_studio_server import LabelStudio as Server
from stage.ports import free_port
from stage.postgres_server import Cluster, cluster
from stage.processes import Processes, wait_until
from studio import asked, install, settings_of, start_web

pytestmark = pytest.mark.integration

#: Label Studio waits so long for a webhook's answer, and the annotator waits with it.
LABEL_STUDIO_WAITS_S = 1.0


@pytest.fixture
def database() -> Iterator[Cluster]:
    with cluster() as started:
        yield started


@pytest.fixture
def environment(label_studio: Server, redis_url: str, database: Cluster, tmp_path: Path) -> dict[str, str]:
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "REDIS_URL": redis_url.rpartition("/")[0] + "/6",
        "PORT": str(free_port()),
        "DATAGEN_DATA_DIR": str(tmp_path / "data"),
        "DATAGEN_DATABASE_URL": database.url.replace("postgresql://", "postgresql+psycopg://") + "/postgres",
    }


@pytest.fixture
def services(environment: dict[str, str]) -> Iterator[Services]:
    install(settings_of(environment))
    built = bootstrap.build_services(settings_of(environment), lambda _job_requests: None)
    yield built
    built.label_studio.close()
    built.database.close()


def test_events_sent_meanwhile_are_found(
    environment: dict[str, str], services: Services, database: Cluster, processes: Processes, tmp_path: Path
) -> None:
    settings = settings_of(environment)
    web = start_web(processes, environment, tmp_path)
    try:
        created = open_study(
            services, "database away", ["pit"], bootstrap.server_access_of(settings), engine="composite", preview_size=3
        )
        with services.database.read() as session:
            [decision] = session.scalars(select(OutboxRow.id)).all()
        dispatch(services, decision)
        [task] = services.label_studio.tasks(created.projects[ProjectKind.DECISIONS])

        database.abort()
        began = time.monotonic()
        away = _post(settings.own_url, settings.secret_of_webhooks)
        assert (away.status_code, "found later" in away.json()["error"]) == (503, True)
        assert time.monotonic() - began < LABEL_STUDIO_WAITS_S
        services.label_studio.annotate(task.id, asked("stop"))

        database.start()
        assert _post(settings.own_url, settings.secret_of_webhooks).status_code == 201  # the process lived through it
        reconcile(services)
        with services.database.read() as session:
            assert session.scalars(select(StudyRow.state)).one() == StudyState.STOPPED
            assert "ANNOTATION_CREATED" not in session.scalars(select(InboxRow.action)).all()
    finally:
        processes.stop(web)
        for project in services.label_studio.find_projects("database away"):
            services.label_studio.delete_project(project.id)


def test_a_process_that_starts_without_the_database_waits_for_it_and_says_so(
    environment: dict[str, str], services: Services, database: Cluster, processes: Processes, tmp_path: Path
) -> None:
    database.abort()
    with Redis.from_url(environment["REDIS_URL"]) as redis:
        redis.flushdb()
        worker = processes.start(
            "worker-waiting",
            [sys.executable, "-m", "datagen", "worker"],
            env=environment,
            cwd=tmp_path,
            ready=lambda: "installation.database_unavailable" in _log(processes, "worker-waiting"),
            within=60,
        )
        try:
            assert not redis.keys("rq:worker:*")
            assert "the database does not answer" in Path(worker.log).read_text()
            assert "Traceback" not in Path(worker.log).read_text()
            database.start()
            wait_until(lambda: bool(redis.keys("rq:worker:*")), 60, "the worker's start")
        finally:
            processes.stop(worker)


def _log(processes: Processes, name: str) -> str:
    logs = [Path(process.log) for process in processes.noted() if process.name == name]
    return logs[-1].read_text() if logs and logs[-1].exists() else ""


def _post(url: str, secret: str) -> httpx.Response:
    body = {"action": "TASKS_CREATED", "project": {"id": 2**40}, "tasks": [{"id": 1}]}
    return httpx.post(f"{url}/webhook", json=body, headers={"X-Datagen-Secret": secret}, timeout=30)
