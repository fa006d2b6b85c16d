"""``scripts/bench promises``: how often the promise of an audit is broken, in simulated studies.

Each study has a true share of acceptable samples, between a half and all. Its lead audits it in one of three ways:

``once``      one audit; the lead states what it promises, whatever that is
``planned``   one audit whose number was chosen so that one bad sample, or two, may occur; stated only if it is 90 %
``until``     a further audit, up to four, until 90 % is promised; stated only then, at the confidence that is left.
              ``worst share``: the true share is just below 90 %

Two sources of noise are told apart. *Samples*: they are drawn independently, or evenly, by the sequence by which the
composite engine draws concept and size. *Verdicts*: the reviewer says what is true, or flips a tenth of the verdicts. A
promise is about what reviewers say; with flips it is counted against the share of good verdicts that this reviewer
would give on all samples, and against the true share too.

*Threshold*: a critic whose predictions are too high, right or too low, or say nothing, sees a round of 20; its
predictions choose a threshold, and an audit of 52 states what share of the samples above it is acceptable. The promise
is counted against the true share above that threshold.

``worst`` is not simulated: it is the probability with which the promise of one audit of up to 200 samples is broken
at the worst true share. Spot checks are simulated on runs that are as good as promised, and on worse ones.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import binom

from datagen.learning import acceptance
from datagen.learning.acceptance import AuditedAcceptance, ThresholdAcceptance
from datagen.learning.critic import threshold_of
from datagen.synthesis.composite.compositor import evenly

#: Share of flipped verdicts of a reviewer who errs.
FLIPPED = 0.1
#: True shares of acceptable samples.
LOWEST, HIGHEST = 0.5, 1.0
#: Sizes of the audits of each lead.
ONCE, PLANNED, UNTIL = (22,), (52,), (22, 24, 30, 40)
#: Verdicts on the spot checks of a run.
LOOKS = 100
#: Samples of a round and of an audit of a version whose critic has a threshold.
ROUND, AUDIT = 20, 52
#: The true log-odds of a good verdict are those of the critic's prediction, plus one of these; None: they are the same
#: for all samples.
CRITIC_ERRORS = {"too high": -1.0, "right": 0.0, "too low": 1.0, "says nothing": None}
#: Samples of a version, of which the true share above a threshold is computed.
_POPULATION = 20_000
#: True shares of runs that were promised 90 %.
RUNS = (0.9, 0.8, 0.6)

Flags = npt.NDArray[np.bool_]
Shares = npt.NDArray[np.float64]
#: Returns a threshold of the critic; None if none is stated.
Choose = Callable[[Shares, Shares, Flags], float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Promises of simulated studies."""

    studies: int
    #: studies in which something was stated
    stated: int
    #: stated promises above the share of good verdicts, and above the share of acceptable samples
    broken: int
    broken_in_truth: int
    #: mean promised share
    promised: float

    def to_json(self) -> dict[str, Any]:
        """Return the shares of all studies, as JSON values."""
        return {
            "studies": self.studies,
            "stated": self.stated / self.studies,
            "broken": self.broken / self.studies,
            "broken_in_truth": self.broken_in_truth / self.studies,
            "promised": self.promised,
        }


def simulate(studies: int = 1000, seed: int = 7) -> dict[str, Any]:
    """Return the shares of broken promises by lead, samples and verdicts, as JSON values."""
    figures: dict[str, Any] = {}
    leads = {"once": (ONCE, 0.0), "planned": (PLANNED, acceptance.TARGET), "until": (UNTIL, acceptance.TARGET)}
    for lead, (sizes, target) in leads.items():
        allowed = 1 - acceptance.confidence_after(len(sizes))
        for is_even, flipped in product((False, True), (0.0, FLIPPED)):
            chance = np.random.default_rng([seed, len(figures)])
            shares = chance.uniform(LOWEST, HIGHEST, studies)
            tally = _tally(chance, shares, sizes, target, is_even=is_even, flipped=flipped)
            name = f"{lead}, {'even' if is_even else 'independent'} samples, {flipped:.0%} flipped"
            figures[name] = {**tally.to_json(), "allowed": allowed}
        if len(sizes) > 1:
            chance = np.random.default_rng([seed, len(figures)])
            tally = _tally(chance, np.full(studies, target - 1e-9), sizes, target, is_even=False, flipped=0.0)
            figures[f"{lead}, worst share"] = {**tally.to_json(), "allowed": allowed}
    return figures


