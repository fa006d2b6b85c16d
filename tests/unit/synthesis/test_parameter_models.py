"""A parameter model of any engine: what it declares, and the sentence for each kind of wrong value."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import pytest
from pydantic import Field

from datagen.errors import EngineError
from datagen.synthesis.parameter_models import EngineParameters, NoFraction, Whole, groups_of, ranges_of


class Glaze(EngineParameters):
    """A group of parameters."""

    engine: ClassVar = "kiln"

    layers: Whole = Field(2, ge=1, le=5, description="layers of glaze")
    colour: str = Field("blue", pattern="^[a-z]+$", description="its colour")


class Kiln(EngineParameters):
    """Parameters of an engine of another package."""

    engine: ClassVar = "kiln"

    hours: float = Field(8.0, gt=0, description="hours in the kiln")
    mode: Literal["fast", "slow"] = Field("slow", description="how it is fired")
    glaze: Glaze = Field(default_factory=Glaze, description="the glaze")
    shelf: Annotated[int, Field(ge=1), NoFraction] | None = Field(None, description="the shelf, if it matters")


def test_a_group_s_parameters_are_listed_under_its_name():
    assert groups_of(Kiln) == {"hours": "", "mode": "", "layers": "glaze", "colour": "glaze", "shelf": ""}


def test_ranges_are_those_with_both_limits():
    assert (ranges_of(Kiln), ranges_of(Glaze)) == ({}, {"layers": (1, 5)})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"hour": 3}, "the kiln engine has no parameter “hour”; there are: glaze, hours, mode, shelf"),
        ({"glaze": {"layer": 3}}, "the kiln engine has no parameter “glaze.layer”; there are: colour, layers"),
        ({"glaze": {"layers": 9}}, "parameter “glaze.layers” is 9; it must be from 1 to 5"),
        ({"glaze": 3}, "parameter “glaze” must be a mapping from names to values, not 3"),
        ({"glaze": {"colour": "Red"}}, "parameter “glaze.colour” is 'Red': String should match pattern '^[a-z]+$'"),
        ({"hours": -1}, "parameter “hours” is -1; it must be more than 0"),
        ({"hours": "8"}, "parameter “hours” must be a number, not '8'"),
        ({"mode": "medium"}, "parameter “mode” is 'medium'; it must be one of: fast, slow"),
        ({"shelf": 0}, "parameter “shelf” is 0; it must be from 1"),
        ({"shelf": 1.5}, "parameter “shelf” must be a whole number, not 1.5"),
    ],
)
def test_the_sentence_names_the_parameter_and_what_it_may_be(body, sentence):
    with pytest.raises(EngineError) as refused:
        Kiln.from_json(body)
    assert str(refused.value) == sentence


def test_only_what_differs_from_the_defaults_is_written():
    body = {"hours": 9.0, "glaze": {"layers": 3, "colour": "blue"}}
    assert Kiln.from_json(body | {"mode": "slow", "shelf": None}).to_json() == body
    assert Kiln().to_json() == {}


def test_a_whole_number_may_be_written_with_a_point():
    assert Kiln.from_json({"shelf": 2.0}).shelf == 2
