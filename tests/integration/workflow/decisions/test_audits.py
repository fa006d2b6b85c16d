"""An audit in a real Label Studio: its form is accepted, and its tasks are where the reviewers of the round look."""

from __future__ import annotations

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind, WorkState
from studio import ROUND, Studio, Study, text_of, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def test_audit_is_judged_in_the_tab_of_the_round_and_the_approval_states_its_promise(
    studio: Studio, study: Study
) -> None:
    study.review()
    study.judge(*[verdict_result("good")] * ROUND)
    studio.settle()
    assert "3 of 3 verdicts on this round are good." in text_of(study.page())

    study.decide("audit", audit_count=2)
    assert study.batches(BatchKind.AUDIT)[-1].state == WorkState.DONE
    previews = study.projects[ProjectKind.PREVIEWS]
    tab = next(view for view in studio.client.views(previews) if view.title == "To review now")
    waiting = list(studio.client.tasks(previews, view_id=tab.id))
    assert [task.data["batch"] for task in waiting] == [f"audit-{study.id}-1"] * 2
    assert {task.data["round"] for task in waiting} == {task.data["round"] for task in study.round_tasks()}

    for task in waiting:
        studio.client.annotate(task.id, verdict_result("good"))
    studio.settle()
    promise = "At least 31 % acceptable, at 90 % confidence: 2 audit verdicts, 0 bad."
    assert promise in text_of(study.page())

    study.decide("approve", count=1)
    assert f"Stated when version {study.specs()[-1].version} was approved: {promise}" in text_of(study.page())
