"""A task that is annotated after its creation and before its id is stored: the annotation counts."""

from __future__ import annotations

import json
import re
import threading

import pytest
from sqlalchemy import func, select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.messages import InboxRow
from plant import Plant, assert_nothing_twice_nothing_missing
from stage.gateway import Answer, Forward, Passing
from studio import Study, asked, verdict_result

pytestmark = pytest.mark.integration
#: Seconds in which the answer is given and handled.
ANSWERED_S = 180


class AnsweredAtOnce:
    """Annotates the tasks of the first import into a project before the import request is answered."""

    def __init__(self, plant: Plant, project_id: int, form: list[dict[str, object]]) -> None:
        self._plant, self._form = plant, form
        self._import = re.compile(rf"/api/projects/{project_id}/import\?")
        self._project_id = project_id
        self._lock = threading.Lock()
        self._begun = self.done = False

    def __call__(self, passing: Passing, forward: Forward) -> Answer | None:
        if passing.method != "POST" or not self._import.match(passing.path):
            return forward()
        with self._lock:  # only one import is held: if all workers waited here, none would handle the events
            is_first, self._begun = not self._begun, True
        answer = forward()
        if is_first:
            handled = self._handled()
            task_ids = json.loads(answer.body)["task_ids"]
            for task_id in task_ids:
                self._plant.client.annotate(task_id, self._form)
            expected = handled + len(task_ids)
            self._plant.until(lambda: self._handled() >= expected, "The handling of the events", within=ANSWERED_S)
            self.done = True
        return answer

    def _handled(self) -> int:
        """The number of events of annotations in the project that are handled."""
        handled = select(func.count()).where(
            InboxRow.project_id == self._project_id,
            InboxRow.action == "ANNOTATION_CREATED",
            InboxRow.state == WorkState.DONE,
        )
        with self._plant.rows() as session:
            return session.scalar(handled) or 0


def test_a_decision(plant: Plant, reviewed: Study) -> None:
    rounds = len(reviewed.batches(BatchKind.ROUND))
    meddler = AnsweredAtOnce(plant, reviewed.projects[ProjectKind.DECISIONS], asked("stop"))
    plant.to_label_studio.meddler = meddler
    reviewed.act(StudyEvent.REFINE)
    plant.until(lambda: meddler.done, "The answer", within=ANSWERED_S)
    plant.undisturbed()
    plant.until(lambda: reviewed.row().state == StudyState.STOPPED, "The stop that was asked for", within=20)
    plant.until_settled()
    assert len(reviewed.batches(BatchKind.ROUND)) == rounds + 1
    assert_nothing_twice_nothing_missing(reviewed)


def test_a_verdict(plant: Plant, reviewed: Study) -> None:
    meddler = AnsweredAtOnce(plant, reviewed.projects[ProjectKind.PREVIEWS], verdict_result("bad", "edges show"))
    plant.to_label_studio.meddler = meddler
    reviewed.act(StudyEvent.REFINE)
    plant.until(lambda: meddler.done, "The answer", within=ANSWERED_S)
    plant.undisturbed()
    plant.until(lambda: [row.reasons for row in reviewed.verdicts()] == [["edges show"]] * 3, "The verdicts")
    plant.until_settled()
