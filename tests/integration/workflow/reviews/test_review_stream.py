"""The review tasks that Label Studio hands out, and what its lists count."""

from __future__ import annotations

import httpx
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from second_person import second_person
from studio import ROUND, Studio, Study, verdict_result

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]


def test_previews_of_a_refined_round_are_handed_out_to_nobody_and_signed_by_nobody(
    studio: Studio, study: Study
) -> None:
    """Unjudged previews got empty annotations signed by the token's user, and a project of 41 verdicts counted 109."""
    study.review()
    first = {task.id for task in study.round_tasks()}
    study.judge(verdict_result("bad", "too small"))
    study.act(StudyEvent.REFINE)
    studio.settle()
    second = {task.id for task in study.round_tasks()}
    project = study.projects[ProjectKind.PREVIEWS]
    with second_person(studio.server) as colleague:
        for task in study.round_tasks():
            served = httpx.post(
                f"{studio.server.url}/api/dm/actions/",
                params={"id": "next_task", "project": project},
                json={},
                headers=_headers(studio),
                timeout=30,
            ).raise_for_status()
            assert served.json()["id"] in second
            colleague.annotate(task.id, verdict_result("good"))
    counts = studio.client.counts([project])[project]
    assert counts.annotations == 1 + ROUND
    closed = [task for task in study.tasks(ProjectKind.PREVIEWS) if task.id in first]
    assert all(task.is_finished for task in closed)
    assert sum(len(task.annotations) for task in closed) == 1


def _headers(studio: Studio) -> dict[str, str]:
    return {"Authorization": f"Token {studio.server.token}"}
