"""Verdicts change the next round in proportion, and every change names its reason."""

from __future__ import annotations

import pytest

from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import EngineError
from datagen.synthesis.composite.parameters import NAMES, RANGES, CompositeParameters
from datagen.synthesis.composite.refinement.refine import refine
from datagen.synthesis.engine import ReviewedSample
from datagen.synthesis.parameter_words import in_words, listed


def judged(opinion, *reasons, concept="aaaa:0", blend="soft", shape="as photographed"):
    made = InstanceTrace(concept=ConceptChoice(key=concept, name="photo.png"), blend=blend, details={"shape": shape})
    return ReviewedSample(
        trace=Trace(instances=(made,)), verdict=Verdict(opinion=Opinion(opinion), reasons=frozenset(reasons))
    )


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
    few = refine({}, [judged("bad", reason)] * 2 + [judged("good")] * 8)
    many = refine({}, [judged("bad", reason)] * 10)
    before, a_bit, a_lot = (
        getattr(CompositeParameters.from_json(p), name) for p in ({}, few.parameters, many.parameters)
    )
    assert 0 < direction * (a_bit - before) < direction * (a_lot - before)
    reported = [note for note in few.notes if f"({in_words(name)} " in note]
    assert [note.partition(", because ")[2][:20] for note in reported] == ["2 of 10 verdicts say"]


def test_what_an_engine_does_not_go_by_is_not_said_to_change():
    """“Contrast 1.00 → 0.87” was reported, and not one painted pixel changed."""
    refined = refine({}, [judged("bad", Reason.TOO_STRONG, Reason.TOO_SMALL)], ignored={"contrast"})
    assert "contrast" not in refined.parameters
    assert refined.parameters["size_factor"] > 1
    assert any(
        "1 of 1 verdict says “too strong”: this engine does not use the setting “contrast”" in note
        for note in refined.notes
    )


@pytest.mark.parametrize(
    ("bad", "because"),
    [
        ([Reason.TOO_LARGE] * 3, "because 3 of 7 verdicts say “too large”."),
        (
            [Reason.TOO_LARGE] * 3 + [Reason.TOO_SMALL],
            "because 3 of 7 verdicts say “too large” and 1 says “too small”.",
        ),
        ([Reason.INVISIBLE] * 2, "because 2 of 7 verdicts say “cannot be seen”."),
    ],
)
def test_note_names_only_the_reasons_that_were_given(bad, because):
    """“3 of 7 verdicts say “too small” or “too large”” was written though all 3 said “too large”."""
    refined = refine({}, [judged("bad", reason) for reason in bad] + [judged("good")] * (7 - len(bad)))
    assert any(note.endswith(because) for note in refined.notes), refined.notes


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
    reported = "3 of 3 verdicts on it speak against it, and 0 of the other 3."
    assert any("photo.png" in note and note.endswith(reported) for note in first.notes)
    second = refine(first.parameters, [judged("good", concept="bad:0")] * 3)
    assert second.parameters["concept_weights"]["bad:0"] > weights["bad:0"]


def test_no_weight_reaches_zero():
    parameters = {}
    for _ in range(10):
        bad, good = [judged("bad")] * 10, [judged("good", concept="ok:0", blend="sharp")] * 10
        parameters = refine(parameters, bad + good).parameters
    assert parameters["concept_weights"]["aaaa:0"] > 0
    assert parameters["blend_weights"]["soft"] > 0


def test_edges_speak_against_the_blend_and_not_the_concept():
    refined = refine({}, [judged("bad", Reason.EDGES_SHOW)] * 2 + [judged("good", blend="sharp")] * 4)
    assert refined.parameters["blend_weights"]["soft"] < 1
    assert "concept_weights" not in refined.parameters


def test_a_label_that_is_off_gets_the_next_matte():
    refined = refine({}, [judged("bad", Reason.MASK_OFF)] * 2 + [judged("good")])
    assert refined.parameters["matte_choices"] == {"aaaa:0": 1}
    [note] = [note for note in refined.notes if "is cut out in another way" in note]
    assert note.startswith("Concept photo.png, box 1 ")
    assert "because 2 verdicts say “label is off” and 1 is good" in note
    assert note.endswith("draw its outline in the project Concepts and build a preview.")


def test_one_verdict_of_many_moves_no_setting_and_is_named():
    refined = refine({}, [judged("bad", Reason.TOO_SMALL)] + [judged("good")] * 9)
    assert "size_factor" not in refined.parameters
    assert refined.notes == (
        "No setting changed, and the new round shows new samples.",
        "Too few verdicts agree on “too small” (1 of 10) to change a setting: at least 2 are needed, and that many "
        "more than for the opposite.",
    )


def test_reasons_that_oppose_each_other_are_named():
    """Two reviewers who asked for the opposite read nothing about it."""
    refined = refine({}, [judged("bad", Reason.TOO_SMALL), judged("bad", Reason.TOO_LARGE)])
    assert any("agree on “too small” (1 of 2), “too large” (1 of 2) to change" in note for note in refined.notes)


