"""Proposals are worked out by a worker, shown when a task is opened, and renewed when what they stand on changes."""

from __future__ import annotations

import httpx
import pytest

from datagen.domain.inputs import Desk, Role
from datagen.store.decode import encode_png
from studio import Studio, Study, plate

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def opened(studio: Studio, task_id: int) -> list[dict]:
    """What a person who opens the task sees: Label Studio asks the ML backend for it."""
    headers = {"Authorization": f"Token {studio.server.token}"}
    answer = httpx.get(f"{studio.server.url}/api/tasks/{task_id}/", headers=headers, timeout=30)
    return answer.raise_for_status().json()["predictions"]


def kinds(prediction: dict) -> list[str]:
    return [region["from_name"] for region in prediction["result"]]


def test_the_outline_found_in_a_drawn_box_is_shown_with_the_box(studio: Studio, study: Study) -> None:
    (prediction,) = opened(studio, study.tasks(Desk.CONCEPTS)[0].id)
    assert kinds(prediction)[0] == "concept"
    assert "outline" in kinds(prediction)


def test_the_learned_area_is_shown_on_a_canvas_nobody_drew_on(studio: Studio) -> None:
    study = studio.open_study()
    (blank,) = study.give(Role.CANVAS, [("blank.png", encode_png(plate(777)), [])])
    studio.settle()
    (prediction,) = opened(studio, blank)
    assert set(kinds(prediction)) == {"canvas"}


def test_a_proposal_seen_before_is_renewed_when_what_it_stands_on_changed(studio: Studio) -> None:
    study = studio.open_study()
    studio.settle()
    task = study.tasks(Desk.CONCEPTS)[0]
    before = opened(studio, task.id)[0]["result"]
    assert task.newest is not None
    moved = [{**region, "value": {**region["value"], "width": 20.0}} for region in task.newest.result]
    studio.client.update_annotation(task.newest.id, moved)
    studio.settle()
    (after,) = studio.client.predictions(task.id)
    assert after["result"][0]["value"]["width"] == pytest.approx(20.0)
    assert after["result"] != before
