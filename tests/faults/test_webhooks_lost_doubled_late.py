"""If webhooks are lost, duplicated, reordered or late, the state in Label Studio counts."""

from __future__ import annotations

import threading

import pytest

from datagen.domain.inputs import ProjectKind
from plant import Plant
from stage.gateway import Answer, Forward, Passing
from studio import Study, verdict_result

pytestmark = pytest.mark.integration


def opinions(study: Study) -> list[str]:
    return [str(row.opinion) for row in study.verdicts()]


def is_webhook(passing: Passing) -> bool:
    return passing.path == "/webhook"


def test_lost(plant: Plant, reviewed: Study) -> None:
    plant.to_web.meddler = lambda passing, forward: Answer(200) if is_webhook(passing) else forward()
    before = len(reviewed.events(ProjectKind.PREVIEWS))
    first, second, _ = reviewed.judge(verdict_result("good"), verdict_result("good"), verdict_result("bad"))
    plant.until(lambda: opinions(reviewed) == ["good", "good", "bad"], "Finding what was made")
    plant.client.update_annotation(first, verdict_result("bad"))
    plant.client.delete_annotation(second)
    plant.until(lambda: opinions(reviewed) == ["bad", "bad"], "Finding what was changed and deleted")
    assert len(reviewed.events(ProjectKind.PREVIEWS)) == before  # none of it was told
    plant.until_settled()


def test_doubled(plant: Plant, reviewed: Study) -> None:
    plant.until_settled()
    before = len(reviewed.events(ProjectKind.PREVIEWS))
    statuses: list[int] = []

    def twice(passing: Passing, forward: Forward) -> Answer | None:
        if is_webhook(passing):
            statuses.append(forward().status)
        answer = forward()
        if is_webhook(passing):
            statuses.append(answer.status)
        return answer

    plant.to_web.meddler = twice
    reviewed.judge(verdict_result("good"), verdict_result("bad"))
    assert statuses == [201, 200, 201, 200]
    plant.until_settled()
    assert len(reviewed.events(ProjectKind.PREVIEWS)) == before + 2
    assert opinions(reviewed) == ["good", "bad"]


def test_in_another_order(plant: Plant, reviewed: Study) -> None:
    held: list[Forward] = []

    def hold(passing: Passing, forward: Forward) -> Answer | None:
        if is_webhook(passing):
            held.append(forward)
            return Answer(200)
        return forward()

    plant.to_web.meddler = hold
    [annotation] = reviewed.judge(verdict_result("good"))
    plant.client.update_annotation(annotation, verdict_result("bad", "too small"))
    plant.client.update_annotation(annotation, verdict_result("bad", "too large"))
    plant.undisturbed()
    for forward in reversed(held):
        assert forward().status == 201
    plant.until_settled()
    assert [(str(row.opinion), row.reasons) for row in reviewed.verdicts()] == [("bad", ["too large"])]


def test_events_about_deleted_tasks_change_nothing(plant: Plant, reviewed: Study) -> None:
    released = threading.Event()

    def late(passing: Passing, forward: Forward) -> Answer | None:
        if is_webhook(passing):
            assert released.wait(30)
        return forward()

    plant.to_web.meddler = late  # Label Studio gives up waiting after a second; the webhook arrives all the same
    [annotation] = reviewed.judge(verdict_result("good"))
    plant.client.delete_annotation(annotation)
    released.set()
    plant.until_settled()
    plant.until(lambda: opinions(reviewed) == [], "The end of the verdict")
