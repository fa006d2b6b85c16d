"""The versions of a study share a fit if the engine says that one fit serves them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import pytest

from datagen.domain.spec import Spec
from datagen.synthesis.engine import FitReport, FittedEngine, Rendered
from datagen.workflow.generation import shard_rendering
from datagen.workflow.generation.shard_rendering import MAX_FITTED, FittedEngineCache
from fake_studio import FakeStudio


@dataclass(frozen=True)
class Fitted(FittedEngine):
    """A fit that serves all specs with the same labels."""

    spec: Spec

    @property
    def report(self) -> FitReport:
        return FitReport()

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        raise NotImplementedError

    def refitted(self, spec: Spec) -> Fitted | None:
        return Fitted(spec) if spec.labels == self.spec.labels else None


class CountingEngine:
    """Records the specs that it fits."""

    def __init__(self) -> None:
        self.fits: list[Spec] = []

    def fit(self, spec: Spec, *_: object) -> Fitted:
        self.fits.append(spec)
        return Fitted(spec)


def spec_of(label: str, seed: int) -> Spec:
    return Spec(labels=(label,), concepts=(), canvases=(), backgrounds=(), engine="counting", seed=seed)


def test_versions_that_one_fit_serves_are_fitted_once(studio: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = CountingEngine()
    monkeypatch.setattr(shard_rendering, "load_engine", lambda _name, _settings: engine)
    cache = FittedEngineCache(studio.services)

    def fitted(spec: Spec) -> FittedEngine:
        return cache.fitted(spec, lambda _done, _what: None)

    versions = [spec_of("pit", seed) for seed in range(2 * MAX_FITTED)]
    assert [fitted(spec) for spec in versions] == [Fitted(spec) for spec in versions]
    assert engine.fits == versions[:1]
    other = spec_of("spur", 0)
    assert fitted(other) == Fitted(other)
    assert fitted(replace(other, seed=1)) == Fitted(replace(other, seed=1))
    assert engine.fits == [versions[0], other]
