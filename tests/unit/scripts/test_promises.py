"""The simulation of promises: it keeps noise in samples and noise in verdicts apart, and finds a promise too large."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benches import promises
from datagen.learning import acceptance
from datagen.learning.critic import THRESHOLDS

#: Samples of a version: enough that its share above a threshold is another in each study.
POPULATION = 1000


@pytest.fixture(autouse=True)
def _nothing_cached():
    promises._lower.cache_clear()
    yield
    promises._lower.cache_clear()


def test_no_promise_is_broken_more_often_than_its_confidence_allows() -> None:
    figures = promises.simulate(studies=300, seed=3)
    assert {name: row["broken"] for name, row in figures.items() if row["broken"] > row["allowed"]} == {}
    assert figures["once, independent samples, 0% flipped"]["stated"] == 1.0


def test_promise_is_about_what_reviewers_say_when_they_err() -> None:
    figures = promises.simulate(studies=300, seed=3)
    clean, erring = (figures[f"once, independent samples, {flipped} flipped"] for flipped in ("0%", "10%"))
    assert clean["broken"] == clean["broken_in_truth"]
    assert erring["broken"] > erring["broken_in_truth"], "most of their errors make good samples bad"
    assert erring["promised"] < clean["promised"]


def test_bound_that_is_too_large_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Uses the share of good verdicts itself as the bound, which is too large."""
    monkeypatch.setattr(acceptance.AuditedAcceptance, "lower", property(lambda self: self.good / self.samples))
    figures = promises.simulate(studies=300, seed=3)
    assert figures["once, independent samples, 0% flipped"]["broken"] > 0.3


def test_promise_of_a_threshold_is_broken_in_at_most_a_tenth_of_1000_studies() -> None:
    for name, row in promises.thresholds(studies=1000, seed=3, population=POPULATION).items():
        assert row["broken"] <= row["allowed"] * row["stated"], name
        assert row["stated"] > 0.3, name


def test_threshold_that_the_verdicts_choose_is_found() -> None:
    """Choosing the threshold with the largest bound on the same verdicts makes the bound too large."""

    def lucky(_round: promises.Shares, audit: promises.Shares, good: promises.Flags) -> float:
        def bound(threshold: float) -> float:
            left = audit >= threshold
            return promises._of_threshold(threshold, int(left.sum()), int((left & good).sum())).lower

        return max(THRESHOLDS, key=bound)

    figures = promises.thresholds(studies=1000, seed=3, choose=lucky, population=POPULATION)
    assert figures["threshold, critic says nothing"]["broken"] > 0.1


def test_one_audit_uses_its_error_probability_and_no_more() -> None:
    assert promises.worst_case(60) == pytest.approx(0.1, abs=1e-5)


def test_spot_checks_tell_a_bad_run_from_one_that_is_as_promised() -> None:
    figures = promises.spot_checks(studies=100, seed=3)
    assert figures["90% acceptable"]["alarms"] <= 0.05 < 0.9 < figures["60% acceptable"]["alarms"]


def test_figures_are_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert promises.main(["--studies", "50", "--json", str(file)]) == 0
    assert json.loads(file.read_text()).keys() == {"broken_promises", "worst", "spot_checks"}
    assert "until, worst share" in capsys.readouterr().out
