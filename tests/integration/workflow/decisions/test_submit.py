"""A preview built through a real Label Studio; ``tests/unit/workflow/decisions`` has the decisions themselves."""

from __future__ import annotations

import html
import re

import httpx
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind, WorkState
from studio import ROUND, Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def text(page: str) -> str:
    """Return the text of a page, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_build_preview_freezes_the_inputs_and_brings_a_round_of_review_tasks(studio: Studio, study: Study) -> None:
    study.review()
    version, preview_round = study.specs()[-1], study.batches(BatchKind.ROUND)[-1]

    assert (preview_round.count, preview_round.state) == (ROUND, WorkState.DONE)
    tasks = study.round_tasks()
    assert [task.data["index"] for task in tasks] == ["1", "2", "3"]
    assert {task.data["version"] for task in tasks} == {str(version.version)}
    assert all(httpx.get(task.data["image"]).content.startswith(b"\x89PNG") for task in tasks)
    assert all(studio.client.predictions(task.id)[0]["result"] for task in tasks)
    assert "Built from 6 concept images, 6 canvas images and 6 background images" in text(study.page())
    tabs = [view.title for view in studio.client.views(study.projects[ProjectKind.PREVIEWS])]
    assert tabs == ["To review now", "This round: good", "This round: bad", "All rounds"]


def test_start_training_in_the_projects_menu_builds_a_preview(studio: Studio, study: Study) -> None:
    study.review()
    rounds = len(study.batches(BatchKind.ROUND))
    backend = studio.client.backends(study.projects[ProjectKind.PREVIEWS])[0]
    started = httpx.post(
        f"{studio.server.url}/api/ml/{backend.id}/train",
        headers={"Authorization": f"Token {studio.server.token}"},
        json={},
        timeout=30,
    )
    assert started.is_success
    studio.settle()
    assert len(study.batches(BatchKind.ROUND)) == rounds + 1
    assert study.specs()[-1].created_by == "Start Training"
