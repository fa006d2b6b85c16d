"""A version with a preference draws what was accepted, and no less variety than needed."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from datagen.domain.spec import sample_seed
from datagen.domain.verdict import Opinion, Verdict
from datagen.learning.refinement import refine_for
from datagen.synthesis.composite.backgrounds import Backgrounds
from datagen.synthesis.composite.engine import CompositeEngine, fit_models
from datagen.synthesis.engine import ReviewedSample
from synthesis_studies import make_study


@pytest.fixture(scope="module")
def composers():
    """A small study's spec, and a function that returns the composer of a spec with the models fitted to it."""
    spec, shelf = make_study(concepts=4, canvases=4, backgrounds=4)
    models = fit_models(spec, shelf, lambda _share, _step: None)
    return spec, partial(models.composer, backgrounds=Backgrounds(models.area_models, shelf))


@pytest.fixture(scope="module")
def fitted(composers):
    """The traces of the samples of any version of the study."""
    spec, composer_of = composers

    def traces(parameters, version, count):
        child = replace(spec, parameters=parameters, seed=version)
        composer = composer_of(child)
        return [composer.compose(index, sample_seed(child.digest, index)).trace for index in range(count)]

    return traces


def judged(traces, standard):
    return [
        ReviewedSample(
            trace=trace,
            verdict=Verdict(opinion=Opinion.GOOD if all(standard(i.draws) for i in trace.instances) else Opinion.BAD),
        )
        for trace in traces
    ]


def share(traces, standard):
    return float(np.mean([all(standard(i.draws) for i in trace.instances) for trace in traces]))


STANDARDS = {
    "upper half": lambda draws: draws["y"] < 0.5,
    "small": lambda draws: draws["scale"] < 0.95,
    "soft edges": lambda draws: draws["softness"] > 1.1,
}


@pytest.mark.parametrize("name", STANDARDS)
def test_version_after_forty_verdicts_mostly_draws_what_was_accepted(fitted, name):
    standard = STANDARDS[name]
    before = fitted({}, 1, 40)
    after = fitted(refine_for(CompositeEngine(), {}, [judged(before, standard)]).parameters, 2, 30)
    assert share(before, standard) < 0.7
    assert share(after, standard) > 0.85


def test_concept_that_a_preference_passes_over_is_not_reported_as_one_that_could_not_be_placed(composers, fitted):
    """The report of each refined version named nearly every concept."""
    spec, composer_of = composers
    refined = refine_for(CompositeEngine(), {}, [judged(fitted({}, 1, 40), STANDARDS["small"])]).parameters
    for parameters, scheduled in (({}, True), (refined, False)):
        child = replace(spec, parameters=parameters, seed=2)
        composed = composer_of(child).compose(0, sample_seed(child.digest, 0))
        assert composed.instances
        assert bool(composed.turns) is scheduled


def test_of_instances_that_are_all_unlike_what_was_accepted_the_most_acceptable_is_kept(composers, monkeypatch):
    """The instance of the last attempt was used, whatever its acceptance."""
    spec, composer_of = composers
    composer = composer_of(spec)
    choice, seen = composer._choice("pit"), []

    def choose(*given, **named):
        return replace(choice.choose(*given, **named), at=1.0, is_accepted=False)

    def acceptance(draws):
        seen.append(draws["y"])
        return draws["y"]

    monkeypatch.setattr(composer, "_choice", lambda _label: SimpleNamespace(choose=choose, acceptance=acceptance))
    [instance] = composer.compose(0, sample_seed(spec.digest, 0)).trace.instances
    assert len(seen) > 3
    assert seen.index(max(seen)) < len(seen) - 1, "the seed tells the last attempt from the best one"
    assert instance.draws["y"] == max(seen)


def test_what_is_not_shown_to_be_bad_keeps_its_variety(fitted):
    parameters = refine_for(CompositeEngine(), {}, [judged(fitted({}, 1, 40), STANDARDS["upper half"])]).parameters
    sizes, x = (
        np.array([instance.draws[name] for trace in fitted(parameters, 2, 40) for instance in trace.instances])
        for name in ("scale", "x")
    )
    default_sizes, default_x = (
        np.array([instance.draws[name] for trace in fitted({}, 3, 40) for instance in trace.instances])
        for name in ("scale", "x")
    )
    assert sizes.std() > 0.6 * default_sizes.std()
    assert x.std() > 0.6 * default_x.std()


def test_contradictory_verdicts_keep_the_variety(fitted):
    traces = fitted({}, 1, 20)
    both = [*judged(traces, lambda _draws: True), *judged(traces, lambda _draws: False)]
    after = fitted(refine_for(CompositeEngine(), {}, [both]).parameters, 2, 40)
    spreads = [
        float(np.std([instance.draws["scale"] for trace in shown for instance in trace.instances]))
        for shown in (fitted({}, 3, 40), after)
    ]
    assert 0.6 < spreads[1] / spreads[0] < 1.7


def test_versions_do_not_repeat_each_other_s_sizes(fitted):
    first, second = ([trace.instances[0].draws["scale"] for trace in fitted({}, version, 12)] for version in (1, 2))
    assert not set(first) & set(second)


def test_previews_and_bulk_come_from_the_same_distribution(fitted):
    """A sample depends on its index and specification alone, whatever was rendered before it."""
    parameters = refine_for(CompositeEngine(), {}, [judged(fitted({}, 1, 20), STANDARDS["small"])]).parameters
    assert fitted(parameters, 2, 6)[5] == fitted(parameters, 2, 6)[5]
