"""Proposals are the suggestions of the study's own engine, and are renewed when the engine changes."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.geometry import Box, Polygon
from datagen.domain.inputs import Role
from datagen.imaging.png_encoder import encode_png
from datagen.store.tables.inputs import InputRow, ProposalRow
from datagen.synthesis.engine import FEWEST_PHOTOS, SuggestedBox, SuggestedOutline, Suggester
from datagen.web.prediction_lookup import NOTHING, predictions_of
from datagen.workflow.inputs.suggestions import propose
from fake_studio import FakeStudio
from instant_engine import InstantEngine
from studio import Study, box, good_inputs, plate, polygon


class Corners(Suggester):
    """Suggests the upper left triangle of every box, and of every photo."""

    def outlines(self, concept):
        return tuple(
            SuggestedOutline(label=region.label, box=box, outline=(_triangle(box.x, box.y, box.width, box.height),))
            for region in concept.regions
            for box in [region.box]
        )

    def area(self, photo):
        return (_triangle(0, 0, photo.width, photo.height),)

    def boxes(self, photo):
        return (
            SuggestedBox(label="pit", box=Box(8, 8, 20, 20), score=0.75),
            SuggestedBox(label="pit", box=Box(50, 50, 20, 20), score=0.25),
        )


def _triangle(x: float, y: float, width: float, height: float) -> Polygon:
    return Polygon(((x, y), (x + width, y), (x, y + height)))


def proposed_regions(studio: FakeStudio, study: Study, role: Role) -> list[list[str]]:
    """The controls of the regions proposed for each task of a role."""
    with studio.rows() as session:
        rows = session.scalars(
            select(ProposalRow)
            .join(InputRow, InputRow.task_id == ProposalRow.task_id)
            .where(ProposalRow.study_id == study.id, InputRow.role == role)
        )
        return [[region["from_name"] for region in row.prediction["result"]] for row in rows]


def bases(studio: FakeStudio, study: Study) -> set[str]:
    with studio.rows() as session:
        return set(session.scalars(select(ProposalRow.basis).where(ProposalRow.study_id == study.id)))


def propose_again(studio: FakeStudio, study: Study) -> None:
    assert propose(studio.services, studio.fitted_engines.pictures, study.id, threading.Event())


def test_proposals_are_the_suggestions_of_the_study_s_engine(
    studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantEngine, "suggester", lambda *_: Corners())
    study = studio.open_study()
    name, content, _ = good_inputs()[Role.CANVAS][0]
    study.give(Role.CANVAS, [(f"blank {name}", content, [])])
    studio.settle()
    outlines = proposed_regions(studio, study, Role.CONCEPT)
    assert outlines
    assert all(regions == ["concept", "outline"] for regions in outlines)
    assert proposed_regions(studio, study, Role.CANVAS) == [["canvas"]]


def test_engine_without_suggestions_proposes_no_region(studio: FakeStudio, study: Study) -> None:
    studio.settle()
    assert not any(proposed_regions(studio, study, Role.CONCEPT))
    assert not any(proposed_regions(studio, study, Role.CANVAS))


def test_new_version_of_the_engine_renews_the_proposals(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.settle()
    before = bases(studio, study)
    assert before
    propose_again(studio, study)
    assert bases(studio, study) == before
    monkeypatch.setattr(InstantEngine, "version", "2")
    propose_again(studio, study)
    assert not bases(studio, study) & before


def test_parameters_of_the_settings_reach_the_suggester_and_renew_the_proposals_that_depend_on_them(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OfParameters(Corners):
        def __init__(self, parameters):
            self.basis = str(parameters.get("segmenter", ""))

    monkeypatch.setattr(InstantEngine, "suggester", lambda _engine, parameters, *_: OfParameters(parameters))
    studio.settle()
    before = bases(studio, study)
    for parameters, renews in (({"contrast": 2.0}, False), ({"segmenter": "/models/sam"}, True)):
        services = replace(studio.services, engine_parameters=parameters)
        assert propose(services, studio.fitted_engines.pictures, study.id, threading.Event())
        assert bool(bases(studio, study) - before) == renews


def blank(study: Study, number: int = 0) -> int:
    """Add a concept photo without a drawing; return its task."""
    (task_id,) = study.give(Role.CONCEPT, [(f"blank-{number}.png", encode_png(plate(700 + number)), [])])
    return task_id


def prediction(studio: FakeStudio, task_id: int) -> dict[str, Any]:
    (posted,) = predictions_of(studio.services.database, [{"id": task_id}])
    return posted


def test_boxes_with_scores_are_predicted_for_a_concept_photo_on_which_nothing_is_drawn(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantEngine, "suggester", lambda *_: Corners())
    task_id = blank(study)
    studio.settle()
    predicted = prediction(studio, task_id)
    assert [(region["from_name"], region["type"], region["score"]) for region in predicted["result"]] == [
        ("concept", "rectanglelabels", 0.75),
        ("concept", "rectanglelabels", 0.25),
    ]
    assert predicted["score"] == 0.75


def test_no_boxes_are_predicted_before_a_label_is_drawn_in_enough_photos(
    studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantEngine, "suggester", lambda *_: Corners())
    drawn = good_inputs(FEWEST_PHOTOS)[Role.CONCEPT]
    study = studio.open_study(inputs=False)
    study.give(Role.CONCEPT, drawn[:-1])
    task_id = blank(study)
    studio.settle()
    assert prediction(studio, task_id) == NOTHING
    study.give(Role.CONCEPT, drawn[-1:])
    studio.settle()
    assert len(prediction(studio, task_id)["result"]) == 2


def test_predicted_boxes_are_renewed_when_the_number_of_drawn_photos_has_doubled(
    studio: FakeStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantEngine, "suggester", lambda *_: Corners())
    drawn = good_inputs(2 * FEWEST_PHOTOS)[Role.CONCEPT]
    study = studio.open_study(inputs=False)
    task_id = blank(study)
    renewed = []
    for more in (drawn[:FEWEST_PHOTOS], drawn[FEWEST_PHOTOS:-1], drawn[-1:]):
        study.give(Role.CONCEPT, more)
        studio.settle()
        with studio.rows() as session:
            renewed.append(session.get_one(ProposalRow, task_id).basis)
    assert renewed[0] == renewed[1] != renewed[2]


def test_predicted_boxes_are_removed_once_the_photo_is_answered(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InstantEngine, "suggester", lambda *_: Corners())
    task_id = blank(study)
    studio.settle()
    assert prediction(studio, task_id)["result"]
    outlined = {**polygon([(10, 10), (30, 10), (30, 30)], "pit"), "from_name": "outline"}
    studio.client.annotate(task_id, [box(10, 10, 20, 20), outlined])
    studio.settle()
    assert prediction(studio, task_id)["result"] == []
