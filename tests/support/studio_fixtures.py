"""The fixtures of ``studio``. A test module loads them with ``pytest_plugins = ["studio_fixtures"]``.

They have a module of their own, because a test module imports ``studio`` itself, and pytest must load a plug-in before
any other import of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import delete, select, update

from datagen.entrypoints import bootstrap
from datagen.operations.supervisor import commands
from datagen.queue.jobs import leased_tables
from datagen.queue.queues import Queues
from datagen.store.tables.base import WorkState
from datagen.store.tables.inputs import FetchedPictureRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from stage.label_studio_server import LabelStudio as Server
from stage.ports import free_port
from stage.processes import Processes
from studio import ROUND, SHARD, Studio, Study, end_process, install, settings_of, start_web


@pytest.fixture(scope="session")
def studio_environment(
    label_studio: Server, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The product's settings for the suite's servers, as environment variables."""
    return {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.token,
        # a Redis database of its own: other tests empty theirs
        "REDIS_URL": redis_url.rpartition("/")[0] + "/5",
        "PORT": str(free_port()),
        "DATAGEN_DATA_DIR": str(tmp_path_factory.mktemp("studio")),
        # short, so that the last check after publishing with several attempts happens within a test's time limit
        "DATAGEN_LEASE_SECONDS": "3",
        "DATAGEN_SHARD_SIZE": str(SHARD),
        "DATAGEN_PREVIEW_SIZE": str(ROUND),
        "DATAGEN_MAX_WEBHOOK_BYTES": "200000",
        "DATAGEN_MAX_IMAGE_PIXELS": "1000000",
        # all tests come from one address
        "DATAGEN_WRONG_CREDENTIALS_PER_MINUTE": "1000",
        "LOG_LEVEL": "WARNING",
    }


@pytest.fixture(scope="session")
def whole_studio(
    label_studio: Server,
    processes: Processes,
    studio_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Studio]:
    settings = settings_of(studio_environment)
    end_process()  # drop what another test built from its own settings
    queues = Queues(Redis.from_url(settings.redis_url))
    install(settings)
    services = bootstrap.build_services(settings, queues.enqueue)
    web = start_web(processes, studio_environment, tmp_path_factory.mktemp("web"))
    studio = Studio(
        server=label_studio,
        settings=settings,
        environment=studio_environment,
        services=services,
        queues=queues,
    )
    yield studio
    for name in studio.opened:
        for project in studio.client.find_projects(name):
            studio.client.delete_project(project.id)
    processes.stop(web)
    end_process()
    studio.client.close()
    services.database.close()
    queues.redis.close()


@pytest.fixture(scope="module")
def alive(whole_studio: Studio, processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Running workers for all queues and a running scheduler, started as ``datagen up`` starts them."""
    folder = tmp_path_factory.mktemp("parts")
    whole_studio.queues.redis.flushdb()
    started = [
        processes.start(
            part,
            [sys.executable, "-m", "datagen", *command],
            env=whole_studio.environment,
            cwd=folder,
            ready=ready,
            within=60,
        )
        for part, command, ready in (
            ("worker", ["worker"], lambda: len(whole_studio.queues.redis.keys("rq:worker:*")) == 1),
            (
                "handovers",
                commands(1)["handovers"][3:],
                lambda: len(whole_studio.queues.redis.keys("rq:worker:*")) == 2,
            ),
            ("scheduler", ["scheduler"], lambda: bool(whole_studio.queues.redis.keys("rq:cron*"))),
        )
    ]
    yield
    for process in started:
        processes.stop(process)


@pytest.fixture(scope="module")
def _of_this_module(whole_studio: Studio) -> Studio:
    """The studio without the studies of other test modules, because the reconciler would read those too."""
    with whole_studio.services.database.write() as session:
        session.execute(delete(ProjectRow))
    return whole_studio


@pytest.fixture
def studio(_of_this_module: Studio) -> Studio:
    """The studio, without unfinished work of the previous test."""
    _leave_nothing(_of_this_module)
    return _of_this_module


def _leave_nothing(whole_studio: Studio) -> None:
    whole_studio.drain_notifier()
    with whole_studio.services.database.write() as session:
        # what a failed test left behind is not this test's business
        for kind in leased_tables().values():
            for row in session.scalars(select(kind).where(kind.state.in_([WorkState.PENDING, WorkState.RUNNING]))):
                row.state = WorkState.CANCELLED
        for study in session.scalars(select(StudyRow).where(StudyRow.inputs_read != StudyRow.inputs_changed)):
            study.inputs_read = study.inputs_changed
        session.execute(update(FetchedPictureRow).values(retry_at=None))
    whole_studio.queues.redis.flushdb()


@pytest.fixture(scope="module")
def shared_study(_of_this_module: Studio) -> Study:
    _leave_nothing(_of_this_module)
    study = _of_this_module.open_study()
    _of_this_module.settle()
    return study


@pytest.fixture
def study(studio: Studio, shared_study: Study) -> Study:
    """A study with the minimum of inputs, which the tests of a module share.

    A test begins with ``study.review()``, and looks only at the newest objects.
    """
    return shared_study
