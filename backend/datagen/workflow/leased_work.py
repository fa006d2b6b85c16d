"""Leased work: how a job works on a row that only one process at a time may own.

``leased_work`` claims the row, renews its lease during the work, and then ends the work: the row is done, postponed, or
given up. Each end is one transaction. It changes nothing if the lease was lost during the work.

A ``LeasedJob`` defines what differs between the kinds of work: the work itself, what is written at its end, and what is
shown to people.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Generic

import structlog

from datagen.errors import DatagenError, DeviceFault, LabelStudioError
from datagen.store import leases
from datagen.store.counters import count
from datagen.store.leases import R
from datagen.store.tables.base import now
from datagen.workflow.backoff import LONGEST_WAIT, persist, wait_after
from datagen.workflow.outages import Outage, outage_of, shown
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

#: A function that writes the result of the work on a row. It gets the transaction that ends the work, and the locked
#: row.
Write = Callable[[UnitOfWork, R], None]


class LeaseLost(Exception):
    """Another process owns the row now, or its work was cancelled. Work that checks its lease raises this to stop."""


class LeasedJob(ABC, Generic[R]):
    """A kind of work on a leased row. Its methods do the work, and write what its end means for other rows."""

    table: type[R]
    #: number of failed attempts after which the row is given up. Attempts that killed their worker count, outages do
    #: not
    max_failures: ClassVar[int]
    #: longest wait between two attempts after failures, seconds
    longest_wait: ClassVar[float] = LONGEST_WAIT
    #: faults that any further attempt would meet, too. After such a fault the row is given up at once
    permanent_faults: ClassVar[tuple[type[Exception], ...]] = ()
    #: longest wait for outages, after which the row is given up; None: it waits without limit
    patience: timedelta | None = None

    @abstractmethod
    def work(self, row: R, lost: threading.Event) -> Write[R] | None:
        """Do the work of a claimed row. The event ``lost`` is set once the lease is lost.

        Return a function that writes the result. It is called in the transaction that marks the row as done, and it may
        make the row due again. Return None if the work has marked the row as done in a transaction of its own.

        Raises:
            LeaseLost: the work was stopped because the lease was lost.
            NotYet: nothing was tried.
        """

    def claim(self, unit: UnitOfWork, row_id: int, seconds: float) -> R | None:
        """Claim the row for ``seconds`` and return it; return None if it cannot be claimed or needs no work."""
        return leases.claim(unit.session, self.table, row_id, seconds)

    def lock(self, unit: UnitOfWork, row: R, *, gives_up: bool) -> None:
        """Take the locks that come before the row's own lock in the order of locks (see ``UnitOfWork``).

        ``gives_up`` is true if the row is about to be given up, which may need more locks.
        """

    def put_off(self, unit: UnitOfWork, row: R) -> None:
        """Write what else changes because nothing was tried. The row is due again at once: enqueue its job."""

    def waits(self, unit: UnitOfWork, row: R, outage: Outage) -> None:
        """Write what else changes because the row waits for an outage. The next attempt is at ``row.due_at``."""

    def failed(self, unit: UnitOfWork, row: R) -> None:
        """Write what else changes because an attempt on the row failed. The attempt is repeated."""

    def gave_up(self, unit: UnitOfWork, row: R) -> None:
        """Write what else changes because the row was given up. ``row.error`` is the reason."""

    def after_failures(self, row: R, fault: Exception) -> str:  # noqa: ARG002
        """Return the reason for giving the row up after ``max_failures`` failures. ``fault`` is the last one."""
        return shown(fault)

    def after_deaths(self, row: R) -> str:  # noqa: ARG002
        """Return the reason for giving up a row whose attempts killed their workers."""
        return f"its worker was killed {self.max_failures} times; see the end of the workers' log"

    def after_patience(self, row: R, waited_for: str) -> str:  # noqa: ARG002
        """Return the reason for giving the row up after ``patience``.

        ``waited_for`` is a clause that says how long the row waited, and for what.
        """
        return waited_for


class NotYet(Exception):
    """Nothing was tried, because others have their turn. The row is due again at once, after more urgent work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(Generic[R]):
    """A claimed row and its job. The methods end the work on the row; they do nothing if the lease was lost."""

    services: Services
    job: LeasedJob[R]
    #: the row as it was when it was claimed
    row: R

    @property
    def log(self) -> Any:
        """The log, bound to the row's table and id and to the number of the attempt."""
        return log.bind(**{self.row.__tablename__: self.row.id}, attempt=self.row.attempts)

    def finish(self, write: Write[R]) -> None:
        """Mark the row as done, and write the result."""

        def end(unit: UnitOfWork, row: R) -> None:
            leases.finish(row)
            write(unit, row)

        self._end(end)

    def end_after(self, fault: Exception) -> None:
        """Postpone the row after a fault, or give it up; the kind of the fault decides."""
        outage = outage_of(fault)
        if outage is not None:
            self.wait(outage, fault)
        elif isinstance(fault, self.job.permanent_faults):
            self.give_up(shown(fault))
        elif leases.failures(self.row) >= self.job.max_failures:
            self.give_up(self.job.after_failures(self.row, fault))
        else:
            self.retry(fault)

    def wait(self, outage: Outage, fault: Exception) -> None:
        """Postpone the row because of an outage. Give it up if it has waited for longer than the job's ``patience``."""
        waited = now() - (self.row.waiting_since or now())
        if self.job.patience is not None and waited >= self.job.patience:
            waited_for = f"waited {waited.total_seconds() / 3600:.0f} hours for {outage.part}: {outage.reason}"
            self.give_up(self.job.after_patience(self.row, waited_for))
            return

        def end(unit: UnitOfWork, row: R) -> None:
            leases.wait(row, shown(fault), now() + timedelta(seconds=wait_after(row.waits + 1)))
            self.job.waits(unit, row, outage)
            self.log.warning("work.postponed", waits_for=outage.part, reason=outage.reason)

        self._end(end)

    def put_off(self) -> None:
        """Release the row because nothing was tried."""

        def end(unit: UnitOfWork, row: R) -> None:
            leases.put_off(row, row.error, now())
            self.job.put_off(unit, row)
            self.log.info("work.put_off")

        self._end(end)

    def retry(self, fault: Exception) -> None:
        """Postpone the row after a failure. Each wait is longer than the last; after a device fault there is none."""
        # a device fault concerns this process alone: another worker may claim the row at once
        wait = wait_after(leases.failures(self.row), self.job.longest_wait)
        seconds = 0.0 if isinstance(fault, DeviceFault) else wait

        def end(unit: UnitOfWork, row: R) -> None:
            leases.postpone(row, shown(fault), now() + timedelta(seconds=seconds))
            self.job.failed(unit, row)
            self.log.warning("work.postponed", reason=shown(fault))

        self._end(end)

    def give_up(self, reason: str) -> None:
        """Mark the row as failed. People see the reason."""

        def end(unit: UnitOfWork, row: R) -> None:
            leases.give_up(row, reason)
            self.job.gave_up(unit, row)
            self.log.warning("work.given_up", reason=reason)

        self._end(end, gives_up=True)

    def _end(self, end: Write[R], *, gives_up: bool = False) -> None:
        with self.services.unit() as unit:
            self.job.lock(unit, self.row, gives_up=gives_up)
            row = leases.get_if_owned(unit.session, self.job.table, self.row.id, self.row.token)
            if row is None:
                self.log.info("work.lease_lost")
                return
            end(unit, row)


