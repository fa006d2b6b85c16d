"""Refinement asks the engine of the version, and checks what it answers."""

from __future__ import annotations

from typing import ClassVar

import pytest
from pydantic import Field

from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import EngineError
from datagen.learning.refinement import refine_for
from datagen.synthesis.engine import Engine, Refinement, ReviewedSample, load_engine
from datagen.synthesis.parameter_models import EngineParameters

TOO_SMALL = ReviewedSample(
    trace=Trace(instances=(InstanceTrace(concept=ConceptChoice(key="aaaa:0", name="photo.png"), blend="soft"),)),
    verdict=Verdict(opinion=Opinion.BAD, reasons=frozenset({Reason.TOO_SMALL, Reason.TOO_STRONG})),
)


class Hue(EngineParameters):
    """Top-level parameters of another package."""

    engine: ClassVar = "own"
    hue: float = Field(0.0, ge=0, le=360, description="the hue")


class Own(Engine):
    """An engine of another package that does not refine."""

    name, version, parameters_model = "own", "1", Hue

    def fit(self, spec, pictures, progress):
        raise EngineError("it renders nothing")


class Turning(Own):
    """One that turns its hue by each bad verdict."""

    def refine(self, parameters, reviewed):
        hue = parameters.get("hue", 0.0) + 90.0 * len(reviewed)
        return Refinement(parameters={"hue": hue}, notes=(f"The hue is {hue:g}.",))


def test_an_engine_that_does_not_refine_keeps_its_parameters_and_says_so():
    refined = refine_for(Own(), {"hue": 3.0}, [TOO_SMALL])
    assert refined.parameters == {"hue": 3.0}
    [note] = refined.notes
    assert note.startswith("The engine “own” has no setting that verdicts change: the next round shows new samples ")


def test_an_engine_of_another_package_refines_its_own_parameters():
    refined = refine_for(Turning(), {"hue": 3.0}, [TOO_SMALL, TOO_SMALL])
    assert (refined.parameters, refined.notes) == ({"hue": 183.0}, ("The hue is 183.",))


def test_an_answer_that_the_engine_does_not_take_is_an_error_that_names_it():
    with pytest.raises(EngineError, match=r"the engine “own” refined its parameters to .*“hue” is 453"):
        refine_for(Turning(), {"hue": 3.0}, [TOO_SMALL] * 5)


def test_composite_moves_its_parameters():
    refined = refine_for(load_engine("composite"), {}, [TOO_SMALL])
    assert refined.parameters["size_factor"] > 1
    assert refined.parameters["contrast"] < 1


def test_diffusion_moves_those_of_the_places_and_keeps_its_own():
    given = {"diffusion": {"weights": "owner/name"}, "contrast": 0.8}
    refined = refine_for(load_engine("diffusion"), given, [TOO_SMALL])
    assert refined.parameters["size_factor"] > 1
    assert (refined.parameters["diffusion"], refined.parameters["contrast"]) == ({"weights": "owner/name"}, 0.8)


def test_diffusion_moves_composite_s_pixels_where_it_starts_from_them():
    refined = refine_for(load_engine("diffusion"), {"diffusion": {"refine_composite": True}}, [TOO_SMALL])
    assert refined.parameters["contrast"] < 1
