"""Verdicts change the next round in proportion, and every change names its reason."""

from __future__ import annotations

from typing import ClassVar

import pytest

from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import EngineError
from datagen.learning.parameter_refinement import ReviewedSample, refine, refine_for
from datagen.synthesis.composite.parameters import RANGES, CompositeParameters
from datagen.synthesis.engine import Engine


def judged(opinion, *reasons, concept="aaaa:0", blend="soft"):
    steps = {"instances": [{"concept": concept, "concept_name": "photo.png", "blend": blend}]}
    return ReviewedSample(steps=steps, verdict=Verdict(opinion=Opinion(opinion), reasons=frozenset(reasons)))


@pytest.mark.parametrize(
    ("reason", "name", "direction"),
    [
        (Reason.TOO_SMALL, "size_factor", +1),
        (Reason.TOO_LARGE, "size_factor", -1),
        (Reason.INVISIBLE, "contrast", +1),
        (Reason.INVISIBLE, "min_contrast", +1),
        (Reason.TOO_STRONG, "contrast", -1),
        (Reason.WRONG_PLACE, "place_strictness", +1),
        (Reason.WRONG_PLACE, "context_strictness", +1),
        (Reason.WRONG_DIRECTION, "direction_spread", -1),
        (Reason.EDGES_SHOW, "edge_softness", +1),
    ],
)
def test_each_reason_turns_what_it_complains_of(reason, name, direction):
    few = refine({}, [judged("bad", reason)] + [judged("good")] * 9)
    many = refine({}, [judged("bad", reason)] * 10)
    before, a_bit, a_lot = (
        getattr(CompositeParameters.from_json(p), name) for p in ({}, few.parameters, many.parameters)
    )
    assert 0 < direction * (a_bit - before) < direction * (a_lot - before)
    told = [note for note in few.notes if f"({name.replace('_', ' ')} " in note]
    assert [note.partition(", because ")[2][:21] for note in told] == ["1 of 10 verdicts says"]


def test_what_an_engine_does_not_go_by_is_not_said_to_change():
    """“Contrast 1.00 → 0.87” was reported, and not one painted pixel changed."""
    refined = refine({}, [judged("bad", Reason.TOO_STRONG, Reason.TOO_SMALL)], ignored={"contrast"})
    assert "contrast" not in refined.parameters
    assert refined.parameters["size_factor"] > 1
    assert any(
        "1 of 1 verdict says “cannot be seen” or “too strong”: this engine does not use the parameter contrast" in note
        for note in refined.notes
    )


def test_opposite_reasons_cancel():
    refined = refine({}, [judged("bad", Reason.TOO_SMALL), judged("bad", Reason.TOO_LARGE)])
    assert "size_factor" not in refined.parameters


def test_a_number_at_its_limit_is_said_to_stay():
    top = RANGES["size_factor"][1]
    refined = refine({"size_factor": top}, [judged("bad", Reason.TOO_SMALL)])
    assert refined.parameters["size_factor"] == top
    assert any("its limit" in note for note in refined.notes)


def test_a_bad_concept_is_used_less_and_wins_back_with_goods():
    first = refine({}, [judged("bad", Reason.WRONG_LOOK, concept="bad:0")] * 3 + [judged("good", concept="ok:0")] * 3)
    weights = first.parameters["concept_weights"]
    assert weights["bad:0"] < 1
    assert any("photo.png" in note and "3 verdicts speak against it" in note for note in first.notes)
    second = refine(first.parameters, [judged("good", concept="bad:0")] * 3)
    assert second.parameters["concept_weights"]["bad:0"] > weights["bad:0"]


def test_no_weight_reaches_zero():
    parameters = {}
    for _ in range(10):
        parameters = refine(parameters, [judged("bad")] * 20).parameters
    assert parameters["concept_weights"]["aaaa:0"] > 0
    assert parameters["blend_weights"]["soft"] > 0