def leased_work(services: Services, job: LeasedJob[R], row_id: int) -> None:
    """Do the work of a row, if the row is due and no other process owns it.

    A fault ends the attempt: the row is postponed or given up. An outage and an error of Datagen are not raised,
    because the row holds the reason as a sentence. Any other error is raised, so that it appears in the workers' log. A
    device fault is raised, too, so that its worker ends.

    Raises:
        DeviceFault: the worker's GPU failed.
        Exception: the work failed by an error that is neither an outage nor a ``DatagenError``.
    """
    with services.unit() as unit:
        row = job.claim(unit, row_id, services.lease_seconds)
    if row is None:
        return
    lease = Lease(services=services, job=job, row=row)
    if leases.failures(row) > job.max_failures:  # a worker that is killed writes no end
        persist(lambda: lease.give_up(job.after_deaths(row)))
        return
    try:
        with leases.keep_renewed(services.database, row, services.lease_seconds) as lost:
            write = job.work(row, lost)
    except LeaseLost:
        lease.log.info("work.lease_lost")
        return
    except NotYet:
        persist(lease.put_off)
        return
    except Exception as fault:
        error = fault
        persist(lambda: lease.end_after(error))
        if isinstance(fault, LabelStudioError):
            persist(lambda: count(services.database, "label_studio_errors"))
        if (isinstance(fault, DatagenError) and not isinstance(fault, DeviceFault)) or outage_of(fault) is not None:
            return
        raise
    if write is not None:
        persist(lambda: lease.finish(write))
