"""One installation for all fault tests; each test begins with all parts running, and may kill any of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis
from sqlalchemy import select

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.queue.jobs import leased_tables
from datagen.store.tables.base import WorkState
from plant import Plant
from plant_installation import installation
from stage.label_studio_server import LabelStudio as Server
from stage.processes import Processes
from studio import Study


@pytest.fixture(scope="session")
def _plant(label_studio: Server, processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("plant")
    with installation(label_studio, processes, folder, DATAGEN_NOTIFICATION_HOSTS="127.0.0.1") as plant:
        yield plant


@pytest.fixture
def plant(_plant: Plant) -> Plant:
    """The installation with everything running, undisturbed, and nothing left to do."""
    _plant.undisturbed()
    _plant.ensure_label_studio()
    _plant.ensure_all()
    with _plant.services.database.write() as session:
        for kind in leased_tables().values():
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
    """A study with enough inputs, which the tests share. Begin with ``reviewed``, and use its newest round."""
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
