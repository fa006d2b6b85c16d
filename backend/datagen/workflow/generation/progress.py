"""Progress of a shard. Its worker keeps it in memory, and a separate thread writes it to the database at intervals.

The thread writes in time even if an engine takes minutes between two reports. A fast engine does not cause a write for
every image.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from datagen.domain.wording import span
from datagen.store import leases
from datagen.store.periodic_thread import run_periodically
from datagen.store.tables.batches import BatchRow, ShardRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import spec_versions
from datagen.workflow.leased_work import LeaseLost
from datagen.workflow.services import Services

log = structlog.get_logger()

#: Seconds between two writes of the progress to the database. Each write is published to Label Studio.
PROGRESS_SECONDS = 5.0


class _Progress(NamedTuple):
    """Progress of a shard at one moment."""

    status_text: str = ""
    #: progress of the fit, 0 to 1
    fit_progress: float = 0.0
    #: rendered samples of the shard
    rendered_count: int = 0


class ProgressReporter:
    """Records the progress of a shard; raises ``LeaseLost`` once this worker does not own the shard any more."""

    def __init__(self, services: Services, shard: ShardRow, batch: BatchRow, lost: threading.Event) -> None:
        self._services, self._shard, self._batch, self._lost = services, shard, batch, lost
        self._current = self._written = _Progress()
        self._rendering_since = 0.0

    def fitting(self, done: float, step: str) -> None:
        """Record the progress of the fit: ``done`` from 0 to 1, and ``step``, the sentence of what the engine does.

        Raises:
            LeaseLost: rendering is to stop.
        """
        self._record(_Progress(f"{step} ({done:.0%})"[:200], fit_progress=done))

    def rendering(self, rendered_count: int) -> None:
        """Record that ``rendered_count`` samples of the shard are rendered and that the next one was begun.

        If the batch has only this shard, the status text includes the remaining time. The remaining time of any other
        batch is computed for the decision page.

        Raises:
            LeaseLost: rendering is to stop.
        """
        number = self._shard.start - self._batch.first + rendered_count + 1
        status_text = f"synthesizing image {number:,} of {self._batch.count:,}"
        if rendered_count == 0:
            self._rendering_since = time.monotonic()
        elif (size := self._shard.stop - self._shard.start) == self._batch.count:
            elapsed = timedelta(seconds=time.monotonic() - self._rendering_since)
            status_text += f", about {span(elapsed / rendered_count * (size - rendered_count))} left"
        self._record(_Progress(status_text, rendered_count=rendered_count))

    def write(self) -> None:
        """Write the current progress, unless the last write was of the same progress."""
        current = self._current
        if current == self._written:
            return
        with self._services.unit() as unit:
            batch = spec_versions.lock_batch(unit, self._batch.id)
            shard = leases.get_if_owned(unit.session, ShardRow, self._shard.id, self._shard.token)
            if shard is None:
                self._lost.set()
                return
            shard.rendered_count = current.rendered_count
            batch.status_text, batch.fit_progress = current.status_text, current.fit_progress
            decision_points.republish_decisions(unit, batch)
        self._written = current

    def _record(self, current: _Progress) -> None:
        if self._lost.is_set():
            raise LeaseLost
        self._current = current


@contextmanager
def reporting_progress(
    services: Services, shard: ShardRow, batch: BatchRow, lost: threading.Event
) -> Iterator[ProgressReporter]:
    """Write progress every ``PROGRESS_SECONDS`` until the block ends; set ``lost`` once the lease is lost."""
    reporter = ProgressReporter(services, shard, batch, lost)

    def write_progress() -> None:
        try:
            reporter.write()
        except SQLAlchemyError as fault:  # the next write may succeed
            log.warning("progress.not_written", shard=shard.id, reason=type(fault).__name__)

    with run_periodically(write_progress, PROGRESS_SECONDS, f"progress-{shard.id}"):
        yield reporter
