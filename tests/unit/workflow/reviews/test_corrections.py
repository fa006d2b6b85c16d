"""Outlines that reviewers draw on previews: they are kept with the verdict, shown, and used by the next version."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.verdict import VerdictRule
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SampleRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.reviews import verdict_sync
from fake_studio import FakeStudio
from instant_engine import InstantEngine
from studio import HEIGHT, WIDTH, Study, text_of, verdict_result

Points = list[list[float]]


def outline(points: Points, **fields: Any) -> dict[str, Any]:
    """A polygon as Label Studio sends it; ``points`` in percent."""
    value = {"points": points, "closed": True, "polygonlabels": ["pit"]}
    return {"from_name": "label", "to_name": "image", "type": "polygonlabels", "value": value, **fields}


#: Drawn by a person, over the synthesized object.
DRAWN = outline([[40, 40], [60, 40], [60, 60]], id="new", origin="manual")
#: Drawn where nothing was synthesized.
ELSEWHERE = outline([[1, 1], [20, 1], [20, 20]], id="other", origin="manual")


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
        pose = {"degrees": 0, "scale": 1, "stretch": 1, "mirrored": False, "placed_at": [10, 20]}
        key = f"{str(example.digest)[:12]}:2"
        trace = {"instances": [{"concept": key, "concept_name": example.name, **pose}]}
        newest = study.batches(BatchKind.ROUND)[-1].id
        for sample in session.scalars(select(SampleRow).where(SampleRow.batch_id == newest)):
            body = sample.body
            sample.body = {**body, "provenance": {**body["provenance"], "steps": trace}}
        return example


def test_corrected_outline_is_used_by_the_next_version(studio: FakeStudio, study: Study) -> None:
    example = name_the_example(studio, study)
    study.judge(verdict_result("good"), [*verdict_result("bad", "label is off"), DRAWN, ELSEWHERE])
    studio.settle()
    page = text_of(study.page())
    assert (
        f"2 outlines were corrected (image 2). refine cuts out the example “{example.name}”, box 3, along them, or "
        "says why it does not. 1 of them overlaps no synthesized object, and is not used. The labels of this version "
        "stay as they are shown: approve would generate such."
    ) in page
    study.act(StudyEvent.REFINE)
    studio.settle()
    version = study.specs()[-1]
    key = f"{str(example.digest)[:12]}:2"
    [outline] = version.body["parameters"]["corrected_outlines"][key]
    width, height = WIDTH / 100, HEIGHT / 100
    corners = {(40 * width, 40 * height), (60 * width, 40 * height), (60 * width, 60 * height)}
    assert {tuple(point) for point in outline} == {(round(x - 10, 2), round(y - 20, 2)) for x, y in corners}
    assert [note for note in version.notes if "corrected" in note] == [
        f"Concept {example.name}, box 3 is cut out along the outline that was corrected on 1 preview.",
        "1 corrected outline overlaps no synthesized object, and is not used.",
    ]


def test_correction_by_a_verdict_that_does_not_count_is_not_used(studio: FakeStudio, study: Study) -> None:
    name_the_example(studio, study)
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).verdict_rule = VerdictRule.FIRST
    study.judge(verdict_result("good"))
    with studio.client.acting_as(2, "ann@example.com"):
        study.judge([*verdict_result("bad", "label is off"), DRAWN])
    studio.settle()
    assert "corrected" not in study.page()
    study.act(StudyEvent.REFINE)
    assert "corrected_outlines" not in study.specs()[-1].body["parameters"]


def test_engine_that_uses_no_corrections_says_what_to_do(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reviewer deleted the region and drew a better one, and no message mentioned it."""
    monkeypatch.setattr(InstantEngine, "uses_corrections", False)
    example = name_the_example(studio, study)
    study.judge(verdict_result("good"), [*verdict_result("bad", "label is off"), DRAWN])
    studio.settle()
    [_, verdict] = study.verdicts()
    assert [corrected["label"] for corrected in verdict.outlines] == ["pit"]
    sentences = (
        f"1 outline was corrected (image 2). The engine “instant” does not use corrections: draw that outline on the "
        f"example “{example.name}”, box 3, in the project Concepts, and build a preview."
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
    moved = outline([[x + 2, y + 2], *others], id=shown["id"], origin="prediction-changed")
    annotation = studio.client.annotate(task.id, [*verdict_result("bad"), moved])
    studio.settle()
    assert len(study.verdicts()[0].outlines) == 1
    page = text_of(study.page())
    assert "1 outline was corrected (image 1). refine cuts out the examples along it, or says why it does not." in page
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
    assert "<b>If the outline is off</b>, delete it and draw a better one, or move its corners" in instruction


def test_parts_that_are_left_as_shown_stay_part_of_the_corrected_object(studio: FakeStudio, study: Study) -> None:
    """An object of several parts of which a reviewer redraws one and deletes one keeps the others."""
    with studio.services.database.write() as session:
        newest = study.batches(BatchKind.ROUND)[-1].id
        for sample in session.scalars(select(SampleRow).where(SampleRow.batch_id == newest)):
            parts = [{"points": [[x, 40], [x + 4, 40], [x + 4, 44]]} for x in (50, 60, 70, 80)]
            box = {"x": 50, "y": 40, "width": 34, "height": 4}
            sample.body = {**sample.body, "instances": [{"label": "pit", "box": box, "outlines": parts}]}
    shown = [outline([[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in part["points"]]) for part in parts]
    redrawn = outline([[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in ((59, 39), (65, 39), (65, 46))])
    study.judge([*verdict_result("bad", "label is off"), shown[0], redrawn, shown[3]])
    study.judge([*verdict_result("bad", "label is off"), *shown, redrawn])  # the old part lies under the new one
    studio.settle()
    assert [verdict.kept_outlines for verdict in study.verdicts()] == [[0, 3], [0, 1, 2, 3]]
    with studio.rows() as session:
        reviewed = verdict_sync.judged(session, newest)
    lefts = [[part.bounds.x for part in sample.corrected[0].outline] for sample in reviewed]
    assert lefts == [[59, 50, 80], [59, 50, 70, 80]]
