"""The preference in a version's parameters: its features, its probability, and what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.special import ndtr

from datagen.errors import EngineError
from datagen.synthesis.composite.draws import LEARNABLE
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.preference import Preference, Term, features_of, normal_cdf, terms_for

SIZE = Term(name="size", scale="log", centre=0.0, spread=0.5)


def preference(mean=(0.0, 1.0, 0.0), variance=0.0):
    return Preference(terms=[SIZE], mean=list(mean), covariance=[variance, 0, variance, 0, 0, variance], verdicts=20)


def test_normal_cdf_is_scipy_s():
    x = np.linspace(-6, 6, 25)
    assert normal_cdf(x) == pytest.approx(ndtr(x), abs=1e-15)


def test_score_rises_with_a_wanted_number_and_falls_back_with_uncertainty():
    small, large = preference().scores([{"size": 0.8}, {"size": 1.25}])
    assert small == pytest.approx(-large)
    assert 0 < preference(variance=1.0).scores([{"size": 1.25}])[0] < large


def test_axis_is_the_same_after_half_a_turn():
    term = Term(name="angle", scale="circular")
    assert term.features({"angle": 10.0}) == pytest.approx(term.features({"angle": 190.0}))


def test_missing_draw_and_unknown_choice_have_no_effect():
    names = Term(name="blend", scale="category", choices=["hard", "soft"])
    assert features_of([SIZE, names], [{"blend": "other"}]).tolist() == [[1.0, 0.0, 0.0, 0.0, 0.0]]


def test_number_that_is_not_known_yet_is_expected_by_its_usual_ratio():
    seen = [{"contrast": 1.0, "measured_contrast": 10.0, "concept": "a"}] * 50
    seen += [{"contrast": 1.0, "measured_contrast": 20.0, "concept": "b"}] * 50
    [term] = [term for term in terms_for(LEARNABLE, seen, 24) if term.name == "measured_contrast"]
    expected = term.features({"contrast": 2.0, "concept": "a"})[0]
    assert expected == pytest.approx(term.features({"measured_contrast": 20.0})[0], abs=0.1)


def test_rare_choices_beyond_the_limit_have_no_effect():
    draws = [{"concept": f"c{number % 40}"} for number in range(80)] + [{"concept": "common"}] * 5
    [term] = terms_for(LEARNABLE, draws, 24)
    assert len(term.choices) == 24
    assert "common" in term.choices


def test_parameters_keep_it_through_json():
    body = json.loads(json.dumps(CompositeParameters(preference=preference()).to_json()))
    assert CompositeParameters.from_json(body).preference == preference()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": [0.0]}, r"“preference”: the sizes of “mean” \(1\) and “covariance” \(6\) must be 3 and 6"),
        ({"mean": ["a", 0.0, 0.0]}, "“preference.mean” is 'a'"),
        ({"verdicts": 0}, "“preference.verdicts”"),
        ({"pickle": "x"}, "has no parameter “preference.pickle”"),
    ],
)
def test_wrong_preference_is_refused_by_name(change, message):
    body = CompositeParameters(preference=preference()).to_json()
    body["preference"] |= change
    with pytest.raises(EngineError, match=message):
        CompositeParameters.from_json(body)
