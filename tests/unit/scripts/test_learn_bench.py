"""The bench of refinement: its file of figures, and the methods that it compares."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from benches import learn
from benches.learn_methods import METHODS
from benches.learn_studies import FRESH, Subject, simulate
from datagen.domain.trace import InstanceTrace, Trace
from datagen.domain.verdict import Opinion, Reason, Verdict
from datagen.synthesis.composite.parameters import RANGES
from datagen.synthesis.engine import ReviewedSample

PROMISES = {"once": {"broken": 0.04, "allowed": 0.1}, "until": {"broken": 0.13, "allowed": 0.188}}
FIGURES = {
    "acceptance": [0.4, 0.8, 0.7, 0.95, 1.0],
    "verdicts_to_90": 60,
    "falls": 1,
    "seconds": 0.1,
    "diversity": {"coverage": 0.9, "size_spread": 1.0, "place_spread": 0.8},
    "drift": {},
}


@pytest.fixture
def measured(monkeypatch):
    """The studies that a run simulates, each with the same figures."""
    studies: list[tuple[str, str]] = []

    def figures(subject, demands, method, *_):
        studies.append((method, demands))
        return FIGURES

    monkeypatch.setattr(learn, "pack_folders", lambda folders: folders)
    monkeypatch.setattr(learn, "read_subject", lambda folder: SimpleNamespace(name=folder.name, pool=()))
    monkeypatch.setattr(learn, "standards", lambda _pool: {"larger": "larger", "axis": "axis"})
    monkeypatch.setattr(learn, "_measured", figures)
    monkeypatch.setattr(learn.promises, "simulate", lambda: PROMISES)
    return studies


def run(tmp_path, *more):
    file = tmp_path / "figures.json"
    arguments = ["--data", "pack", "--variants", "clean", "--methods", "none", "datagen", "--json", str(file), *more]
    return learn.main(arguments), file


def sample(opinion=Opinion.GOOD, *reasons, **draws):
    trace = Trace(instances=(InstanceTrace(draws=draws),))
    return ReviewedSample(trace=trace, verdict=Verdict(opinion=opinion, reasons=frozenset(reasons)))


def test_killed_run_goes_on_with_the_studies_that_are_missing(tmp_path, measured, monkeypatch):
    whole = learn._measured

    def killed(*arguments):
        if len(measured) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(learn, "_measured", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path)
    monkeypatch.setattr(learn, "_measured", whole)
    assert run(tmp_path)[0] == 0
    assert measured == [("none", "larger"), ("none", "axis"), ("datagen", "larger"), ("datagen", "axis")]


def test_run_with_another_method_adds_to_the_file(tmp_path, measured):
    run(tmp_path)
    _, file = run(tmp_path, "--methods", "TPE", "--standards", "axis")
    assert measured[4:] == [("TPE", "axis")]
    assert set(json.loads(file.read_text())["standards"]["axis"]) == {"none", "datagen", "TPE"}


def test_file_that_other_code_made_is_refused(tmp_path, measured, capsys):
    _, file = run(tmp_path)
    report = json.loads(file.read_text())
    file.write_text(json.dumps(report | {"made_by": {"code": "other", "rounds": 4}}))
    assert run(tmp_path)[0] == 2
    assert len(measured) == 4
    assert "made by other code" in capsys.readouterr().err


def test_unknown_standard_is_named(tmp_path, measured, capsys):
    assert run(tmp_path, "--standards", "blue")[0] == 2
    assert "'blue' is none of larger, axis" in capsys.readouterr().err
    assert not measured


def test_file_has_each_standard_and_method_and_the_figures_of_other_benches(tmp_path, measured):
    critic = tmp_path / "critic.json"
    critic.write_text(json.dumps({"ece": 0.07, "active_ratio": 0.6, "other": 1}))
    report = json.loads(run(tmp_path, "--merge", str(critic))[1].read_text())
    assert report["standards"]["larger"]["datagen"] == {
        "rejection_by_round": [0.6, 0.2, 0.3, 0.05, 0.0],
        "verdicts_to_90": 60.0,
        "diversity": FIGURES["diversity"],
    }
    # the lead that audits until 90 % is promised may break 18.8 %, which is no promise at 90 % confidence
    assert [report[key] for key in ("ece", "active_ratio", "broken_promises")] == [0.07, 0.6, 0.04]


def test_figures_that_no_bench_gave_are_null(tmp_path, measured):
    report = json.loads(run(tmp_path)[1].read_text())
    assert report["ece"] is None
    assert report["active_ratio"] is None


def test_search_tries_the_defaults_first_and_keeps_the_newest_of_the_best_settings():
    search = METHODS["random search"](0)
    shown = search.shown()
    assert len(shown) == 5
    assert shown[0] | {"size_factor": 1.0, "min_contrast": 2.0} == shown[0]
    opinions = [Opinion.BAD, Opinion.GOOD, Opinion.BAD, Opinion.GOOD, Opinion.BAD]
    assert search.learn([[sample(opinion)] * 4 for opinion in opinions]) == shown[3]


def test_former_refinement_stays_within_the_limits():
    method = METHODS["former refine"](0)
    for _ in range(12):
        settings = method.learn([[sample(Opinion.BAD, Reason.TOO_SMALL, Reason.WRONG_PLACE)] * 20])
    assert settings["size_factor"] == RANGES["size_factor"][1]
    assert settings["context_strictness"] == 1.0
    assert settings["contrast"] == 1.0


def test_former_refinement_uses_a_concept_less_that_is_in_the_bad_samples():
    method = METHODS["former refine"](0)
    bad = [sample(Opinion.BAD, Reason.WRONG_LOOK, concept="a:0")] * 5
    good = [sample(concept=f"{letter}:0") for letter in "bcd" for _ in range(5)]
    weights = method.learn([bad + good])["concept_weights"]
    assert weights["a:0"] < 0.5
    assert weights["b:0"] == 1.0


def test_samples_of_a_round_are_shared_by_the_settings_shown():
    drawn: list[tuple[dict, range]] = []

    class Drawn(Subject):
        def traces(self, parameters, version, indices):
            drawn.append((parameters, indices))
            return [Trace(instances=(InstanceTrace(draws={"size": 1.0}),)) for _ in indices]

    class Method:
        def shown(self):
            return [{"contrast": 1.0}, {"contrast": 2.0}]

        def learn(self, judged):
            assert [len(samples) for samples in judged] == [10, 10]
            return {"contrast": 2.0}

    class Everything:
        def accepts(self, _trace):
            return True

        def judge(self, _trace, _chance):
            return Verdict(opinion=Opinion.GOOD)

    study = simulate(
        Drawn(name="pack", spec=None, models=None, backgrounds=None), Everything(), Method(), seed=0, rounds=1
    )
    assert study.acceptance == (1.0, 1.0)
    assert study.parameters == {"contrast": 2.0}
    assert drawn[1:3] == [({"contrast": 1.0}, range(10)), ({"contrast": 2.0}, range(10, 20))]
    assert drawn[3][0] == {"contrast": 2.0}
    assert len(drawn[3][1]) == FRESH
