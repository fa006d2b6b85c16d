"""What operators ask: /ready says which part is away, /metrics counts what happened."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from datagen.jobs.queues import Queues, connect
from datagen.jobs.readiness import STALE_SECONDS
from datagen.jobs.vitals import readiness
from datagen.store.counters import count, counts
from stage.processes import wait_until
from studio import Studio, Study, said

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def figures(studio: Studio) -> dict[tuple[str, ...], float]:
    """Every figure by its name and labels."""
    answer = httpx.get(
        f"{studio.settings.own_url}/metrics", auth=(studio.settings.basic_auth_user, studio.settings.password)
    )
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.raise_for_status().text)
        for sample in family.samples
    }


def test_ready_names_the_part_that_is_away(studio: Studio) -> None:
    wanted = {"database": True, "redis": True, "worker": False, "label_studio": True}

    def answer() -> httpx.Response:
        return httpx.get(f"{studio.settings.own_url}/ready", timeout=30)

    wait_until(lambda: answer().json()["parts"] == wanted, 20, "the next look at the parts")
    assert (answer().status_code, answer().json()["ready"]) == (503, False)
    assert answer().json()["age_seconds"] < STALE_SECONDS


def test_parts_that_do_not_answer_are_not_ready(studio: Studio) -> None:
    with connect("redis://127.0.0.1:1/0") as nowhere:
        parts = readiness(studio.workshop.database, Queues(nowhere), "http://127.0.0.1:1")
    assert parts == {"database": True, "redis": False, "worker": False, "label_studio": False}


def test_metrics_count_events_images_and_what_waits(studio: Studio, study: Study) -> None:
    before = figures(studio)
    study.review()
    study.judge(said("good"))
    studio.hear_out()
    waiting = figures(studio)
    assert waiting["datagen_queue_depth", "datagen-events"] >= 1
    studio.settle()
    after = figures(studio)
    annotated = ("datagen_events_total", "ANNOTATION_CREATED", "done")
    assert after[annotated] == before.get(annotated, 0) + 1
    images = ("datagen_images_total", "composite", "round")
    assert after[images] == before.get(images, 0) + len(study.round_tasks())
    assert after["datagen_shard_seconds_count",] > before["datagen_shard_seconds_count",]
    assert after["datagen_queue_depth", "datagen-events"] == 0


def test_counters_add_up(studio: Studio) -> None:
    before = counts(studio.workshop.database).get("tests", 0)
    count(studio.workshop.database, "tests")
    count(studio.workshop.database, "tests", 2)
    assert counts(studio.workshop.database)["tests"] == before + 3
