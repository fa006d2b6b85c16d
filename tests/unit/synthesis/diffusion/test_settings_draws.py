"""The settings of inpainting that are drawn for each sample: about the spec's own, and learned from verdicts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from datagen.domain.trace import Draws, InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.learning.refinement import refine_for
from datagen.synthesis.diffusion.engine import DiffusionEngine
from datagen.synthesis.diffusion.parameters import DiffusionSpecParameters
from datagen.synthesis.diffusion.settings_draws import LEARNABLE, SETTINGS, PaintSettings, SettingsChoice
from datagen.synthesis.engine import EngineSettings, ReviewedSample
from datagen.synthesis.preference import Preference

USUAL = PaintSettings(strength=1.0, guidance=4.0, steps=20)
NAMES = ("strength", "guidance", "steps")
PLACED: list[Draws] = [{"size": 1.0, "x": 0.5}]


def chosen(preference: Preference | None = None, *, digest: str = "a", count: int = 200) -> list[PaintSettings]:
    choice = SettingsChoice(USUAL, NAMES, preference)
    return [choice.choose(digest, index, PLACED) for index in range(count)]


def after_rounds(
    accepts: Callable[[PaintSettings], bool], tmp_path, *, reason: Reason | None = None, rounds: int = 3
) -> Preference | None:
    """Return what is learned from rounds of 20, each drawn by what was learned from the ones before."""
    engine, judged = DiffusionEngine(EngineSettings(folder=tmp_path)), []
    parameters: dict = {"diffusion": {"weights": "owner/name"}}
    preference = None
    for number in range(rounds):
        judged.append([])
        for settings in chosen(preference, digest=f"round {number}", count=20):
            is_good = accepts(settings)
            reasons = frozenset({reason}) if reason is not None and not is_good else frozenset()
            judged[-1].append(
                ReviewedSample(
                    trace=Trace(instances=(InstanceTrace(draws={**PLACED[0], **settings.draws(NAMES)}),)),
                    verdict=Verdict(opinion=Opinion.GOOD if is_good else Opinion.BAD, reasons=reasons),
                )
            )
        parameters = dict(refine_for(engine, parameters, judged).parameters)
        preference = DiffusionSpecParameters.from_json(parameters).preference
    return preference


def test_engine_declares_them_with_priors_and_limits() -> None:
    declared = {kind.name: kind for kind in DiffusionEngine.learnable}
    assert set(NAMES) < set(declared)
    assert len(declared) == len(LEARNABLE), "no two draws have one name"
    for kind in SETTINGS:
        assert kind.limits is not None
        assert kind.spread > 0


def test_settings_are_drawn_about_the_spec_s_own_within_their_limits() -> None:
    drawn = chosen()
    for kind in SETTINGS:
        values = np.array([each.draws([kind.name])[kind.name] for each in drawn], float)
        assert kind.limits is not None
        assert kind.limits[0] <= values.min() < values.max() <= kind.limits[1]
    guidance = np.log([each.guidance / 4.0 for each in drawn if each.guidance is not None])
    assert abs(guidance.mean()) < 0.1
    assert guidance.std() == pytest.approx(0.35, abs=0.05)


def test_settings_depend_on_spec_and_index_alone() -> None:
    assert chosen() == chosen()
    assert chosen(digest="b") != chosen()
    [alone] = [SettingsChoice(USUAL, NAMES, None).choose("a", 7, PLACED)]
    assert alone == chosen()[7]


def test_what_is_not_drawn_stays_as_it_is() -> None:
    assert SettingsChoice(USUAL, (), None).choose("a", 0, PLACED) == USUAL
    only = SettingsChoice(USUAL, ("steps",), None)
    assert {(each.strength, each.guidance) for each in (only.choose("a", i, PLACED) for i in range(9))} == {(1.0, 4.0)}
    own = PaintSettings(strength=1.0, guidance=None, steps=20)
    assert own.draws(NAMES) == {"strength": 1.0, "steps": 20.0}


def test_at_least_one_step_is_painted() -> None:
    few = SettingsChoice(PaintSettings(strength=0.3, guidance=4.0, steps=1), NAMES, None)
    assert all(int(each.steps * each.strength) >= 1 for each in (few.choose("a", i, PLACED) for i in range(200)))


@pytest.mark.parametrize("reason", [None, Reason.TOO_STRONG])
def test_verdicts_teach_them(tmp_path, reason: Reason | None) -> None:
    def accepts(settings: PaintSettings) -> bool:
        assert settings.guidance is not None
        return settings.guidance < 3.4

    before = np.mean([accepts(each) for each in chosen()])
    preference = after_rounds(accepts, tmp_path, reason=reason)
    after = np.mean([accepts(each) for each in chosen(preference, digest="run")])
    assert before < 0.5
    assert after > 0.9


def test_what_the_usual_settings_hardly_reach_is_reached(tmp_path) -> None:
    def accepts(settings: PaintSettings) -> bool:
        return settings.strength < 0.85 and settings.steps > 22

    before = np.mean([accepts(each) for each in chosen()])
    preference = after_rounds(accepts, tmp_path, rounds=4)
    after = np.mean([accepts(each) for each in chosen(preference, digest="run")])
    assert before < 0.2
    assert after > 0.8


def test_what_verdicts_do_not_tell_stays_as_varied(tmp_path) -> None:
    def accepts(settings: PaintSettings) -> bool:
        assert settings.guidance is not None
        return settings.guidance < 3.4

    preference = after_rounds(accepts, tmp_path)
    before, after = (np.std([each.steps for each in drawn]) for drawn in (chosen(), chosen(preference, digest="run")))
    assert after > 0.7 * before
