"""A sample's trace: what was ever stored is read, and written back as it was."""

from __future__ import annotations

import json

import pytest

from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace

#: Bodies as version 0.1.0 stored them: of composite, of diffusion, and of engines with traces of their own.
COMPOSITE = """{"instances": [{"label": "pit", "concept": "f61bc0a88085:0", "concept_name": "concept 2",
 "matte": "two-level", "degrees": -67.2, "scale": 1.0, "mirrored": false, "blend": "hard", "stretch": 1.0145,
 "slope": 0.497, "contrast_factor": 1.0, "sharper": 0.557, "contrast": 29.24, "mismatch": 4.16, "tries": 1}],
 "rejected": {"cannot be seen": 2}}"""
DIFFUSION = """{"instances": [{"label": "pit", "concept": "f61bc0a88085:0", "concept_name": "concept 2",
 "matte": "two-level", "degrees": 3, "scale": 1.0, "mirrored": true, "stretch": 1.0, "contrast_factor": 1.0,
 "sharper": 0.5, "mismatch": 4.16, "tries": 1, "pixels": "diffusion", "candidate": 1, "contrast": 9.9, "cover": 1.0,
 "difference": 26.8}], "rejected": {}, "device": "cpu", "dtype": "float32", "versions": {"torch": "2.13.0"},
 "weights": "tiny", "weights_sha256": "a40b", "lora_sha256": null, "optimizations": [], "batch": 2}"""
OTHERS = [
    "{}",
    '{"instances": [], "rejected": {}}',
    '{"instances": [3], "rejected": 4, "seeds": [1, 2]}',
    '{"instances": [{"concept": 7, "concept_name": "seven", "degrees": "north", "tries": true, "label": null}]}',
    '{"pose": {"degrees": 12.5}, "weights_sha256": {"unet": "a4"}, "rejected": {"too far": "often"}}',
]


@pytest.mark.parametrize("stored", [COMPOSITE, DIFFUSION, *OTHERS])
def test_a_stored_object_is_written_back_as_it_was(stored):
    assert Trace.from_json(json.loads(stored)).to_json() == json.loads(stored)


def test_a_stored_object_is_read_as_typed_values():
    trace = Trace.from_json(json.loads(DIFFUSION))
    [instance] = trace.instances
    assert instance.concept == ConceptChoice(key="f61bc0a88085:0", name="concept 2")
    assert (instance.label, instance.blend, instance.mirrored, instance.tries) == ("pit", None, True, 1)
    assert instance.details["candidate"] == 1
    assert trace.files == {"weights": "a40b", "lora": None}
    assert trace.details["weights"] == "tiny"


def test_a_value_of_another_type_is_kept_among_the_details():
    [instance] = Trace.from_json(json.loads(OTHERS[3])).instances
    assert (instance.concept, instance.degrees, instance.tries) == (None, None, None)
    assert instance.details == json.loads(OTHERS[3])["instances"][0]


def test_what_an_engine_did_not_decide_is_not_written():
    assert InstanceTrace(label="pit").to_json() == {"label": "pit"}
    assert Trace().to_json() == {}
