"""One installation for all fault tests; each test finds all its parts running, and may kill what it likes."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import select

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.entrypoints import bootstrap
from datagen.store.tables import InboxRow, OutboxRow, ShardRow, WorkState
from stage import label_studio_server, redis_server
from stage.gateway import Gateway
from stage.label_studio_server import LabelStudio as Server
from stage.ports import free_port
from stage.processes import Processes
from studio import ROUND, Study, end_process, install, settings_of

from .plant import LEASE_S, RECONCILE_S, SWEEP_S, Plant, queues_of

#: Samples in a shard: enough that a worker can be killed while it renders.
SHARD = 30


@pytest.fixture(scope="session")
def _plant(label_studio: Server, processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with installation(label_studio, processes, tmp_path_factory.mktemp("plant")) as plant:
        yield plant


@contextmanager
def installation(label_studio: Server, processes: Processes, folder: Path, **settings_of_it: str) -> Iterator[Plant]:
    """An installation with all its parts running, with these environment variables beside the usual ones."""
    web_port = free_port()
    to_label_studio, to_web = Gateway(label_studio.url), Gateway(f"http://127.0.0.1:{web_port}")
    environment = {
        "LABEL_STUDIO_URL": to_label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        "REDIS_URL": redis_server.url_of(free_port(), secrets.token_hex(20)),
        "PORT": str(web_port),
        "DATAGEN_PUBLIC_URL": to_web.url,
        "DATAGEN_DATA_DIR": str(folder / "data"),
        "DATAGEN_SHARD_SIZE": str(SHARD),
        "DATAGEN_PREVIEW_SIZE": str(ROUND),
        "DATAGEN_LEASE_SECONDS": str(LEASE_S),
        "DATAGEN_SWEEP_SECONDS": str(SWEEP_S),
        "DATAGEN_RECONCILE_SECONDS": str(RECONCILE_S),
        "LOG_LEVEL": "INFO",
        **settings_of_it,
    }
    settings = settings_of(environment)
    end_process()
    # what a test does as a person goes to Label Studio directly, whatever is meddled with
    queues = queues_of(settings.redis_url)
    direct = settings.model_copy(update={"label_studio_url": label_studio.url})
    install(direct)
    services = bootstrap.build_services(direct, queues.enqueue)
    plant = Plant(
        server=label_studio,
        settings=settings,
        environment=environment,
        services=services,
        queues=queues,
        processes=processes,
        folder=folder,
        to_label_studio=to_label_studio,
        to_web=to_web,
        owns_label_studio=any(one.name == label_studio_server.NAME for one in processes.noted()),
    )
    plant.ensure_all()
    yield plant
    plant.undisturbed()
    plant.ensure_label_studio()
    for name in plant.opened:
        for project in plant.client.find_projects(name):
            plant.client.delete_project(project.id)
    plant.kill_all()
    for gateway in (to_label_studio, to_web):
        gateway.close()
    plant.client.close()
    services.database.close()
    queues.redis.close()


@pytest.fixture
def plant(_plant: Plant) -> Plant:
    """The installation with everything running, undisturbed, and nothing left to do."""
    _plant.undisturbed()
    _plant.ensure_label_studio()
    _plant.ensure_all()
    with _plant.services.database.write() as session:
        for kind in (InboxRow, OutboxRow, ShardRow):
            for row in session.scalars(select(kind).where(kind.state.in_([WorkState.PENDING, WorkState.RUNNING]))):
                row.state = WorkState.CANCELLED  # what a failed test left is not this test's business
    return _plant


@pytest.fixture(scope="session")
def _study(_plant: Plant) -> Study:
    _plant.undisturbed()
    _plant.ensure_all()
    study = _plant.open_study()
    _plant.until_settled()
    return study


@pytest.fixture
def study(plant: Plant, _study: Study) -> Study:
    """A study with enough inputs, shared by the tests: begin with ``reviewed``, look at the newest."""
    return _study


@pytest.fixture
def reviewed(plant: Plant, study: Study) -> Study:
    """The study with a fresh round to be judged."""
    if study.row().state in (StudyState.PREVIEWING, StudyState.GENERATING):
        study.act(StudyEvent.CANCEL)
    study.act(StudyEvent.BUILD_PREVIEW)
    plant.until(lambda: study.row().state == StudyState.REVIEWING, "The preview round")
    plant.until_settled()
    return study


@pytest.fixture
def redis(plant: Plant) -> Iterator[Redis]:
    """The installation's Redis."""
    with Redis.from_url(plant.settings.redis_url) as client:
        yield client
