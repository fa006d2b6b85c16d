"""Redis is not the source of truth: it may be killed, lose its data, be unavailable as webhooks arrive, and return."""

from __future__ import annotations

import time

import httpx
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from plant import Plant, approved, assert_nothing_twice_nothing_missing, ready, shards
from plant_installation import SHARD
from studio import Study, verdict_result

pytestmark = pytest.mark.integration

#: Label Studio waits so long for a webhook's answer, and the annotator waits with it.
LABEL_STUDIO_WAITS_S = 1.0


def test_killed_with_its_data_in_the_middle_of_a_run(plant: Plant, reviewed: Study) -> None:
    reviewed.act(StudyEvent.APPROVE, count=3 * SHARD)
    run = approved(reviewed)
    plant.until(lambda: any(str(shard.state) == "running" for shard in shards(reviewed, run)), "The first shard")
    plant.kill("redis")
    plant.start("redis")
    plant.until(lambda: str(approved(reviewed).state) == "done", "The end of the run")
    plant.until_settled()
    assert_nothing_twice_nothing_missing(reviewed)


def test_unavailable_while_webhooks_arrive(plant: Plant, reviewed: Study) -> None:
    plant.kill("redis")
    before = len(reviewed.events(ProjectKind.PREVIEWS))
    seconds = []
    for task in reviewed.round_tasks():
        began = time.monotonic()
        plant.client.annotate(task.id, verdict_result("good"))
        seconds.append(time.monotonic() - began)
    assert len(reviewed.events(ProjectKind.PREVIEWS)) == before + 3  # stored before Label Studio was answered
    body = {
        "action": "PROJECT_UPDATED",
        "project": {"id": reviewed.projects[ProjectKind.PREVIEWS], "updated_at": "now"},
    }
    headers = {"X-Datagen-Secret": plant.secret_of(reviewed.id)}
    began = time.monotonic()
    assert httpx.post(f"{plant.to_web.url}/webhook", json=body, headers=headers, timeout=30).status_code == 201
    assert time.monotonic() - began < LABEL_STUDIO_WAITS_S

    plant.start("redis")
    plant.until(lambda: len(reviewed.verdicts()) == 3, "The verdicts")
    plant.until_settled()


def test_the_workers_that_lived_through_it_are_seen_again(plant: Plant) -> None:
    plant.kill("redis")
    plant.start("redis")
    plant.until(lambda: ready(plant)["worker"], "The workers' sign of life")
