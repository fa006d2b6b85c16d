"""``scripts/bench critic``: how well the critic predicts verdicts, by simulated reviewers with hidden standards.

Samples of the default version are judged, and the critic is compared with the standard on others that it has not seen.

* ``ece``: the calibration error after 60 verdicts in the order of the samples. With wrong verdicts, the truth is the
  probability that this reviewer says good.
* ``active_ratio``: the verdicts that the active order needs for the AUROC that the order of the samples reaches after
  60, as a share of 60; more than 1 if it does not reach it. Both begin with the same 20. The active order then takes
  rounds of 20, for each place the most uncertain of three candidates, and judges the most uncertain first. In
  ``active_ratio_with_audit`` a third of the places has a random one, which trains nothing and is counted.
* ``--backbone N``: instead, the calibration error and AUROC of the critic by what it sees: draws and measurements
  (``usual``), the measurements alone (``measurements``), and each with N principal components of the features of a
  pretrained network (``… + network``).
* ``half_judged``: the AUROC after 20 verdicts and the first 10 of two further rounds, in the order of the samples and
  with the most uncertain first.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benches.learn_reviewers import Reviewer, standards
from benches.packs import pack_folders, read_pack
from datagen.domain.spec import sample_seed
from datagen.domain.trace import Trace
from datagen.errors import DatagenError
from datagen.learning.critic import (
    auroc,
    calibration_error,
    critic_draws,
    learn_critic,
    log_odds,
    values_of,
    with_measurements,
)
from datagen.learning.posterior import learn
from datagen.synthesis.composite.backgrounds import Backgrounds
from datagen.synthesis.composite.compositor import Composed
from datagen.synthesis.composite.draws import LEARNABLE
from datagen.synthesis.composite.engine import fit_models
from datagen.synthesis.crop_features import crop_features
from datagen.synthesis.engine import ReviewedSample
from datagen.synthesis.learnable import LearnableDraw
from datagen.synthesis.preference import Preference
from datagen.workflow.study_options import DEFAULTS

#: Samples that are judged or are candidates, and samples by which the critic is measured.
CANDIDATES, MEASURED = 300, 250
#: Verdicts in all and in a round, candidates for each place of a round, and the steps of the curve.
VERDICTS, ROUND, CANDIDATES_EACH, STEP = 60, 20, 3, 10
#: Samples that set the thresholds of the standards.
_POOL = 120
#: Shares of wrong verdicts.
_FLIPS = (0.0, 0.1)

#: A sample: its trace and the measurements of its instances.
Drawn = tuple[Trace, Sequence[Mapping[str, float]]]
Figures = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A reviewer, the samples to judge, and those by which the critic is measured."""

    reviewer: Reviewer
    candidates: Sequence[Drawn]
    measured: Sequence[Drawn]
    seed: int

    @property
    def truth(self) -> npt.NDArray[np.bool_]:
        """Whether the measured samples meet the standard."""
        return np.array([self.reviewer.accepts(trace) for trace, _ in self.measured])


