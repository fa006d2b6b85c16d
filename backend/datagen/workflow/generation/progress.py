"""How far a shard is: kept in memory by its worker, and written for people to see from time to time, beside the work.

Beside it, because an engine may take minutes between two words: what it does now is then said all the same, and an
engine that is fast writes no row for every image.
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
from datagen.store.tables import BatchRow, ShardRow
from datagen.workflow import decision_points
from datagen.workflow.decisions import spec_versions
from datagen.workflow.services import Services

log = structlog.get_logger()

#: What is being done is told to Label Studio at most so often, seconds.
TELL_SECONDS = 5.0


class LeaseLost(Exception):
    """Somebody else holds the shard now, or nobody wants it any more."""


class _Moment(NamedTuple):
    """What is done for a shard at one moment."""

    status_text: str = ""
    #: of a fit
    fit_progress: float = 0.0
    #: of its samples
    rendered_count: int = 0


class ProgressReporter:
    """Takes down what is done for a shard, and ends that once the shard is no longer ours."""

    def __init__(self, services: Services, shard: ShardRow, batch: BatchRow, lost: threading.Event) -> None:
        self._services, self._shard, self._batch, self._lost = services, shard, batch, lost
        self._now = self._told = _Moment()
        self._began_rendering = 0.0

    def fitting(self, done: float, what: str) -> None:
        """Take down how far the fit is.

        Raises:
            LeaseLost: it is to end.
        """
        self._take(_Moment(f"{what} ({done:.0%})"[:200], fit_progress=done))

    def rendering(self, rendered_count: int) -> None:
        """Take down that the next sample is on its way after ``rendered_count`` of the shard's.

        Of a batch that is one shard, this says how long it has left; of others the decision page does.

        Raises:
            LeaseLost: it is to end.
        """
        number = self._shard.start - self._batch.first + rendered_count + 1
        words = f"synthesizing image {number:,} of {self._batch.count:,}"
        if rendered_count == 0:
            self._began_rendering = time.monotonic()
        elif (size := self._shard.stop - self._shard.start) == self._batch.count:
            spent = timedelta(seconds=time.monotonic() - self._began_rendering)
            words += f", about {span(spent / rendered_count * (size - rendered_count))} left"
        self._take(_Moment(words, rendered_count=rendered_count))

    def tell(self) -> None:
        """Write what is done now, if something else was written last."""
        current = self._now
        if current == self._told:
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
        self._told = current

    def _take(self, current: _Moment) -> None:
        if self._lost.is_set():
            raise LeaseLost
        self._now = current


@contextmanager
def reporting_progress(
    services: Services, shard: ShardRow, batch: BatchRow, lost: threading.Event
) -> Iterator[ProgressReporter]:
    """A teller that tells while the block lasts; ``lost`` is set once the lease is."""
    reporter = ProgressReporter(services, shard, batch, lost)

    def tell() -> None:
        try:
            reporter.tell()
        except SQLAlchemyError as fault:  # the next time may do
            log.warning("progress.not_told", shard=shard.id, reason=type(fault).__name__)

    with run_periodically(tell, TELL_SECONDS, f"telling-{shard.id}"):
        yield reporter
