"""A worker that is killed while it renders: another worker takes its shard, and no sample is duplicated."""

from __future__ import annotations

import time

import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.settings import Settings
from plant import LEASE_S, SWEEP_S, Plant, approved, assert_nothing_twice_nothing_missing, shards
from plant_installation import SHARD
from studio import Study

pytestmark = pytest.mark.integration


def test_its_shard_runs_again_and_no_sample_comes_twice(plant: Plant, reviewed: Study) -> None:
    plant.kill("worker-2")
    reviewed.act(StudyEvent.APPROVE, count=SHARD)
    plant.until(lambda: _is_rendering(plant, reviewed), "The beginning of the rendering")
    plant.kill("worker-1")
    killed = time.monotonic()
    run = approved(reviewed)
    assert reviewed.samples_of(run) == []  # it was killed in the middle: all of a shard is written, or nothing

    plant.start("worker-1")
    plant.until(lambda: shards(reviewed, run)[0].attempts == 2, "The second try")
    assert time.monotonic() - killed < LEASE_S + SWEEP_S + 15  # a worker's start, on a busy machine
    plant.until(lambda: str(approved(reviewed).state) == "done", "The end of the run")
    plant.until_settled()
    assert_nothing_twice_nothing_missing(reviewed)


def test_with_the_settings_as_they_come_it_runs_again_within_90_seconds() -> None:
    settings = Settings(_env_file=None)
    assert settings.lease_seconds + settings.sweep_seconds <= 60


def _is_rendering(plant: Plant, study: Study) -> bool:
    [shard] = shards(study, approved(study))
    return str(shard.state) == "running"
