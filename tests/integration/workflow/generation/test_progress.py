"""The progress of a shard during rendering: the current step, and the end after a cancellation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Spec
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import ShardRow
from datagen.synthesis.engine import FitReport, FittedEngine, Progress, Rendered
from datagen.workflow.generation import progress, shard_rendering
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from stage.processes import wait_until
from studio import PATIENCE_S, ROUND, Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@dataclass
class Slow(FittedEngine):
    """An engine that calls ``before_each`` before each sample."""

    inner: FittedEngine
    before_each: Callable[[int], None]

    @property
    def report(self) -> FitReport:
        return self.inner.report

    def render(self, indices: Sequence[int]) -> Iterator[Rendered]:
        for number, index in enumerate(indices, start=1):
            self.before_each(number)
            yield from self.inner.render([index])


class Watched(FittedEngineCache):
    """A cache of fitted engines whose engine reports progress while it fits, and records what it renders."""

    def __init__(self, studio: Studio, before_each: Callable[[int], None], message: str = "") -> None:
        super().__init__(studio.services)
        self._before_each, self._said = before_each, message

    def fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
        if self._said:
            progress(0.95, self._said)
        return Slow(super().fitted(spec, progress), self._before_each)


def begin_round(study: Study) -> int:
    """The shard of a round whose rendering has not begun."""
    study.review()
    study.act(StudyEvent.BUILD_PREVIEW)
    preview_round = study.batches(BatchKind.ROUND)[-1]
    with study.studio.rows() as session:
        return session.scalars(select(ShardRow.id).where(ShardRow.batch_id == preview_round.id)).one()


def seen(study: Study, *words: str) -> None:
    """Wait until the decision task that started the round contains these texts."""

    def message() -> bool:
        return all(word in study.shown() for word in words)

    wait_until(message, PATIENCE_S, f"{words} on the decision task", every=0.02)


def test_last_message_of_a_fit_is_not_shown_during_rendering(
    studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.02)
    shard_id = begin_round(study)

    def look(number: int) -> None:
        rendered = number - 1
        seen(study, f"{rendered} of {ROUND} synthesized, running", f"synthesizing image {number} of {ROUND}")
        assert "step 20 of 20" not in study.shown()
        assert f"width:{rendered / ROUND:.1%}" in study.shown()

    render_shard(studio.services, Watched(studio, look, "teaching the model: step 20 of 20"), shard_id)
    studio.settle()
    assert "synthesizing image" not in study.page(-2)
    assert len(study.round_tasks()) == ROUND


def test_round_of_one_shard_shows_its_time_left(studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "PROGRESS_SECONDS", 0.02)
    shard_id = begin_round(study)

    def look(number: int) -> None:
        if number == 1:
            seen(study, f"synthesizing image 1 of {ROUND}</p>")
        else:
            seen(study, f"synthesizing image {number} of {ROUND}, about ", " s left")

    render_shard(studio.services, Watched(studio, look), shard_id)
    studio.settle()
    assert str(study.batches(BatchKind.ROUND)[-1].state) == "done"


def test_seconds_of_a_shard_leave_the_fit_out(studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds of a shard are used to estimate the remaining time, which contains no fit."""
    shard_id = begin_round(study)
    clock = [0.0]
    clock_of_rendering = SimpleNamespace(monotonic=lambda: time.monotonic() + clock[0])
    monkeypatch.setattr(shard_rendering, "time", clock_of_rendering)

    class Teaching(Watched):
        def fitted(self, spec: Spec, progress: Progress) -> FittedEngine:
            clock[0] += 3600
            return super().fitted(spec, progress)

    render_shard(studio.services, Teaching(studio, lambda _number: None), shard_id)
    with studio.rows() as session:
        seconds = session.get_one(ShardRow, shard_id).seconds
    assert seconds is not None
    assert seconds < 3600
    studio.settle()


def test_a_fast_engine_writes_nothing_for_its_images(studio: Studio, study: Study) -> None:
    shard_id = begin_round(study)

    def look(_number: int) -> None:
        with studio.rows() as session:
            assert session.get_one(ShardRow, shard_id).rendered_count == 0

    render_shard(studio.services, Watched(studio, look), shard_id)
    studio.settle()
    assert study.row().state == "reviewing"


def test_a_shard_that_is_cancelled_ends_before_its_next_image(studio: Studio, study: Study) -> None:
    shard_id = begin_round(study)
    begun: list[int] = []

    def cancel(number: int) -> None:
        begun.append(number)
        study.act(StudyEvent.CANCEL)
        renewing = f"lease-shard-{shard_id}"
        wait_until(
            lambda: all(thread.name != renewing for thread in threading.enumerate()),
            PATIENCE_S,
            "The loss of the lease",
            every=0.02,
        )

    render_shard(studio.services, Watched(studio, cancel), shard_id)
    assert begun == [1]
    assert study.samples_of(study.batches(BatchKind.ROUND)[-1]) == []
    studio.settle()
