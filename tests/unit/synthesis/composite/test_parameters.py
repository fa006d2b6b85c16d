"""A parameter that is wrong is named; none is ever replaced in silence."""

from __future__ import annotations

import pytest

from datagen.errors import EngineError
from datagen.synthesis.composite.parameters import RANGES, CompositeParameters


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"sizefactor": 1}, "the composite engine has no parameter “sizefactor”; there are: blend_weights, concept_"),
        ({"size_factor": 0}, "“size_factor” is 0; it must be from 0.2 to 5"),
        ({"size_factor": "big"}, "“size_factor” must be a number"),
        ({"size_factor": True}, "“size_factor” must be a number"),
        ({"size_factor": float("nan")}, "“size_factor” must be a number"),
        ({"instances_max": 1.5}, "“instances_max” must be a whole number"),
        ({"instances_min": 60}, "“instances_min” (60) is larger than “instances_max” (50)"),
        ({"blend_weights": [1]}, "“blend_weights” must be a mapping"),
        ({"blend_weights": {"soft": -1}}, "“blend_weights.soft” is -1"),
        ({"matte_choices": {"a:0": 0.5}}, "“matte_choices.a:0” must be a whole number"),
    ],
)
def test_wrong_parameters_are_named(body, sentence):
    with pytest.raises(EngineError) as caught:
        CompositeParameters.from_json(body)
    assert sentence in str(caught.value)


def test_what_is_written_is_read_back():
    parameters = CompositeParameters.from_json(
        {"size_factor": 1.5, "instances_max": 3, "concept_weights": {"a:0": 0.5}, "variety": 4}
    )
    assert CompositeParameters.from_json(parameters.to_json()) == parameters


def test_defaults_are_within_their_ranges():
    plain = CompositeParameters()
    assert all(low <= getattr(plain, name) <= high for name, (low, high) in RANGES.items())
    assert plain.to_json() == {}