def chosen_before(of_round: Shares, _audit: Shares, _good: Flags) -> float | None:
    """Return the threshold that the product states."""
    return threshold_of(of_round.tolist(), 0.0)


def thresholds(
    studies: int = 1000, seed: int = 7, choose: Choose = chosen_before, population: int = _POPULATION
) -> dict[str, Any]:
    """Return the shares of broken promises of what a threshold of the critic leaves, by the critic's error.

    Args:
        studies: number of simulated studies of each kind.
        seed: seed of the simulation.
        choose: returns the threshold, from the predictions on the round, those on the audit, and the audit's verdicts.
        population: number of samples of a version, of which round and audit are drawn.
    """
    figures: dict[str, Any] = {}
    for name, error in CRITIC_ERRORS.items():
        chance = np.random.default_rng([seed, len(figures)])
        stated: list[float] = []
        broken = 0
        for _ in range(studies):
            predicted = expit(chance.normal(chance.uniform(-1, 4), chance.uniform(0.5, 3), population))
            if error is None:
                likely = np.full(population, chance.uniform(LOWEST, HIGHEST))
            else:
                likely = expit(logit(predicted) + error)
            of_round, audit = (chance.integers(population, size=count) for count in (ROUND, AUDIT))
            good = chance.random(AUDIT) < likely[audit]
            threshold = choose(predicted[of_round], predicted[audit], good)
            if threshold is None:
                continue
            left = predicted[audit] >= threshold
            promise = _of_threshold(threshold, int(left.sum()), int((left & good).sum())).lower
            stated.append(promise)
            broken += promise > float(likely[predicted >= threshold].mean())
        tally = Tally(
            studies=studies,
            stated=len(stated),
            broken=broken,
            broken_in_truth=broken,
            promised=float(np.mean(stated)) if stated else 0.0,
        )
        figures[f"threshold, critic {name}"] = {**tally.to_json(), "allowed": 1 - acceptance.CONFIDENCE}
    return figures


def _of_threshold(threshold: float, kept: int, good: int) -> ThresholdAcceptance:
    return ThresholdAcceptance(threshold=threshold, audits=1, samples=AUDIT, kept=kept, good=good)


def worst_case(most: int = 200) -> float:
    """Return the largest probability with which one audit's promise is broken, over sizes and true shares, exactly."""
    worst = 0.0
    for samples in (1, 5, 10, 22, 38, 52, 65, 100, most):
        bounds = np.array([acceptance.lower_bound(samples, bad) for bad in range(samples + 1)])
        for share in bounds[:-1] - 1e-9:  # a promise is broken most often just below one that can be stated
            broken = bounds > share
            worst = max(worst, float(binom.pmf(np.arange(samples + 1)[broken], samples, 1 - share).sum()))
    return worst


def spot_checks(studies: int = 1000, seed: int = 7) -> dict[str, Any]:
    """Return the share of runs with a promise of 90 % whose spot checks raise an alarm, and the verdicts until then."""
    limit = 1 / (1 - acceptance.ALARM_CONFIDENCE)
    figures: dict[str, Any] = {}
    for share in RUNS:
        chance = np.random.default_rng([seed, round(share * 100)])
        bad = np.cumsum(chance.random((studies, LOOKS)) >= share, axis=1)
        alarms = np.array([[_evidence(look + 1, int(row[look])) >= limit for look in range(LOOKS)] for row in bad])
        raised = alarms.any(axis=1)
        looks = np.argmax(alarms[raised], axis=1) + 1
        figures[f"{share:.0%} acceptable"] = {
            "alarms": float(raised.mean()),
            "verdicts": float(np.median(looks)) if len(looks) else None,
        }
    return figures


