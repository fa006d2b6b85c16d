"""The whole loop: in a real browser, on a real Label Studio, with the mouse and the keyboard."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from e2e_steps import (
    APPROVED,
    TOLERANCE_PX,
    decide,
    drawn,
    label_bounds,
    near,
    newest_decision,
    page,
    predicted,
    undrawn,
)
from e2e_study import ROUND, Study
from stage.metal import HEIGHT, WIDTH
from stage.person import Person

pytestmark = [pytest.mark.browser, pytest.mark.integration]


def test_from_a_drawn_box_to_the_dataset(open_study: Callable[[str], Study], person: Person, pack: Path) -> None:
    study = open_study(f"loop {uuid.uuid4().hex[:8]}")
    for role in ("concept", "canvas", "background"):
        study.servers.datagen("add", study.name, role, str(pack / f"{role}.json"))

    # the decision page says what is missing
    study.wait(lambda: study.status()["inputs"] == {"concept": 5, "canvas": 5, "background": 8}, "reading the inputs")
    (decision,) = study.tasks(ProjectKind.DECISIONS)
    study.wait(lambda: "1 more canvas" in str(study.client.task(decision.id).data["html"]), "saying what is missing")
    person.open_task(study.projects[ProjectKind.DECISIONS], decision.id)
    text = person.form_text()
    assert "1 more concept image with a box round the concept (there are 5, at least 6 needed)" in text
    assert "1 more canvas image with a polygon where it may appear (there are 5, at least 6 needed)" in text

    # a box with the mouse
    box = drawn(pack / "concept-drawn.json")
    start = (box["x"] / 100, box["y"] / 100)
    end = ((box["x"] + box["width"]) / 100, (box["y"] + box["height"]) / 100)
    concept = undrawn(study, ProjectKind.CONCEPTS)
    person.open_task(study.projects[ProjectKind.CONCEPTS], concept)
    assert person.image_size() == (WIDTH, HEIGHT)
    person.draw_box(0, start, end)
    person.submit()
    (result,) = study.client.task(concept).annotations[0].result
    assert (result["from_name"], result["value"]["rectanglelabels"]) == ("concept", ["scratch"])
    value = result["value"]
    near((value["x"] / 100, value["y"] / 100), start)
    near(((value["x"] + value["width"]) / 100, (value["y"] + value["height"]) / 100), end)

    # a polygon with the mouse
    corners = [(0.3, 0.3), (0.7, 0.32), (0.72, 0.66), (0.5, 0.7), (0.3, 0.68)]  # well inside the plate
    canvas = undrawn(study, ProjectKind.CANVASES)
    person.open_task(study.projects[ProjectKind.CANVASES], canvas)
    assert person.discard_regions() >= 1  # what the five drawn ones let the model propose
    person.draw_polygon(0, corners)
    person.submit()
    (result,) = study.client.task(canvas).annotations[0].result
    assert (result["from_name"], result["value"]["polygonlabels"]) == ("canvas", ["area"])
    points = [(x / 100, y / 100) for x, y in result["value"]["points"]]
    assert len(points) == len(corners)
    for point, corner in zip(points, corners, strict=True):
        near(point, corner)
    study.wait(
        lambda: study.status()["inputs"] == {"concept": 6, "canvas": 6, "background": 8}, "reading what was drawn"
    )
    with study.database.read() as session:
        assert session.scalars(select(InputRow.answered).where(InputRow.task_id.in_([concept, canvas]))).all() == [
            True,
            True,
        ]

    # build preview
    study.wait(lambda: "Possible now" in page(study) and "Missing" not in page(study), "the decision page without gaps")
    decide(person, study, "build preview")
    study.wait(lambda: study.status()["state"] == "reviewing", "the first preview round")
    previews = study.tasks(ProjectKind.PREVIEWS)
    assert len(previews) == ROUND

    # the picture of a preview is there, and its outline is drawn where the mask is
    person.open_task(study.projects[ProjectKind.PREVIEWS], previews[0].id)
    assert person.image_size() == (WIDTH, HEIGHT)
    shown = len(predicted(study, previews[0].id))
    person.expect_regions(shown)
    ((left, top), (right, bottom)) = label_bounds(study, previews[0].id)
    # an image may show several, and the page draws them in an order of its own
    outline = min(person.outlines(shown), key=lambda outline: math.dist(outline[1:3], (left, top)))
    near(outline[1:3], (left, top), 2 * TOLERANCE_PX)
    near(outline[3:5], (right, bottom), 2 * TOLERANCE_PX)

    # verdicts: by key, one of them bad with a reason and a comment
    for number, task in enumerate(previews):
        person.open_task(study.projects[ProjectKind.PREVIEWS], task.id)
        if number == 0:
            person.press("b")
            person.tick("too strong")
            person.write("comment", "stands out <b>more</b> than the real ones")
            person.press("Tab")
        else:
            person.press("g")
        assert person.ticked("bad" if number == 0 else "good")
        person.submit_by_key()
    study.wait(lambda: study.status()["verdicts"] == {"good": ROUND - 1, "bad": 1}, "keeping the verdicts")
    with study.database.read() as session:
        sample = session.scalars(select(SampleRow).where(SampleRow.task_id == previews[0].id)).one()
        verdict = session.scalars(select(VerdictRow).where(VerdictRow.sample_id == sample.id)).one()
        assert (verdict.opinion, verdict.reasons) == ("bad", ["too strong"])
        assert verdict.comment == "stands out <b>more</b> than the real ones"
        assert person.server.email in verdict.reviewer

    # refine: a child version that says what changed
    study.wait(lambda: "<b>0</b> still to review" in page(study), "counting the verdicts on the decision page")
    decide(person, study, "refine")
    study.wait(lambda: study.status()["version"] == 2 and study.status()["state"] == "reviewing", "the second round")
    with study.database.read() as session:
        versions = session.scalars(
            select(SpecRow).join(StudyRow, StudyRow.id == SpecRow.study_id).where(StudyRow.name == study.name)
        ).all()
        first, second = sorted(versions, key=lambda spec: spec.version)
        assert (first.state, second.parent_id) == ("refined", first.id)
        assert second.notes
        note = second.notes[0]
    assert len(study.tasks(ProjectKind.PREVIEWS)) == 2 * ROUND

    # approve
    study.wait(lambda: "What changed in version 2" in page(study), "the decision page of the second round")
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    assert note in person.form_text()
    person.tick("approve")
    person.tick("I have looked")  # no preview of this round was judged
    person.number("count", APPROVED)
    person.write("name", "first batch")
    person.submit()
    study.wait(lambda: study.status()["dataset_tasks"] == APPROVED, "the dataset")
    study.wait(lambda: study.status()["state"] == "accepted", "the end of the run")
    with study.database.read() as session:
        run = session.scalars(
            select(BatchRow)
            .join(StudyRow, StudyRow.id == BatchRow.study_id)
            .where(StudyRow.name == study.name, BatchRow.kind == BatchKind.RUN)
        ).one()
        assert (run.count, run.name, run.state) == (APPROVED, "first batch", "done")
        assert session.get_one(SpecRow, second.id).state == "accepted"
        decided = session.scalars(select(AuditRow.what).where(AuditRow.study == study.name).order_by(AuditRow.id)).all()
        assert [action.split(" (")[0] for action in decided if not action.startswith("provision")][-3:] == [
            "build preview",
            "refine",
            "approve",
        ]

    # the dataset, with its labels
    dataset = study.tasks(ProjectKind.DATASET)
    assert len(dataset) == APPROVED
    for task in dataset:
        assert {region["from_name"] for region in predicted(study, task.id)} == {"label"}
    person.open_task(study.projects[ProjectKind.DATASET], dataset[0].id)
    assert person.image_size() == (WIDTH, HEIGHT)
    person.expect_regions(len(predicted(study, dataset[0].id)))
    assert person.outlines()
    assert person.errors == []


def test_every_project_opens_without_an_error_and_an_empty_study_says_what_it_needs(
    open_study: Callable[[str], Study], person: Person
) -> None:
    study = open_study(f"empty {uuid.uuid4().hex[:8]}")
    for project_id in study.projects.values():
        person.open_project(project_id)
    study.wait(lambda: len(study.tasks(ProjectKind.DECISIONS)) == 1, "the first decision task")
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    text = person.form_text()
    for sentence in (
        "6 more concept images with a box round the concept (there are 0, at least 6 needed)",
        "6 more canvas images with a polygon where it may appear (there are 0, at least 6 needed)",
        "6 more background images without the concept (there are 0, at least 6 needed)",
    ):
        assert sentence in text
    assert "Possible now: stop." in text

    # a preview that is requested all the same is refused with the reason, in the same task
    person.tick("build preview")
    person.submit()
    study.wait(lambda: "Not done:" in page(study), "the refusal on the decision page")
    person.open_task(study.projects[ProjectKind.DECISIONS], newest_decision(study))
    assert "Not done: a preview cannot be built yet. Missing: 6 more concept images" in person.form_text()
    assert study.status()["state"] == "collecting"
    assert person.errors == []
