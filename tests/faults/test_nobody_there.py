"""Work in Label Studio while Datagen's processes are dead counts, once, when they run again."""

from __future__ import annotations

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind
from plant import Plant, assert_nothing_twice_nothing_missing
from studio import Study, asked, verdict_result

pytestmark = pytest.mark.integration


def test_a_verdict_changed_while_the_workers_are_dead(plant: Plant, reviewed: Study) -> None:
    first, second = reviewed.judge(verdict_result("good"), verdict_result("good"))
    plant.until(lambda: len(reviewed.verdicts()) == 2, "The verdicts")
    plant.kill("worker-1", "worker-2")
    plant.client.update_annotation(first, verdict_result("bad", "wrong place"))
    plant.client.delete_annotation(second)
    plant.start("worker-1", "worker-2")
    plant.until(lambda: [row.reasons for row in reviewed.verdicts()] == [["wrong place"]], "The change")
    plant.until_settled()


def test_decision_while_all_parts_are_down_is_carried_out_afterwards(plant: Plant, reviewed: Study) -> None:
    rounds = len(reviewed.batches(BatchKind.ROUND))
    decision = reviewed.decision_tasks()[-1]
    plant.kill_all()
    reviewed.judge(verdict_result("good"), verdict_result("bad", "too strong"), verdict_result("good"))
    plant.client.annotate(decision.id, asked("refine"))

    plant.ensure_all()
    plant.until(lambda: len(reviewed.batches(BatchKind.ROUND)) > rounds, "The refinement")
    plant.until(lambda: reviewed.row().state == "reviewing", "The round that follows")
    plant.until_settled()
    judged, refined = reviewed.batches(BatchKind.ROUND)[-2:]
    assert [str(row.opinion) for row in reviewed.verdicts_of(judged)] == ["good", "bad", "good"]
    assert len(reviewed.batches(BatchKind.ROUND)) == rounds + 1
    assert sum(line.endswith(f"refine (round {refined.number}, 3 images)") for line in reviewed.audit()) == 1
    assert "Not done" not in str(plant.client.task(decision.id, reviewed.projects[ProjectKind.DECISIONS]).data["html"])
    assert_nothing_twice_nothing_missing(reviewed)
