"""Of what verdicts change beside the draws: the mattes of concepts whose labels are off."""

from __future__ import annotations

import pytest

from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import EngineError
from datagen.synthesis.composite.parameters import NAMES
from datagen.synthesis.composite.refinement.refine import refine
from datagen.synthesis.engine import ReviewedSample
from datagen.synthesis.parameter_words import in_words, listed


def judged(opinion, *reasons, concept="aaaa:0"):
    trace = InstanceTrace(concept=ConceptChoice(key=concept, name="photo.png"))
    return ReviewedSample(
        trace=Trace(instances=(trace,)), verdict=Verdict(opinion=Opinion(opinion), reasons=frozenset(reasons))
    )


def test_a_label_that_is_off_gets_the_next_matte():
    refined = refine({}, [judged("bad", Reason.MASK_OFF)] * 2 + [judged("good")])
    assert refined.parameters["matte_choices"] == {"aaaa:0": 1}
    [note] = [note for note in refined.notes if "is cut out in another way" in note]
    assert note.startswith("Concept photo.png, box 1 ")
    assert "because 2 verdicts say “label is off” and 1 is good" in note
    assert note.endswith("draw its outline in the project Concepts and build a preview.")


def test_one_label_that_is_off_keeps_the_matte_and_says_what_to_do():
    refined = refine({}, [judged("bad", Reason.MASK_OFF)] + [judged("good", concept="ok:0")] * 3)
    assert "matte_choices" not in refined.parameters
    [note] = [note for note in refined.notes if note.startswith("Concept photo.png, box 1 is cut out as before: 1 ")]
    assert "1 verdict says “label is off”, and at least 2 are needed. If its label is off, draw its outline in" in note
    refined = refine({}, [judged("bad", Reason.MASK_OFF)] * 2 + [judged("good")] * 2)
    assert "matte_choices" not in refined.parameters
    assert any("is cut out as before: 2 verdicts say “label is off” and 2 are good." in note for note in refined.notes)


def test_every_parameter_has_words_and_no_internal_name_is_shown():
    assert not [name for name in NAMES if "_" in in_words(name)]
    assert listed(["blend_weights", "variety", "size_factor"]) == "how often each blending is used, size"
    assert in_words("guidance") == "“guidance”"


def test_a_parameter_the_engine_does_not_know_is_an_error():
    with pytest.raises(EngineError, match="no parameter"):
        refine({"steps": 4}, [])


def test_it_is_pure():
    parameters = {"blend_weights": {"soft": 0.5}}
    verdicts = [judged("bad", Reason.MASK_OFF)]
    assert refine(parameters, verdicts) == refine(parameters, verdicts)
    assert parameters == {"blend_weights": {"soft": 0.5}}
