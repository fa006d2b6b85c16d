"""``scripts/bench learn``: what verdicts change, by simulated reviewers with hidden standards.

Each reviewer judges 20 samples a round. After each refinement 40 fresh samples of the new version are judged by the
standard itself, without mistakes. The engine is fitted once a pack, and every version is composed by it.

Methods: “none” keeps the settings; “random search” draws settings at random each round and keeps those of the round
with the most good verdicts; “datagen” is the product's refinement.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benches.learn_reviewers import Demand, Reviewer, standards
from benches.packs import pack_folders, read_pack
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.trace import Trace
from datagen.domain.verdict import Opinion
from datagen.errors import DatagenError
from datagen.learning.refinement import refine_for
from datagen.synthesis.composite.engine import CompositeEngine, FittedModels, fit_models
from datagen.synthesis.engine import ReviewedSample

#: Samples of a round, fresh samples by which a version is measured, and default samples that set the thresholds.
ROUND, FRESH, POOL = 20, 40, 120
#: Index of the first fresh sample of a version, beyond those of its rounds.
_FRESH_FROM = 1000
#: The reviewers' variants: name → share of flipped verdicts, and whether reasons are given.
VARIANTS = {"clean": (0.0, True), "flips": (0.1, True), "no reasons": (0.0, False)}
#: A fall of the acceptance from one version to the next that is counted.
_FALL = 0.1
#: Bins of a number in the accepted region, and the share of its expected samples from which one is covered.
_BINS, _COVERED = 6, 1 / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A pack whose models are fitted."""

    name: str
    spec: Spec
    models: FittedModels
    pool: tuple[Trace, ...]

    def traces(self, parameters: dict[str, Json], version: int, indices: range) -> list[Trace]:
        """Return the traces of a version's samples."""
        spec = replace(self.spec, parameters=parameters, seed=version)
        composer = self.models.composer(spec)
        composed = [composer.compose(index, sample_seed(spec.digest, index)) for index in indices]
        return [each.trace for each in composed if each.instances]


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A simulated study: the acceptance before the first refinement and after each, and the last fresh samples."""

    acceptance: tuple[float, ...]
    last: tuple[Trace, ...]
    slowest: float
    parameters: dict[str, Json]


Propose = Callable[[dict[str, Json], list[list[ReviewedSample]], np.random.Generator], dict[str, Json]]


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if all studies were simulated."""
    parser = argparse.ArgumentParser(prog="scripts/bench learn", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PACK", help="pack folders")
    parser.add_argument("--seeds", type=int, default=1, help="simulated studies of each reviewer and pack")
    parser.add_argument("--rounds", type=int, default=4, help="rounds of 20 verdicts")
    parser.add_argument("--methods", nargs="+", default=["none", "random search", "datagen"], choices=_METHODS)
    parser.add_argument("--variants", nargs="+", default=list(VARIANTS), choices=VARIANTS)
    parser.add_argument("--standards", nargs="+", default=[], help="only these standards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    chosen = parser.parse_args(arguments)
    try:
        subjects = [_subject(folder) for folder in pack_folders(chosen.data)]
    except DatagenError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    results: list[dict[str, Any]] = []
    for variant in chosen.variants:
        for method in chosen.methods:
            rows = [
                {"variant": variant, "method": method, "pack": subject.name, "standard": name, "seed": seed}
                | _measured(subject, name, demands, method, variant, seed, chosen.rounds)
                for subject in subjects
                for name, demands in standards(subject.pool).items()
                if not chosen.standards or name in chosen.standards
                for seed in range(chosen.seeds)
            ]
            results += rows
            _show(variant, method, rows)
            if chosen.json:
                chosen.json.write_text(json.dumps(_report(results), indent=1))
    return 0


def _subject(folder: Path) -> Subject:
    pack = read_pack(folder, judged=False)
    spec = replace(pack.spec, parameters={})
    models = fit_models(spec, pack.pictures, lambda _share, _step: None)
    subject = Subject(name=pack.name, spec=spec, models=models, pool=())
    return replace(subject, pool=tuple(subject.traces({}, 0, range(POOL))))


def _measured(
    subject: Subject, name: str, demands: tuple[Demand, ...], method: str, variant: str, seed: int, rounds: int
) -> dict[str, Any]:
    flips, reasons = VARIANTS[variant]
    reviewer = Reviewer(demands=demands, flips=flips, gives_reasons=reasons)
    study = _simulate(subject, reviewer, _METHODS[method], seed, rounds)
    steps = np.diff(study.acceptance)
    enough = [ROUND * number for number, share in enumerate(study.acceptance) if share >= 0.9]
    row = {
        "acceptance": [round(share, 4) for share in study.acceptance],
        "verdicts_to_90": enough[0] if enough else None,
        "falls": int(np.count_nonzero(steps <= -_FALL + 1e-9)),
        "seconds": round(study.slowest, 3),
        **_diversity(subject, reviewer, study),
    }
    print(f"  {subject.name:16} {name:18} {method:14} {variant:10} {row}", flush=True)
    return row


def _simulate(subject: Subject, reviewer: Reviewer, propose: Propose, seed: int, rounds: int) -> Study:
    chance = np.random.default_rng(seed)
    parameters: dict[str, Json] = {}
    history: list[list[ReviewedSample]] = []
    acceptance: list[float] = []
    slowest, fresh = 0.0, list[Trace]()
    for number in range(rounds + 1):
        version = 1 + number + 100 * seed
        fresh = subject.traces(parameters, version, range(_FRESH_FROM, _FRESH_FROM + FRESH))
        acceptance.append(float(np.mean([reviewer.accepts(trace) for trace in fresh])))
        if number == rounds:
            break
        shown = subject.traces(parameters, version, range(ROUND))
        history.append([ReviewedSample(trace=trace, verdict=reviewer.judge(trace, chance)) for trace in shown])
        began = time.perf_counter()
        parameters = propose(parameters, history, chance)
        slowest = max(slowest, time.perf_counter() - began)
    return Study(acceptance=tuple(acceptance), last=tuple(fresh), slowest=slowest, parameters=parameters)


def _keep(
    parameters: dict[str, Json], _history: list[list[ReviewedSample]], _chance: np.random.Generator
) -> dict[str, Json]:
    return parameters


def _refine(
    parameters: dict[str, Json], history: list[list[ReviewedSample]], _chance: np.random.Generator
) -> dict[str, Json]:
    return refine_for(CompositeEngine(), parameters, history).parameters


class _RandomSearch:
    """Draws settings at random; after the last round it returns those of the best one."""

    def __init__(self) -> None:
        self._tried: list[dict[str, Json]] = []

    def __call__(
        self, parameters: dict[str, Json], history: list[list[ReviewedSample]], chance: np.random.Generator
    ) -> dict[str, Json]:
        self._tried = [*self._tried[: len(history) - 1], parameters]
        good = [sum(sample.verdict.opinion is Opinion.GOOD for sample in each) for each in history]
        if len(history) % 2 == 0:  # measured versions alternate between a trial and the best so far
            return self._tried[int(np.argmax(good))]
        return {
            "size_factor": float(np.exp(chance.normal(0, 0.4))),
            "contrast": float(np.exp(chance.normal(0, 0.4))),
            "edge_softness": float(np.exp(chance.normal(0, 0.6))),
            "place_strictness": float(chance.random()),
            "context_strictness": float(chance.random()),
            "direction_spread": float(chance.random()),
        }


_METHODS: dict[str, Propose] = {"none": _keep, "random search": _RandomSearch(), "datagen": _refine}


def _diversity(subject: Subject, reviewer: Reviewer, study: Study) -> dict[str, float]:
    """Return how much of the accepted region the last samples cover, compared with as many accepted default samples."""
    accepted = [trace for trace in subject.pool if reviewer.accepts(trace)]
    shown = [trace for trace in study.last if reviewer.accepts(trace)]
    figures: dict[str, float] = {"size_spread": _spread(study.last, "size"), "place_spread": _spread(study.last, "x")}
    if len(accepted) < FRESH // 4 or not shown:
        return figures
    chance = np.random.default_rng(0)
    reference = [
        _coverage(accepted, [accepted[i] for i in chance.integers(len(accepted), size=len(shown))]) for _ in range(20)
    ]
    return figures | {"coverage": round(_coverage(accepted, shown) / max(float(np.mean(reference)), 1e-9), 3)}


def _spread(traces: Sequence[Trace], name: str) -> float:
    values = [float(i.draws[name]) for t in traces for i in t.instances if i.draws is not None and name in i.draws]
    return round(float(np.std(values)), 4)


def _coverage(region: Sequence[Trace], shown: Sequence[Trace]) -> float:
    """Return the mean share of sizes, places and concepts of the region that occur in the samples shown."""
    shares = []
    for name in ("size", "x", "y"):
        inside, other = (
            np.array([float(i.draws[name]) for t in traces for i in t.instances if i.draws is not None])
            for traces in (region, shown)
        )
        edges = np.quantile(inside, np.linspace(0, 1, _BINS + 1))[1:-1]
        counts = np.bincount(np.searchsorted(edges, other), minlength=_BINS)
        shares.append(float(np.minimum(1, counts / (len(other) / _BINS * _COVERED)).mean()))
    concepts = [[i.draws["concept"] for t in ts for i in t.instances if i.draws is not None] for ts in (region, shown)]
    names = sorted(set(map(str, concepts[0])))
    expected = np.array([concepts[0].count(name) / len(concepts[0]) for name in names]) * len(concepts[1])
    counts = np.array([concepts[1].count(name) for name in names])
    shares.append(float(np.average(np.minimum(1, counts / (expected * _COVERED)), weights=expected)))
    return float(np.mean(shares))


def _show(variant: str, method: str, rows: list[dict[str, Any]]) -> None:
    table = np.array([row["acceptance"] for row in rows])
    by_standard = {
        name: float(np.mean([r["acceptance"][-1] for r in rows if r["standard"] == name]))
        for name in {r["standard"] for r in rows}
    }
    lowest = min(by_standard, key=lambda name: by_standard[name])
    falls = sum(row["falls"] for row in rows) / max(table.shape[0] * (table.shape[1] - 1), 1)
    coverage = [row["coverage"] for row in rows if "coverage" in row]
    print(
        f"{method}, {variant}: acceptance by round {np.round(table.mean(axis=0), 3).tolist()}, lowest {lowest} "
        f"{by_standard[lowest]:.2f}, falls {falls:.3f} of the steps, coverage "
        f"{np.mean(coverage or [np.nan]):.2f}, refine at most {max(r['seconds'] for r in rows):.2f} s",
        flush=True,
    )


def _report(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures: standard → method and variant → means over packs and seeds."""
    report: dict[str, Any] = {"standards": {}}
    for name in dict.fromkeys(row["standard"] for row in rows):
        methods = report["standards"][name] = {}
        for method, variant in dict.fromkeys((r["method"], r["variant"]) for r in rows if r["standard"] == name):
            own = [r for r in rows if (r["standard"], r["method"], r["variant"]) == (name, method, variant)]
            acceptance = np.mean([r["acceptance"] for r in own], axis=0)
            to_90 = [r["verdicts_to_90"] for r in own if r["verdicts_to_90"] is not None]
            methods[method if variant == "clean" else f"{method}, {variant}"] = {
                "rejection_by_round": [round(1 - share, 4) for share in acceptance],
                "verdicts_to_90": float(np.median(to_90)) if 2 * len(to_90) > len(own) else None,
                "diversity": {
                    key: round(float(np.mean([r[key] for r in own if key in r])), 4)
                    for key in ("coverage", "size_spread", "place_spread")
                    if any(key in r for r in own)
                },
            }
    report["rows"] = rows
    return report
