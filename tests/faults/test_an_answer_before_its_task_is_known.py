"""A task that is annotated after its creation and before its id is stored: the annotation counts."""

from __future__ import annotations

import json
import re
import threading

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.store.tables.base import BatchKind
from datagen.store.tables.messages import InboxRow
from plant import Plant, assert_nothing_twice_nothing_missing
from stage.gateway import Answer, Forward, Passing
from studio import Study, asked, verdict_result

pytestmark = pytest.mark.integration
#: Seconds in which the answer is given and handled. While the import is held, the other worker may first wait for its
#: turn to import, up to 30 seconds.
ANSWERED_S = 180


class AnsweredAtOnce:
    """Annotates the tasks of the first import into a project before the import request is answered."""

    def __init__(self, plant: Plant, project_id: int, form: list[dict[str, object]]) -> None:
        self._plant, self._form = plant, form
        self._import = re.compile(rf"/api/projects/{project_id}/import\?")
        self._project_id = project_id
        self._lock = threading.Lock()
        self.done = False

    def __call__(self, passing: Passing, forward: Forward) -> Answer | None:
        if passing.method != "POST" or not self._import.match(passing.path):
            return forward()
        answer = forward()
        with self._lock:
            if not self.done:
                for task_id in json.loads(answer.body)["task_ids"]:
                    self._plant.client.annotate(task_id, self._form)
                self._plant.until(self._handled, "The handling of the event", within=ANSWERED_S)
                self.done = True
        return answer

    def _handled(self) -> bool:
        with self._plant.rows() as session:
            rows = session.query(InboxRow.state).where(
                InboxRow.project_id == self._project_id, InboxRow.action == "ANNOTATION_CREATED"
            )
            return all(str(state) == "done" for (state,) in rows)


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