def _tally(
    chance: np.random.Generator, shares: Shares, sizes: Sequence[int], target: float, *, is_even: bool, flipped: float
) -> Tally:
    good = _evenly_acceptable if is_even else _independently_acceptable
    stated: list[float] = []
    broken = broken_in_truth = 0
    for share in map(float, shares):
        is_good = good(chance, sum(sizes), share) ^ (chance.random(sum(sizes)) < flipped)
        promise = _promise(is_good, sizes, target)
        if promise is None:
            continue
        stated.append(promise)
        broken += promise > share * (1 - flipped) + (1 - share) * flipped
        broken_in_truth += promise > share
    return Tally(
        studies=len(shares),
        stated=len(stated),
        broken=broken,
        broken_in_truth=broken_in_truth,
        promised=float(np.mean(stated)) if stated else 0.0,
    )


def _promise(is_good: Flags, sizes: Sequence[int], target: float) -> float | None:
    """Return what is stated after as many audits as the lead needs; None if the target is never reached."""
    samples = 0
    for audits, size in enumerate(sizes, start=1):
        samples += size
        lower = _lower(audits, samples, int(is_good[:samples].sum()))
        if lower >= target:
            return lower
    return None


@cache
def _lower(audits: int, samples: int, good: int) -> float:
    return AuditedAcceptance(audits=audits, samples=samples, judged=samples, good=good).lower


@cache
def _evidence(verdicts: int, bad: int) -> float:
    return acceptance.evidence_below(acceptance.TARGET, verdicts, bad)


def _independently_acceptable(chance: np.random.Generator, samples: int, share: float) -> Flags:
    return chance.random(samples) < share


def _evenly_acceptable(chance: np.random.Generator, samples: int, share: float) -> Flags:
    """Return which samples are acceptable if a range of concepts or of sizes is not, as the engine draws both."""
    first, start = int(chance.integers(10_000)), chance.random()
    name = "concept" if chance.random() < 0.5 else "size"
    at = np.array([getattr(evenly(turn), name) for turn in range(first, first + samples)])
    result: Flags = (at - start) % 1.0 < share
    return result


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if no kind of promise is broken more often than its confidence allows."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench promises", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=1000, help="simulated studies of each kind (1,000)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the simulation (7)")
    parser.add_argument("--json", type=Path, help="write the figures here")
    chosen = parser.parse_args(arguments)
    if chosen.studies < 1:
        parser.error("--studies: give at least 1")
    figures = {
        "broken_promises": {
            **simulate(chosen.studies, chosen.seed),
            **thresholds(chosen.studies, chosen.seed),
        },
        "worst": worst_case(),
        "spot_checks": spot_checks(chosen.studies, chosen.seed),
    }
    print(f"{'':46}{'stated':>8}{'mean':>7}{'broken':>8}{'allowed':>9}{'in truth':>10}")
    for name, row in figures["broken_promises"].items():
        shares = [row[key] for key in ("stated", "promised", "broken", "allowed", "broken_in_truth")]
        print(f"{name:46}" + "".join(f"{share:>{w}.1%}" for share, w in zip(shares, (8, 7, 8, 9, 10), strict=True)))
    print(f"one audit at the worst true share, exactly: broken in {figures['worst']:.1%}")
    for name, row in figures["spot_checks"].items():
        median = "" if row["verdicts"] is None else f", after {row['verdicts']:.0f} verdicts in the median"
        print(f"spot checks of a run that was promised 90 %, {name}: alarm in {row['alarms']:.1%}{median}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(figures, indent=2) + "\n")
    is_kept = all(row["broken"] <= row["allowed"] for row in figures["broken_promises"].values())
    return 0 if is_kept and figures["worst"] <= 1 - acceptance.CONFIDENCE + 1e-6 else 1
