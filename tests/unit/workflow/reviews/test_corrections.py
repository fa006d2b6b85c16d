"""Outlines that reviewers draw on previews: they are kept with the verdict, and told where the next step is decided."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SampleRow
from datagen.store.tables.inputs import InputRow
from fake_studio import FakeStudio
from studio import Study, text_of, verdict_result

Points = list[list[float]]


def outline(points: Points, **fields: Any) -> dict[str, Any]:
    """A polygon as Label Studio sends it; ``points`` in percent."""
    value = {"points": points, "closed": True, "polygonlabels": ["pit"]}
    return {"from_name": "label", "to_name": "image", "type": "polygonlabels", "value": value, **fields}


#: Drawn by a person.
DRAWN = outline([[10, 10], [40, 10], [40, 40]], id="new", origin="manual")


def shown_outline(studio: FakeStudio, task_id: int) -> dict[str, Any]:
    """The outline that the task's prediction shows."""
    [prediction] = studio.client.predictions(task_id)
    [region] = prediction["result"]
    return dict(region)


def name_the_example(studio: FakeStudio, study: Study) -> InputRow:
    """Let the samples name the example that they were made from, as the composite engine's do; return its input."""
    with studio.services.database.write() as session:
        concepts = select(InputRow).where(InputRow.study_id == study.id, InputRow.role == Role.CONCEPT)
        example = session.scalars(concepts.order_by(InputRow.task_id)).all()[1]
        trace = {"instances": [{"concept": f"{str(example.digest)[:12]}:2", "concept_name": example.name}]}
        newest = study.batches(BatchKind.ROUND)[-1].id
        for sample in session.scalars(select(SampleRow).where(SampleRow.batch_id == newest)):
            body = sample.body
            sample.body = {**body, "provenance": {**body["provenance"], "steps": trace}}
        return example


def test_corrected_outline_is_kept_and_told_with_what_to_do(studio: FakeStudio, study: Study) -> None:
    """A reviewer deleted the region and drew a better one, and nothing ever mentioned it."""
    example = name_the_example(studio, study)
    study.judge(verdict_result("good"), [*verdict_result("bad", "label is off"), DRAWN])
    studio.settle()
    [_, verdict] = study.verdicts()
    assert [corrected["label"] for corrected in verdict.outlines] == ["pit"]
    sentences = (
        f"1 outline was corrected (image 2). Corrections do not change labels yet: draw that outline on the example "
        f"“{example.name}”, box 3, in the project Concepts, and build a preview."
    )
    page = study.page()
    assert sentences in text_of(page), page
    second = study.round_tasks()[1].id
    for kind, task_id in ((ProjectKind.PREVIEWS, second), (ProjectKind.CONCEPTS, example.task_id)):
        assert f'href="/projects/{study.projects[kind]}/data?task={task_id}"' in page
    study.act(StudyEvent.REFINE)
    studio.settle()
    assert study.specs()[-1].notes[-1] == sentences
    assert sentences in text_of(study.page())


def test_points_are_stored_in_pixels(studio: FakeStudio, study: Study) -> None:
    study.judge([*verdict_result("bad"), DRAWN])
    studio.settle()
    image = study.samples_of(study.batches(BatchKind.ROUND)[-1])[0].body["image"]
    [verdict] = study.verdicts()
    corners = {(x * image["width"] / 100, y * image["height"] / 100) for x, y in DRAWN["value"]["points"]}
    assert {tuple(point) for point in verdict.outlines[0]["points"]} == {(round(x, 2), round(y, 2)) for x, y in corners}


@pytest.mark.parametrize("origin", [{"origin": "prediction"}, {}])
def test_outline_that_was_shown_is_no_correction(studio: FakeStudio, study: Study, origin: dict[str, str]) -> None:
    for task in study.round_tasks():
        studio.client.annotate(
            task.id, [*verdict_result("bad", "label is off"), shown_outline(studio, task.id) | origin]
        )
    studio.settle()
    assert [verdict.outlines for verdict in study.verdicts()] == [[]] * len(study.round_tasks())
    assert "corrected" not in study.page()


def test_moved_corner_is_a_correction_and_drawing_it_back_is_none(studio: FakeStudio, study: Study) -> None:
    [task, *_] = study.round_tasks()
    shown = shown_outline(studio, task.id)
    [[x, y], *others] = shown["value"]["points"]
    moved = outline([[x - 5, y], *others], id=shown["id"], origin="prediction-changed")
    annotation = studio.client.annotate(task.id, [*verdict_result("bad"), moved])
    studio.settle()
    assert len(study.verdicts()[0].outlines) == 1
    page = text_of(study.page())
    assert "1 outline was corrected (image 1). Corrections do not change labels yet: draw that outline on the" in page
    assert "outline on the examples in the project Concepts, and build a preview." in page
    studio.client.update_annotation(annotation, verdict_result("bad"))
    studio.settle()
    assert study.verdicts()[0].outlines == []


def test_unusable_drawing_leaves_the_verdict(studio: FakeStudio, study: Study) -> None:
    broken = [outline([[1, 1]]), outline([["a", 1], [2, 2], [3, 3]]), {**DRAWN, "value": None}, {**DRAWN, "value": 3}]
    study.judge([*verdict_result("bad"), *broken])
    studio.settle()
    [verdict] = study.verdicts()
    assert (str(verdict.opinion), verdict.outlines) == ("bad", [])


def test_instructions_say_it_before_people_draw(studio: FakeStudio, study: Study) -> None:
    instruction = studio.client.project(study.projects[ProjectKind.PREVIEWS]).options["expert_instruction"]
    assert "The drawing tools correct no label yet." in instruction
