"""The diffusion engine's parameters: read beside composite's, refused by name."""

from __future__ import annotations

import pytest

from datagen.errors import EngineError
from datagen.synthesis.diffusion.parameters import DiffusionParameters


def test_a_specs_parameters_are_ours_under_one_key_and_composites_beside_it():
    own, where = DiffusionParameters.from_spec({"size_factor": 2.0, "diffusion": {"weights": "a/b", "steps": 8}})
    assert (own.weights, own.steps, where) == ("a/b", 8, {"size_factor": 2.0})


def test_what_is_not_named_has_its_default_and_is_not_written():
    assert DiffusionParameters.from_json({}) == DiffusionParameters()
    assert DiffusionParameters().to_json() == {}
    changed = DiffusionParameters(steps=8, refine_composite=True, strength=0.3)
    assert changed.to_json() == {"steps": 8, "refine_composite": True, "strength": 0.3}
    assert DiffusionParameters.from_json(changed.to_json()) == changed


def test_the_defaults_pass_their_own_checks():
    for name, default in DiffusionParameters().model_dump().items():
        DiffusionParameters.from_json({name: default})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"wieghts": "a/b"}, "no parameter “diffusion.wieghts”; there are: batch, candidates"),
        ({"steps": 0}, "“diffusion.steps” is 0; it must be from 1 to 200"),
        ({"steps": 2.5}, "“diffusion.steps” must be a whole number"),
        ({"steps": True}, "“diffusion.steps” must be a number"),
        ({"strength": float("nan")}, "“diffusion.strength” must be a number"),
        ({"resolution": 500}, "“diffusion.resolution” is 500; it must be a multiple of 8"),
        ({"scheduler": "fast"}, "“diffusion.scheduler” is 'fast'; it must be one of: auto, own, ddim"),
        ({"dtype": "int8"}, "must be one of: auto, bfloat16, float16, float32"),
        ({"weights": 5}, "“diffusion.weights” must be a text"),
        ({"refine_composite": "yes"}, "“diffusion.refine_composite” must be true or false"),
        ({"prompt": "a photo of {label}"}, "“diffusion.prompt” must contain {token}"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_it_may_be(body, message):
    with pytest.raises(EngineError) as refused:
        DiffusionParameters.from_json(body)
    assert message in str(refused.value)


def test_a_spec_whose_key_is_no_mapping_is_refused():
    with pytest.raises(EngineError, match=r"must be a mapping with at least “weights”"):
        DiffusionParameters.from_spec({"diffusion": "runwayml/inpainting"})


def test_refining_a_composite_starts_from_half_the_noise_unless_said_otherwise():
    assert DiffusionParameters().noise == 1.0
    assert DiffusionParameters(refine_composite=True).noise == 0.5
    assert DiffusionParameters(refine_composite=True, strength=0.7).noise == 0.7


def test_a_label_with_braces_stays_as_it_is_in_the_prompt():
    assert DiffusionParameters().prompt_for("{pit} 5%") == "a photo of sks {pit} 5%"


def test_less_than_one_step_is_no_painting():
    with pytest.raises(EngineError, match=r"“diffusion.steps” × “diffusion.strength” is 0.6, less than one step"):
        DiffusionParameters.from_json({"steps": 3, "strength": 0.2})
    assert DiffusionParameters.from_json({"steps": 2, "refine_composite": True}).noise == 0.5