def main(arguments: Sequence[str]) -> int:
    """Run the bench; return 0 if everything was measured."""
    parser = argparse.ArgumentParser(prog="scripts/bench critic", description=__doc__)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="PACK", help="pack folders")
    parser.add_argument("--seeds", type=int, default=1, help="simulated studies of each reviewer and pack")
    parser.add_argument("--standards", nargs="+", default=[], help="only these standards")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file for the figures")
    parser.add_argument("--backbone", type=int, default=0, metavar="N", help="compare with a pretrained network")
    chosen = parser.parse_args(arguments)
    if chosen.backbone:
        return _compare_with_backbone(chosen)
    try:
        pools = {folder.name: _drawn(folder) for folder in pack_folders(chosen.data)}
    except DatagenError as wrong:
        print(wrong, file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    for flips in _FLIPS:
        for pack, pool in pools.items():
            for name, demands in standards([trace for trace, _ in pool[:_POOL]]).items():
                if chosen.standards and name not in chosen.standards:
                    continue
                for seed in range(chosen.seeds):
                    shift = seed * VERDICTS % CANDIDATES
                    case = Case(
                        reviewer=Reviewer(demands=demands, flips=flips),
                        candidates=[*pool[shift:CANDIDATES], *pool[:shift]],
                        measured=pool[CANDIDATES:],
                        seed=seed,
                    )
                    row = {"pack": pack, "standard": name, "flips": flips, "seed": seed, **_measured(case)}
                    print(f"  {row}", flush=True)
                    rows.append(row)
    report = _report(rows)
    print(json.dumps({key: value for key, value in report.items() if key != "rows"}, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


def _compare_with_backbone(chosen: argparse.Namespace) -> int:
    """Print the figures of the critic for each set of features, as JSON; return 0."""
    from benches.backbone_features import Backbone, Components

    backbone = Backbone()
    rows: list[dict[str, Any]] = []
    for folder in pack_folders(chosen.data):
        composed = list(_composed(folder))
        pool = [_with_measurements(each) for each in composed]
        features = [backbone.features(each.image, [i.box for i in each.instances]) for each in composed]
        components = Components(np.concatenate(features[:_POOL]), chosen.backbone)
        with_network = [
            (trace, [seen | more for seen, more in zip(map(dict, measured), components.of(own), strict=True)])
            for (trace, measured), own in zip(pool, features, strict=True)
        ]
        seen = {
            "usual": (pool, LEARNABLE),
            "usual + network": (with_network, (*LEARNABLE, *components.draws)),
            "measurements": (pool, ()),
            "measurements + network": (with_network, components.draws),
        }
        for flips in _FLIPS:
            for name, demands in standards([trace for trace, _ in pool[:_POOL]]).items():
                reviewer = Reviewer(demands=demands, flips=flips)
                for variant, (samples, declared) in seen.items():
                    case = Case(
                        reviewer=reviewer, candidates=samples[:CANDIDATES], measured=samples[CANDIDATES:], seed=0
                    )
                    rows.append(
                        {"seen": variant, "pack": folder.name, "flips": flips, **_critic_figures(case, declared)}
                    )
                print(f"  {folder.name}, {flips:.0%} flipped, {name}", file=sys.stderr, flush=True)
    report = {
        f"{variant}, {pack}, {flips:.0%} flipped": {
            figure: round(float(np.mean([row[figure] for row in own if figure in row])), 4)
            for figure in ("auroc", "ece")
        }
        for variant, pack, flips in dict.fromkeys((row["seen"], row["pack"], row["flips"]) for row in rows)
        if (own := [row for row in rows if (row["seen"], row["pack"], row["flips"]) == (variant, pack, flips)])
    }
    print(json.dumps(report, indent=1))
    if chosen.json:
        chosen.json.write_text(json.dumps(report, indent=1))
    return 0


def _composed(folder: Path) -> Iterator[Composed]:
    """Yield the samples of a pack that show an instance."""
    pack = read_pack(folder, judged=False)
    spec = replace(pack.spec, parameters={})
    models = fit_models(spec, pack.pictures, lambda _share, _step: None)
    composer = models.composer(spec, Backgrounds(models.area_models, pack.pictures))
    composed = (composer.compose(i, sample_seed(spec.digest, i)) for i in range(CANDIDATES + MEASURED))
    return (each for each in composed if each.instances)


def _with_measurements(composed: Composed) -> Drawn:
    boxes = [instance.box for instance in composed.instances]
    return composed.trace, crop_features(composed.image, composed.mask, boxes)


def _drawn(folder: Path) -> list[Drawn]:
    return [_with_measurements(each) for each in _composed(folder)]


def _measured(case: Case) -> dict[str, Any]:
    truth = case.truth
    row = _critic_figures(case, LEARNABLE)
    if not 0 < truth.sum() < len(truth):
        return row
    return row | {
        "sequential": _curve(case, candidates=1, audit=False),
        "active": _curve(case, candidates=CANDIDATES_EACH, audit=False),
        "active_with_audit": _curve(case, candidates=CANDIDATES_EACH, audit=True),
        "half_judged": [_curve(case, candidates=1, audit=False, judged=ROUND // 2, sort=sort)[-1] for sort in (0, 1)],
    }


def _critic_figures(case: Case, learnable: Sequence[LearnableDraw]) -> dict[str, Any]:
    """Return the figures of the critic after ``VERDICTS``; empty if there is none.

    Args:
        case: the reviewer and the samples.
        learnable: its features besides the measurements of the picture.
    """
    truth, flips = case.truth, case.reviewer.flips
    judged = list(_judge(case, case.candidates[:VERDICTS]))
    learned = learn_critic(learnable, judged, DEFAULTS.reject_below or 0.0).critic
    row: dict[str, Any] = {}
    if learned is not None:
        predicted = np.array([learned.probability(*sample) for sample in case.measured])
        row = {
            "ece": round(calibration_error(predicted, truth * (1 - 2 * flips) + flips), 4),
            "auroc": round(auroc(predicted, truth), 4),
            "stated_ece": learned.calibration_error,
            "stated_auroc": learned.auroc,
            "rejected": round(float(np.mean(predicted < learned.reject_below)), 4),
            "good_rejected": round(float(np.mean(predicted[truth] < learned.reject_below)), 4) if truth.any() else 0.0,
            "good_before": round(float(truth.mean()), 4),
            "good_after": round(float(truth[predicted >= learned.reject_below].mean()), 4),
        }
    return row


def _judge(case: Case, samples: Sequence[Drawn]) -> Iterator[ReviewedSample]:
    """Yield the verdicts on samples; a mistake depends on the sample alone, so that all orders meet the same ones."""
    for trace, measured in samples:
        number = next(i for i, (other, _) in enumerate(case.candidates) if other is trace)
        verdict = case.reviewer.judge(trace, np.random.default_rng((case.seed, number)))
        yield ReviewedSample(trace=trace, verdict=verdict, measured=tuple(measured))


def _curve(case: Case, *, candidates: int, audit: bool, judged: int = ROUND, sort: int | None = None) -> list[float]:
    """Return the AUROC after 20 verdicts and after each further STEP.

    Args:
        case: the reviewer and the samples.
        candidates: candidates for each place of a round.
        audit: whether every third place has its first candidate, whose verdict trains nothing.
        judged: number of verdicts on each round after the first.
        sort: whether the most uncertain are judged first; None: if there are candidates to choose from.
    """
    declared, truth = critic_draws(LEARNABLE), case.truth
    sort = candidates > 1 if sort is None else sort
    train = list(_judge(case, case.candidates[:ROUND]))
    scores = _scores(declared, train)
    curve, position = [_auroc(scores, case, truth)], ROUND
    for _ in range(VERDICTS // ROUND - 1):
        places = [[case.candidates[position + place + ROUND * n] for n in range(candidates)] for place in range(ROUND)]
        position += ROUND * candidates
        chosen = []
        for place, drawn in enumerate(places):
            random = audit and place % 3 == 0
            uncertain = np.abs(log_odds(scores, [values_of(*sample) for sample in drawn]))
            best = 0 if random else int(np.argmin(uncertain))
            chosen.append((float(uncertain[best]), drawn[best], random))
        if sort:
            chosen.sort(key=lambda each: each[0])
        for number, (_, sample, random) in enumerate(chosen[:judged], start=1):
            train += [] if random else _judge(case, [sample])
            if number % STEP == 0:
                scores = _scores(declared, train)
                curve.append(_auroc(scores, case, truth))
    return [round(value, 4) for value in curve]


def _scores(declared: Sequence[LearnableDraw], train: Sequence[ReviewedSample]) -> Preference:
    posterior = learn(declared, [with_measurements(sample) for sample in train])
    assert posterior is not None
    return posterior.preference()


def _auroc(scores: Preference, case: Case, truth: npt.NDArray[np.bool_]) -> float:
    return auroc(log_odds(scores, [values_of(*sample) for sample in case.measured]), truth)


def _report(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the figures without wrong verdicts, then those with them, and all rows."""
    report: dict[str, Any] = {}
    for flips in _FLIPS:
        own = [row for row in rows if row["flips"] == flips]
        figures = {
            name: round(float(np.mean([row[name] for row in own if name in row])), 4)
            for name in ("ece", "auroc", "stated_ece", "stated_auroc", "rejected", "good_rejected")
            if any(name in row for row in own)
        }
        curves = {
            name: np.mean([row[name] for row in own if name in row], axis=0)
            for name in ("sequential", "active", "active_with_audit", "half_judged")
            if any(name in row for row in own)
        }
        if curves:
            wanted = float(curves["sequential"][-1])
            figures["active_ratio"] = _ratio(curves["active"], wanted)
            figures["active_ratio_with_audit"] = _ratio(curves["active_with_audit"], wanted)
        own_figures = figures | {f"{name}_auroc": np.round(curve, 4).tolist() for name, curve in curves.items()}
        report |= {name if not flips else f"{name}, flips": value for name, value in own_figures.items()}
    return report | {"rows": list(rows)}


def _ratio(curve: Figures, wanted: float) -> float:
    """Return the verdicts after which a curve reaches an AUROC, as a share of all; 1.01 if it does not."""
    if curve[0] >= wanted:
        return round(ROUND / VERDICTS, 3)
    for number, (before, after) in enumerate(pairwise(curve.tolist())):
        if after >= wanted:
            return round((ROUND + STEP * (number + (wanted - before) / (after - before))) / VERDICTS, 3)
    return 1.01
