"""Proposals are the suggestions of the study's own engine, and are renewed when the engine changes."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select

from datagen.domain.geometry import Polygon
from datagen.domain.inputs import Role
from datagen.store.tables.inputs import InputRow, ProposalRow
from datagen.synthesis.engine import SuggestedOutline, Suggester
from datagen.workflow.inputs.suggestions import propose
from fake_studio import FakeStudio
from instant_engine import InstantEngine
from studio import Study, good_inputs


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
