"""Simulated studies for ``scripts/bench learn``: rounds of verdicts, the versions after them, and their diversity."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from benches.learn_methods import Method
from benches.learn_reviewers import Reviewer
from benches.packs import read_pack
from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Json, Spec, sample_seed
from datagen.domain.trace import Trace
from datagen.synthesis.composite.backgrounds import Backgrounds
from datagen.synthesis.composite.engine import LearnedModels, fit_models
from datagen.synthesis.composite.parameters import RANGES
from datagen.synthesis.engine import Picture, Pictures, ReviewedSample

#: Samples of a round, fresh samples by which a version is measured, and default samples that set the thresholds.
ROUND, FRESH, POOL = 20, 40, 120
#: Index of the first fresh sample of a version, beyond those of its rounds.
_FRESH_FROM = 1000
#: Bins of a number in the accepted region, and the share of its expected samples from which one is covered.
_BINS, _COVERED = 6, 1 / 3
#: Draws whose drift is recorded.
_DRIFTING = ("size", "contrast", "softness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A pack whose models are fitted."""

    name: str
    spec: Spec
    models: LearnedModels
    backgrounds: Backgrounds
    pool: tuple[Trace, ...] = ()
    #: traces of versions with the default settings, which all simulated studies share
    _default: dict[tuple[int, range], list[Trace]] = field(default_factory=dict)

    def traces(self, parameters: dict[str, Json], version: int, indices: range) -> list[Trace]:
        """Return the traces of a version's samples."""
        if not parameters and (version, indices) in self._default:
            return self._default[version, indices]
        spec = replace(self.spec, parameters=parameters, seed=version)
        composer = self.models.composer(spec, self.backgrounds)
        composed = [composer.compose(index, sample_seed(spec.digest, index)) for index in indices]
        traces = [each.trace for each in composed if each.instances]
        if not parameters:
            self._default[version, indices] = traces
        return traces


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A simulated study: the acceptance before the first refinement and after each, and the last fresh samples."""

    acceptance: tuple[float, ...]
    last: tuple[Trace, ...]
    #: seconds of the slowest refinement
    slowest: float
    parameters: dict[str, Json]


class _DecodedPictures:
    """Pictures that are decoded once."""

    def __init__(self, pictures: Pictures) -> None:
        self._pictures = pictures
        self._decoded: dict[str, Picture] = {}

    def load(self, ref: ImageRef) -> Picture:
        """Return the picture's pixels; the caller must not modify them."""
        if ref.digest not in self._decoded:
            self._decoded[ref.digest] = self._pictures.load(ref)
        return self._decoded[ref.digest]


def read_subject(folder: Path) -> Subject:
    """Fit the default engine to a pack, and draw the samples that set the standards' thresholds.

    Raises:
        DatagenError: the folder is no pack, or the engine cannot be fitted to it.
    """
    pack = read_pack(folder, judged=False)
    spec = replace(pack.spec, parameters={})
    pictures = _DecodedPictures(pack.pictures)
    models = fit_models(spec, pictures, lambda _share, _step: None)
    subject = Subject(name=pack.name, spec=spec, models=models, backgrounds=Backgrounds(models.area_models, pictures))
    return replace(subject, pool=tuple(subject.traces({}, 0, range(POOL))))


def simulate(subject: Subject, reviewer: Reviewer, method: Method, seed: int, rounds: int) -> Study:
    """Return the study of a reviewer with a method.

    The samples of a round are shared evenly by the settings that the method shows in it.
    """
    chance = np.random.default_rng(seed)
    acceptance: list[float] = []
    slowest, parameters, fresh = 0.0, dict[str, Json](), list[Trace]()
    for number in range(rounds + 1):
        version = 1 + number + 100 * seed
        fresh = subject.traces(parameters, version, range(_FRESH_FROM, _FRESH_FROM + FRESH))
        acceptance.append(float(np.mean([reviewer.accepts(trace) for trace in fresh])))
        if number == rounds:
            break
        settings = method.shown()
        each = ROUND // len(settings)
        judged = []
        for turn, shown in enumerate(settings):
            traces = subject.traces(shown, version, range(turn * each, (turn + 1) * each))
            judged.append([ReviewedSample(trace=trace, verdict=reviewer.judge(trace, chance)) for trace in traces])
        began = time.perf_counter()
        parameters = method.learn(judged)
        slowest = max(slowest, time.perf_counter() - began)
    return Study(acceptance=tuple(acceptance), last=tuple(fresh), slowest=slowest, parameters=parameters)


def diversity(subject: Subject, reviewer: Reviewer, study: Study) -> dict[str, float]:
    """Return what the last samples show of the accepted region, and their spread, relative to default samples.

    ``coverage`` compares them with as many accepted default samples. It is left out if these are too few.
    """
    accepted = [trace for trace in subject.pool if reviewer.accepts(trace)]
    shown = [trace for trace in study.last if reviewer.accepts(trace)]
    figures = {
        "size_spread": _spread(study.last, "size") / max(_spread(subject.pool, "size"), 1e-9),
        "place_spread": (_spread(study.last, "x") + _spread(study.last, "y"))
        / max(_spread(subject.pool, "x") + _spread(subject.pool, "y"), 1e-9),
    }
    figures = {name: round(value, 3) for name, value in figures.items()}
    if len(accepted) < FRESH // 4 or not shown:
        return figures
    chance = np.random.default_rng(0)
    reference = [
        _coverage(accepted, [accepted[i] for i in chance.integers(len(accepted), size=len(shown))]) for _ in range(20)
    ]
    return figures | {"coverage": round(_coverage(accepted, shown) / max(float(np.mean(reference)), 1e-9), 3)}


def drift(subject: Subject, study: Study) -> dict[str, float]:
    """Return the medians of the last samples' draws, relative to default samples, and the settings at a limit."""
    ratios = {
        name: round(float(np.median(_values(study.last, name)) / np.median(_values(subject.pool, name))), 3)
        for name in _DRIFTING
    }
    limits = sum(
        isinstance(value, int | float) and name in RANGES and value in RANGES[name]
        for name, value in study.parameters.items()
    )
    return ratios | {"settings_at_limit": float(limits)}


def _values(traces: Sequence[Trace], name: str) -> list[float]:
    return [float(i.draws[name]) for t in traces for i in t.instances if i.draws is not None and name in i.draws]


def _spread(traces: Sequence[Trace], name: str) -> float:
    """Return the deviation of a draw; that of its logarithm for the size, so that smaller is not less spread."""
    values = np.array(_values(traces, name))
    return float(np.std(np.log(values) if name == "size" else values))


def _coverage(region: Sequence[Trace], shown: Sequence[Trace]) -> float:
    """Return the mean share of sizes, places and concepts of the region that occur in the samples shown."""
    shares = []
    for name in ("size", "x", "y"):
        inside, other = np.array(_values(region, name)), np.array(_values(shown, name))
        edges = np.quantile(inside, np.linspace(0, 1, _BINS + 1))[1:-1]
        counts = np.bincount(np.searchsorted(edges, other), minlength=_BINS)
        shares.append(float(np.minimum(1, counts / (len(other) / _BINS * _COVERED)).mean()))
    concepts = [[i.draws["concept"] for t in ts for i in t.instances if i.draws is not None] for ts in (region, shown)]
    names = sorted(set(map(str, concepts[0])))
    expected = np.array([concepts[0].count(name) / len(concepts[0]) for name in names]) * len(concepts[1])
    counts = np.array([concepts[1].count(name) for name in names])
    shares.append(float(np.average(np.minimum(1, counts / (expected * _COVERED)), weights=expected)))
    return float(np.mean(shares))
