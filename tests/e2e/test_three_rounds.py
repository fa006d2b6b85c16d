"""Three rounds judged by Label Studio's big button: every verdict counts, and no closed round is served."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from datagen.domain.inputs import ProjectKind
from e2e_steps import decide, page
from e2e_study import PATIENCE_S, ROUND, Study
from stage.person import Person
from stage.processes import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: Of each round so many previews are judged; the others are left when it is refined.
JUDGED = 2


def test_every_verdict_given_by_the_big_button_is_counted(
    open_study: Callable[[str], Study], person: Person, whole_pack: Path
) -> None:
    study = open_study(f"button {uuid.uuid4().hex[:8]}")
    for role in ("concept", "canvas", "background"):
        study.servers.datagen("add", study.name, role, str(whole_pack / f"{role}.json"))
    study.wait(lambda: "Possible now" in page(study) and "Missing" not in page(study), "the decision page without gaps")
    decide(person, study, "build preview")
    for number in (1, 2, 3):
        study.wait(
            lambda number=number: study.status()["version"] == number and study.status()["state"] == "reviewing",
            f"round {number}",
        )
        served = judge_by_the_button(person, study, JUDGED)
        rounds = {task.id: task.data["round"] for task in study.tasks(ProjectKind.PREVIEWS)}
        assert [rounds[task_id] for task_id in served] == [str(number)] * JUDGED
        study.wait(lambda: f"<b>{ROUND - JUDGED}</b> still to review" in page(study), f"the verdicts of round {number}")
        assert study.status()["verdicts"] == {"good": JUDGED * number, "bad": 0}  # of the study, all rounds
        if number < 3:
            decide(person, study, "refine")
    assert "do not count" not in page(study)
    assert person.errors == []


def judge_by_the_button(person: Person, study: Study, count: int) -> list[int]:
    """Press *Label All Tasks* in the project's list and call each served task good; return the ids."""
    person.open_project(study.projects[ProjectKind.PREVIEWS])
    person.page.get_by_role("button", name=re.compile("^Label All Tasks")).first.click()
    person.page.get_by_role("button", name="Close modal").click()  # the instructions
    served: list[int] = []
    for _ in range(count):
        wait_until(lambda: served_now(person) not in (None, *served), PATIENCE_S, "the next task", every=0.1)
        task_id = served_now(person)
        assert task_id is not None
        served.append(task_id)
        person.image_size()
        person.press("g")
        person.submit()
    return served


def served_now(person: Person) -> int | None:
    """Return the task's number that the editor shows below the form; None if no task is open."""
    shown = person.page.locator(".lsf-current-task__task-id")
    match = re.match(r"#?(\d+)\b", shown.inner_text()) if shown.count() else None
    return int(match[1]) if match else None
