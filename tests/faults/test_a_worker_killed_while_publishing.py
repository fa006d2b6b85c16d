"""A publisher killed before, during or after the creation of tasks: each task exists once.

Label Studio's import is not idempotent and knows nothing of us, so these are the moments that make twins or holes.
"""

from __future__ import annotations

import re
import threading

import pytest

from datagen.domain.lifecycle import StudyEvent
from plant import LEASE_S, Plant, approved, assert_nothing_twice_nothing_missing
from stage.gateway import Answer, Forward, Passing
from studio import Study

pytestmark = pytest.mark.integration

IMPORT = re.compile(r"/api/projects/\d+/import\?")


class FirstImport:
    """Drops or delays the first import request, or loses its answer; forwards all other requests."""

    def __init__(self, plant: Plant, *, forwarded: bool, killed: bool, late_by: float = 0.0) -> None:
        self._plant, self._forwarded, self._killed, self._late_by = plant, forwarded, killed, late_by
        self._lock = threading.Lock()
        self.seen = 0
        self.came_late = threading.Event()

    def __call__(self, passing: Passing, forward: Forward) -> Answer | None:
        if passing.method != "POST" or not IMPORT.match(passing.path):
            return forward()
        with self._lock:
            self.seen += 1
            first = self.seen == 1
        if not first:
            return forward()
        if self._forwarded and not self._late_by:
            forward()
        if self._killed:
            self._plant.kill("worker-1")
        if self._late_by:
            threading.Timer(self._late_by, self._forward_late, (forward,)).start()
        return None  # whoever asked is dead, or sees a closed connection

    def _forward_late(self, forward: Forward) -> None:
        forward()
        self.came_late.set()


@pytest.mark.parametrize(
    ("forwarded", "killed"),
    [
        pytest.param(False, True, id="killed before Label Studio has it"),
        pytest.param(True, True, id="killed between Label Studio's import and our commit"),
        pytest.param(True, False, id="the answer is lost"),
    ],
)
def test_every_task_is_there_once(plant: Plant, reviewed: Study, forwarded: bool, killed: bool) -> None:
    plant.kill("worker-2")
    meddler = FirstImport(plant, forwarded=forwarded, killed=killed)
    plant.to_label_studio.meddler = meddler
    reviewed.act(StudyEvent.APPROVE, count=3)
    plant.until(lambda: meddler.seen > 0 and killed == ("worker-1" not in plant.running), "The import")
    if killed:
        plant.start("worker-1")
    plant.until(lambda: str(approved(reviewed).state) == "done", "The end of the run")
    plant.until_settled()
    assert meddler.seen == (1 if forwarded else 2) + 1  # the samples; the decision task that follows is another import
    assert_nothing_twice_nothing_missing(reviewed)


def test_an_import_that_comes_late_leaves_no_twins(plant: Plant, reviewed: Study) -> None:
    """Label Studio carries out a killed worker's request after that of the second attempt."""
    meddler = FirstImport(plant, forwarded=True, killed=True, late_by=LEASE_S + 4)
    plant.to_label_studio.meddler = meddler
    plant.kill("worker-2")
    reviewed.act(StudyEvent.APPROVE, count=3)
    plant.until(lambda: "worker-1" not in plant.running, "The import")
    plant.start("worker-1", "worker-2")
    plant.until(lambda: str(approved(reviewed).state) == "done", "The end of the run")
    assert meddler.came_late.wait(30)
    plant.until_settled()
    assert_nothing_twice_nothing_missing(reviewed)


def test_a_decision_task_is_there_once(plant: Plant, reviewed: Study) -> None:
    plant.kill("worker-2")
    meddler = FirstImport(plant, forwarded=True, killed=True)
    plant.to_label_studio.meddler = meddler
    reviewed.act(StudyEvent.STOP)  # opens a decision point, and so makes a task
    plant.until(lambda: "worker-1" not in plant.running, "The import")
    plant.start("worker-1")
    plant.until_settled()
    assert_nothing_twice_nothing_missing(reviewed)