def test_edges_speak_against_the_blend_and_not_the_concept():
    refined = refine({}, [judged("bad", Reason.EDGES_SHOW)] * 2)
    assert refined.parameters["blend_weights"]["soft"] < 1
    assert "concept_weights" not in refined.parameters


def test_a_label_that_is_off_gets_the_next_matte():
    refined = refine({}, [judged("bad", Reason.MASK_OFF)] * 2 + [judged("good")])
    assert refined.parameters["matte_choices"] == {"aaaa:0": 1}
    [note] = [note for note in refined.notes if "is cut out in another way" in note]
    assert note.startswith("Concept photo.png, box 1 ")
    assert "because 2 verdicts say “label is off” and 1 is good" in note
    assert note.endswith("draw its outline in the project Concepts and build a preview.")


@pytest.mark.parametrize("verdicts", [[], [judged("good")], [judged("good")] * 20])
def test_nothing_to_mend_still_gives_a_child_that_differs(verdicts):
    refined = refine({"variety": 2}, verdicts)
    assert refined.parameters["variety"] == 3
    assert "new samples" in refined.notes[0]
    assert CompositeParameters.from_json(refined.parameters).size_factor == 1


def test_a_parameter_the_engine_does_not_know_is_an_error():
    with pytest.raises(EngineError, match="no parameter"):
        refine({"steps": 4}, [])


def test_it_is_pure():
    parameters = {"blend_weights": {"soft": 0.5}}
    verdicts = [judged("bad", Reason.TOO_SMALL, Reason.EDGES_SHOW)]
    assert refine(parameters, verdicts) == refine(parameters, verdicts)
    assert parameters == {"blend_weights": {"soft": 0.5}}


def test_verdicts_on_samples_without_steps_are_still_counted():
    refined = refine({}, [ReviewedSample(steps={}, verdict=Verdict(opinion=Opinion.BAD))])
    assert refined.notes[0].startswith("1 of 1 verdict is bad, but without a reason")
    assert "Choose what is wrong" in refined.notes[0]


@pytest.mark.parametrize(
    ("reason", "effect"),
    [
        (Reason.TOO_SMALL, "The thing is made larger (size factor 1.00 → 1.50), because "),
        (Reason.TOO_LARGE, "The thing is made smaller (size factor 1.00 → 0.67), because "),
        (Reason.WRONG_PLACE, "Places have to lie more clearly inside the areas that the canvases show ("),
        (Reason.WRONG_DIRECTION, "The thing is turned less far from the direction of the examples ("),
        (Reason.EDGES_SHOW, "The edges of the thing are made softer ("),
    ],
)
def test_note_says_what_the_next_round_does(reason, effect):
    """“Size factor 1.00 → 1.50” left it to the reader what that does."""
    assert any(note.startswith(effect) for note in refine({}, [judged("bad", reason)]).notes)


class Own(Engine):
    """An engine of another package with top-level parameters of its own."""

    name, version = "own", "1"
    parameter_keys: ClassVar = {"hue": ""}

    def fit(self, spec, pictures, progress):
        raise EngineError("it renders nothing")


class Sharing(Own):
    """One that takes a parameter of the composite engine beside its own."""

    parameter_keys: ClassVar = {"hue": "", "size_factor": ""}


def test_an_engine_that_shares_no_parameter_keeps_its_own_and_says_so():
    """Refining raised “unknown parameter hue”."""
    refined = refine_for(Own(), {"hue": 3}, [judged("bad", Reason.TOO_SMALL)])
    assert refined.parameters == {"hue": 3}
    [note] = refined.notes
    assert note.startswith("The engine “own” has no setting that verdicts change: the next round shows new samples ")


def test_an_engine_s_own_parameters_stay_beside_those_that_verdicts_change():
    refined = refine_for(Sharing(), {"hue": 3, "size_factor": 1.0}, [judged("bad", Reason.TOO_SMALL)])
    assert refined.parameters.keys() == {"hue", "size_factor"}
    assert refined.parameters["hue"] == 3
    assert refined.parameters["size_factor"] > 1
