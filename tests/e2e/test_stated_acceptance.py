"""Two people review, one corrects a region, and after refine and an audit the approval states an acceptance."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import shapely
from playwright.sync_api import Browser
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.sample_mapping import sample_of
from e2e_steps import APPROVED, decide, newest_decision, page
from e2e_study import ROUND, Study
from second_person import sign_up
from stage.label_studio_server import LabelStudio
from stage.metal import HEIGHT, WIDTH
from stage.person import Person, Point

pytestmark = [pytest.mark.browser, pytest.mark.integration]

#: Number of audit samples, and what they promise if none is bad.
AUDIT = 3
PROMISE = "At least 46 % acceptable, at 90 % confidence: 3 audit verdicts, 0 bad."
#: Pixels between the outline of an object and the corners that the colleague draws round it.
MARGIN_PX = 6


@pytest.fixture
def colleague(chromium: Browser, label_studio: LabelStudio, tmp_path: Path) -> Iterator[Person]:
    """A second person, who has logged in."""
    somebody = Person(chromium, sign_up(label_studio))
    somebody.log_in()
    yield somebody
    somebody.page.screenshot(path=tmp_path / "colleague-seen-last.png")
    somebody.close()


def test_two_people_review_one_corrects_a_region_and_the_approval_states_an_audited_acceptance(
    open_study: Callable[[str], Study], person: Person, colleague: Person, whole_pack: Path
) -> None:
    study = open_study(f"audited {uuid.uuid4().hex[:8]}")
    for role in ("concept", "canvas", "background"):
        study.servers.datagen("add", study.name, role, str(whole_pack / f"{role}.json"))
    study.wait(lambda: "Possible now" in page(study) and "Missing" not in page(study), "the decision page without gaps")
    decide(person, study, "build preview")
    study.wait(lambda: study.status()["state"] == "reviewing", "the first preview round")

    # one person calls everything good
    previews = [task.id for task in study.tasks(ProjectKind.PREVIEWS)]
    call_good(person, study, previews)
    study.wait(lambda: study.status()["verdicts"] == {"good": ROUND, "bad": 0}, "keeping the verdicts")

    # the other one disagrees about one preview, and draws its outline anew
    number, concept, corners = correctable(study, previews)
    colleague.open_task(study.projects[ProjectKind.PREVIEWS], previews[number])
    colleague.judge_too()
    while colleague.regions():
        colleague.discard_regions()
    colleague.draw_polygon(0, corners)
    colleague.tick("bad")
    colleague.tick("label is off")
    colleague.submit()
    study.wait(lambda: study.status()["verdicts"] == {"good": ROUND, "bad": 1}, "keeping the second opinion")
    study.wait(lambda: "Good and bad at once" in page(study), "the disagreement on the decision page")
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    text = person.form_text()
    assert f"Good and bad at once: image {number + 1}." in text
    assert f"1 outline was corrected (image {number + 1})" in text

    # refine: the next version is cut out along the drawn outline
    decide(person, study, "refine")
    study.wait(lambda: study.status()["version"] == 2 and study.status()["state"] == "reviewing", "the second round")
    refined = newest_version(study)
    assert list(refined.body["parameters"]["corrected_outlines"]) == [concept]
    study.wait(lambda: "What changed in version 2" in page(study), "the decision page of the second round")
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    assert "is cut out along the outline that was corrected on 1 preview." in person.form_text()

    # an audit, because the second round is good
    call_good(person, study, to_judge(study, ROUND))
    study.wait(lambda: f"{ROUND} of {ROUND} verdicts on this round are good" in page(study), "the offer of an audit")
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    person.tick("audit")
    person.number("audit_count", AUDIT)
    person.submit()
    study.wait(lambda: len(study.tasks(ProjectKind.PREVIEWS)) == 2 * ROUND + AUDIT, "the audit samples")
    call_good(person, study, to_judge(study, AUDIT))
    study.wait(lambda: PROMISE in page(study), "the promise on the decision page")

    # the approval states it
    decision = newest_decision(study)
    person.open_task(study.projects[ProjectKind.DECISIONS], decision)
    assert f"{PROMISE} It is about what reviewers say of version 2; approve states it." in person.form_text()
    person.tick("approve")
    person.number("count", APPROVED)
    person.submit()
    study.wait(lambda: study.status()["dataset_tasks"] == APPROVED, "the dataset")
    study.wait(lambda: "Stated:" in str(study.client.task(decision).data["html"]), "the promise with the decision")
    person.open_task(study.projects[ProjectKind.DECISIONS], decision)
    assert f"Stated: {PROMISE}" in person.form_text()
    with study.database.read() as session:
        run = session.scalars(
            select(BatchRow)
            .join(StudyRow, StudyRow.id == BatchRow.study_id)
            .where(StudyRow.name == study.name, BatchRow.kind == BatchKind.RUN)
        ).one()
        assert run.spec_id == refined.id
        assert run.promise is not None
        assert run.promise["sentence"] == PROMISE
    assert person.errors == []
    assert colleague.errors == []


def call_good(person: Person, study: Study, task_ids: list[int]) -> None:
    for task_id in task_ids:
        person.open_task(study.projects[ProjectKind.PREVIEWS], task_id)
        # until all is loaded, the editor may replace the form and lose what was chosen
        person.page.wait_for_load_state("networkidle")
        person.outlines()
        person.tick("good")
        person.submit()


def to_judge(study: Study, count: int) -> list[int]:
    """Return the ids of the newest ``count`` review tasks, of which nobody has judged any."""
    newest = study.tasks(ProjectKind.PREVIEWS)[-count:]
    assert not any(task.annotations for task in newest)
    return [task.id for task in newest]


def correctable(study: Study, task_ids: list[int]) -> tuple[int, str, list[Point]]:
    """Return a preview with one object in the shape that its photo shows, and a wider outline of this object.

    The preview is given by its number from 0, the object by the key of its concept.
    """
    for number, task_id in enumerate(task_ids):
        with study.database.read() as session:
            sample = sample_of(session.scalars(select(SampleRow).where(SampleRow.task_id == task_id)).one())
        trace = sample.provenance.trace.instances[0]
        if len(sample.instances) > 1 or trace.details["shape"] != "as photographed" or trace.concept is None:
            continue
        outline = shapely.MultiPoint(sample.instances[0].outlines[0].points)
        around = outline.minimum_rotated_rectangle.buffer(MARGIN_PX, join_style="mitre")
        corners = [(x / WIDTH, y / HEIGHT) for x, y in around.exterior.coords[:-1]]
        return number, trace.concept.key, corners
    pytest.fail("No preview shows one object alone in the shape of its photo.")


def newest_version(study: Study) -> SpecRow:
    with study.database.read() as session:
        versions = session.scalars(
            select(SpecRow).join(StudyRow, StudyRow.id == SpecRow.study_id).where(StudyRow.name == study.name)
        ).all()
        return max(versions, key=lambda spec: spec.version)
