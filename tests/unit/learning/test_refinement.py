"""Refinement asks the engine of the version, and checks what it answers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import ClassVar

import pytest
from pydantic import Field

from datagen.domain.trace import ConceptChoice, InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.errors import EngineError
from datagen.learning.refinement import refine_for
from datagen.synthesis.composite.engine import CompositeEngine
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.engine import Engine, Refinement, ReviewedSample, load_engine
from datagen.synthesis.parameter_models import EngineParameters
from judged_draws import TOO_LARGE, drawn_samples, reviewed_by, small_enough

TOO_SMALL = ReviewedSample(
    trace=Trace(instances=(InstanceTrace(concept=ConceptChoice(key="aaaa:0", name="photo.png"), blend="soft"),)),
    verdict=Verdict(opinion=Opinion.BAD, reasons=frozenset({Reason.TOO_SMALL, Reason.TOO_STRONG})),
)


COMPOSITE = CompositeEngine()


def contradictory():
    """Every sample judged good by one reviewer and bad by another."""
    traces = drawn_samples(20)
    return [ReviewedSample(trace=trace, verdict=Verdict(opinion=opinion)) for trace in traces for opinion in Opinion]


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
    """An engine that increases its hue by 90 for each reviewed sample."""

    def refine(self, parameters, reviewed):
        hue = parameters.get("hue", 0.0) + 90.0 * len(reviewed)
        return Refinement(parameters={"hue": hue}, notes=(f"The hue is {hue:g}.",))


def test_an_engine_that_does_not_refine_keeps_its_parameters_and_says_so():
    refined = refine_for(Own(), {"hue": 3.0}, [[TOO_SMALL]])
    assert refined.parameters == {"hue": 3.0}
    [note] = refined.notes
    assert note.startswith("The engine “own” has no setting that verdicts change: the next round shows new samples ")


def test_an_engine_of_another_package_refines_its_own_parameters():
    refined = refine_for(Turning(), {"hue": 3.0}, [[TOO_SMALL, TOO_SMALL]])
    assert (refined.parameters, refined.notes) == ({"hue": 183.0}, ("The hue is 183.",))


def test_an_answer_that_the_engine_does_not_take_is_an_error_that_names_it():
    with pytest.raises(EngineError, match=r"the engine “own” refined its parameters to .*“hue” is 453"):
        refine_for(Turning(), {"hue": 3.0}, [[TOO_SMALL] * 5])


def test_learned_preference_is_among_the_parameters_and_says_why():
    refined = refine_for(COMPOSITE, {"contrast": 1.2}, [reviewed_by(small_enough, drawn_samples(40), TOO_LARGE)])
    assert refined.parameters["contrast"] == 1.2
    preference = CompositeParameters.from_json(json.loads(json.dumps(refined.parameters))).preference
    assert preference.verdicts == 40
    [note] = [note for note in refined.notes if note.startswith("Size ")]
    change = r"Size -\d+ % \(\d\.\d+ → 0\.\d+ × the usual size of the concepts\), 90 % interval 0\.\d+ to \d\.\d+"
    assert re.fullmatch(change + r": \d+ of 40 verdicts say “too large”\.", note)


def test_all_rounds_teach_and_not_the_last_alone():
    rounds = [reviewed_by(small_enough, drawn_samples(20, seed=n), TOO_LARGE) for n in range(3)]
    assert refine_for(COMPOSITE, {}, rounds).parameters["preference"]["verdicts"] == 60
    again = refine_for(COMPOSITE, refine_for(COMPOSITE, {}, rounds).parameters, rounds)
    assert again == refine_for(COMPOSITE, {}, rounds)


@pytest.mark.parametrize("judged", [[], drawn_samples(2), drawn_samples(20)], ids=["none", "too few", "all good"])
def test_given_preference_is_kept_if_the_settings_are_said_to_stay(judged):
    learned = refine_for(COMPOSITE, {}, [reviewed_by(small_enough, drawn_samples(40), TOO_LARGE)]).parameters
    refined = refine_for(COMPOSITE, learned, [reviewed_by(lambda draws: True, judged)])
    assert CompositeParameters.from_json(refined.parameters) == CompositeParameters.from_json(learned)


def test_diffusion_keeps_its_own_parameters():
    given = {"diffusion": {"weights": "owner/name"}}
    refined = refine_for(load_engine("diffusion"), given, [reviewed_by(small_enough, drawn_samples(20), TOO_LARGE)])
    assert refined.parameters["diffusion"] == given["diffusion"]
    assert "preference" in refined.parameters


@pytest.mark.parametrize(
    ("rounds", "sentence"),
    [
        ([], "No preview was judged before this refinement"),
        ([[]], "No preview was judged before this refinement"),
        ([reviewed_by(small_enough, drawn_samples(2))], "Nothing could be concluded yet: 2 verdicts are"),
        ([reviewed_by(lambda draws: True, drawn_samples(20))], "All 20 verdicts are good: the look stays as it was"),
        ([reviewed_by(lambda draws: False, drawn_samples(20))], "All 20 verdicts are bad, so that no draw is known"),
        ([reviewed_by(small_enough, drawn_samples(20))], "without a reason: what is wrong was inferred"),
        ([reviewed_by(small_enough, drawn_samples(20)), []], "The newest round has no verdict: the 20 verdicts on"),
        ([[TOO_SMALL] * 4], "4 verdicts are on samples of an earlier release, which does not record their draws"),
        ([reviewed_by(lambda d: d["size"] < 0.9, drawn_samples(9), TOO_LARGE)], "of 9 verdicts say “too large”."),
        ([contradictory()], "Nothing could be concluded yet from 40 verdicts: no draw clearly tells good"),
    ],
)
def test_unusual_verdicts_have_a_stated_next_step(rounds, sentence):
    refined = refine_for(COMPOSITE, {}, rounds)
    assert any(sentence in note for note in refined.notes), refined.notes
    CompositeParameters.from_json(refined.parameters)


def test_reasons_on_good_images_change_nothing_and_this_is_said():
    good = [
        replace(sample, verdict=replace(sample.verdict, reasons=frozenset({Reason.TOO_SMALL})))
        for sample in reviewed_by(lambda draws: True, drawn_samples(20))
    ]
    refined = refine_for(COMPOSITE, {}, [good])
    assert refined.parameters == {}
    assert "What is ticked on 20 good images changes nothing; to have it corrected" in refined.notes[-1]


def test_verdicts_keep_a_place_that_is_as_good_as_the_rest():
    refined = refine_for(COMPOSITE, {}, [reviewed_by(small_enough, drawn_samples(40), TOO_LARGE)])
    preference = CompositeParameters.from_json(refined.parameters).preference
    left, right = preference.scores([{"size": 0.7, "x": 0.2}, {"size": 0.7, "x": 0.8}])
    assert min(left, right) > 0