def test_one_of_two_verdicts_is_no_evidence_against_a_blend():
    """“Blending X is used less often, because 1 speaks against it, 1 for it” did not convince users."""
    sharp = [judged("good", blend="sharp", concept=f"{n}:0") for n in range(6)]
    refined = refine({}, [judged("bad", Reason.EDGES_SHOW), judged("good"), *sharp])
    assert "blend_weights" not in refined.parameters
    assert not any("Blending" in note for note in refined.notes)


def test_verdicts_spread_evenly_over_the_blends_change_no_weight():
    verdicts = [
        judged(opinion, *([Reason.WRONG_LOOK] if opinion == "bad" else []), blend=blend, concept=f"{n}:0")
        for n, (blend, opinion) in enumerate(
            [("soft", "bad"), ("soft", "good"), ("sharp", "bad"), ("sharp", "good")] * 4
        )
    ]
    refined = refine({}, verdicts)
    assert "blend_weights" not in refined.parameters
    assert any(
        note.startswith("No concept, blending or shape is used less often although 8 verdicts say “does not look like")
        for note in refined.notes
    )


def test_a_blend_whose_verdicts_stand_out_is_used_less_and_the_evidence_is_named():
    soft = [judged("bad", Reason.EDGES_SHOW)] * 3 + [judged("good")]
    sharp = [judged("bad", Reason.EDGES_SHOW, blend="sharp")] + [judged("good", blend="sharp")] * 9
    refined = refine({}, soft + sharp)
    assert set(refined.parameters["blend_weights"]) == {"soft"}
    [note] = [note for note in refined.notes if note.startswith("Blending “soft”")]
    assert note.endswith("because 3 of 4 verdicts on it speak against it, and 1 of the other 10.")


def test_a_kind_of_shape_that_does_not_look_like_it_is_used_less():
    bent = [judged("bad", Reason.WRONG_LOOK, shape="bent", concept=f"{n}:0", blend=f"{n}") for n in range(4)]
    others = [judged("good", concept=f"{n}:0", blend=f"{n}") for n in range(8)]
    refined = refine({}, bent + others)
    assert set(refined.parameters["shape_weights"]) == {"bent"}
    assert refined.parameters["shape_weights"]["bent"] < 0.5
    assert any(note.startswith("Shape “bent” is used less often") for note in refined.notes)


def test_shapes_as_photographed_have_no_weight():
    bad = [judged("bad", Reason.WRONG_LOOK, concept=f"{n}:0", blend=f"{n}") for n in range(4)]
    good = [judged("good", shape="bent", concept=f"{n}:0", blend=f"{n}") for n in range(8)]
    assert set(refine({}, bad + good).parameters.get("shape_weights", {})) <= {"bent"}


def test_one_label_that_is_off_keeps_the_matte_and_says_what_to_do():
    refined = refine({}, [judged("bad", Reason.MASK_OFF)] + [judged("good", concept="ok:0")] * 3)
    assert "matte_choices" not in refined.parameters
    [note] = [note for note in refined.notes if note.startswith("Concept photo.png, box 1 is cut out as before: 1 ")]
    assert "1 verdict says “label is off”, and at least 2 are needed. If its label is off, draw its outline in" in note
    refined = refine({}, [judged("bad", Reason.MASK_OFF)] * 2 + [judged("good")] * 2)
    assert "matte_choices" not in refined.parameters
    assert any("is cut out as before: 2 verdicts say “label is off” and 2 are good." in note for note in refined.notes)


def test_reasons_on_good_images_change_nothing_and_this_is_said():
    verdicts = [judged("good", Reason.TOO_SMALL)] * 3 + [judged("bad", Reason.EDGES_SHOW)] * 3
    refined = refine({}, verdicts)
    assert "size_factor" not in refined.parameters
    assert "What is ticked on 3 good images changes nothing; to have it corrected" in refined.notes[-1]
    assert "ticked on 3 good images" in refine({}, verdicts[:3]).notes[-1]


def test_every_parameter_has_words_and_no_internal_name_is_shown():
    assert not [name for name in NAMES if "_" in in_words(name)]
    assert listed(["blend_weights", "variety", "size_factor"]) == "how often each blending is used, size"
    assert in_words("guidance") == "“guidance”"


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


def test_verdicts_on_samples_without_a_trace_are_still_counted():
    refined = refine({}, [ReviewedSample(trace=Trace(), verdict=Verdict(opinion=Opinion.BAD))])
    assert refined.notes[0].startswith("1 of 1 verdict is bad, but without a reason")
    assert "Choose what is wrong" in refined.notes[0]


@pytest.mark.parametrize(
    ("reason", "effect"),
    [
        (Reason.TOO_SMALL, "The concept is made larger (size 1.00 → 1.50), because "),
        (Reason.TOO_LARGE, "The concept is made smaller (size 1.00 → 0.67), because "),
        (Reason.WRONG_PLACE, "Places have to lie more clearly inside the areas that the canvases show ("),
        (Reason.WRONG_DIRECTION, "The concept is turned less far from the direction of the examples ("),
        (Reason.EDGES_SHOW, "The edges of the concept are made softer ("),
    ],
)
def test_note_says_what_the_next_round_does(reason, effect):
    """“Size factor 1.00 → 1.50” left it to the reader what that does."""
    assert any(note.startswith(effect) for note in refine({}, [judged("bad", reason)]).notes)
