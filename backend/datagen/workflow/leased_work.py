"""Leased work: the one way in which a job works on a row that one process at a time may own.

``leased_work`` claims the row, renews its lease while the work goes on, and ends it: the row is done, postponed, or
given up. Each end is one transaction, which changes nothing if the lease was lost meanwhile. A ``LeasedJob`` defines
what differs between the kinds of work: the work, what is written with its end, and what is shown to people.
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
from datagen.workflow.backoff import persist, wait_after
from datagen.workflow.outages import Outage, outage_of, shown
from datagen.workflow.services import Services, UnitOfWork

log = structlog.get_logger()

#: Writes rows in the transaction that ends the work on a row, which is locked.
Write = Callable[[UnitOfWork, R], None]


class LeaseLost(Exception):
    """Another process owns the row now, or its work was cancelled; raised by work that looks for it."""


class LeasedJob(ABC, Generic[R]):
    """The work on one leased row, and what it means for other rows that the row is postponed or given up."""

    table: type[R]
    #: the row is given up after this many attempts that failed, or killed their worker; outages do not count
    max_failures: ClassVar[int]
    #: faults that another attempt would meet again: the row is given up at once
    permanent_faults: ClassVar[tuple[type[Exception], ...]] = ()
    #: the row is given up once it has waited for outages for this long; None: it waits without limit
    patience: timedelta | None = None

    @abstractmethod
    def work(self, row: R, lost: threading.Event) -> Write[R] | None:
        """Do the work of a claimed row; ``lost`` is set once the lease is lost.

        Return what is to be written in the transaction that marks the row as done, or None if the work has marked it as
        done in a transaction of its own. What is written may postpone the row again.

        Raises:
            LeaseLost: the work was stopped because the lease was lost.
        """

    def claim(self, unit: UnitOfWork, row_id: int, seconds: float) -> R | None:
        """Claim the row for ``seconds``; return None if it is not to be worked on."""
        return leases.claim(unit.session, self.table, row_id, seconds)

    def lock(self, unit: UnitOfWork, row: R, *, gives_up: bool) -> None:
        """Take the locks that precede the row's own in the order of locks (see ``UnitOfWork``)."""

    def waits(self, unit: UnitOfWork, row: R, outage: Outage) -> None:
        """Write what follows from the row's wait for an outage; it is due again at ``row.due_at``."""

    def failed(self, unit: UnitOfWork, row: R) -> None:
        """Write what follows from a failed attempt on the row, which is repeated."""

    def gave_up(self, unit: UnitOfWork, row: R) -> None:
        """Write what follows from giving the row up, for the reason ``row.error``."""

    def after_failures(self, row: R, fault: Exception) -> str:  # noqa: ARG002
        """Return the reason for giving the row up after ``max_failures``, the last of which is ``fault``."""
        return shown(fault)

    def after_deaths(self, row: R) -> str:  # noqa: ARG002
        """Return the reason for giving up a row whose attempts killed their workers."""
        return f"its worker was killed {self.max_failures} times; see the end of the workers' log"

    def after_patience(self, row: R, waited_for: str) -> str:  # noqa: ARG002
        """Return the reason for giving the row up after ``patience``; ``waited_for`` says how long, and for what."""
        return waited_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease(Generic[R]):
    """A claimed row, its job, and the ends of the work on it. Each end is nothing if the lease was lost."""

    services: Services
    job: LeasedJob[R]
    #: as it was claimed
    row: R

    @property
    def log(self) -> Any:
        """The log, with the row's table and id."""
        return log.bind(**{self.row.__tablename__: self.row.id}, attempt=self.row.attempts)

    def finish(self, write: Write[R]) -> None:
        """Mark the row as done, and write the result."""

        def end(unit: UnitOfWork, row: R) -> None:
            leases.finish(row)
            write(unit, row)

        self._end(end)

    def end_after(self, fault: Exception) -> None:
        """Postpone the row after a fault, or give it up."""
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
        """Postpone the row because of an outage; give it up if the job's patience is over."""
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

    def retry(self, fault: Exception) -> None:
        """Postpone the row after a failure, longer each time."""
        # a device fault concerns this process alone: another worker may claim the row at once
        seconds = 0.0 if isinstance(fault, DeviceFault) else wait_after(leases.failures(self.row))

        def end(unit: UnitOfWork, row: R) -> None:
            leases.postpone(row, shown(fault), now() + timedelta(seconds=seconds))
            self.job.failed(unit, row)
            self.log.warning("work.postponed", reason=shown(fault))

        self._end(end)

    def give_up(self, reason: str) -> None:
        """Mark the row as failed, for a reason that people see."""

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

    A fault ends the attempt: the row is postponed or given up. An outage, and a fault whose sentence the row now holds,
    end here. The others are raised, so that the workers' log has them, and so that a worker whose device failed ends.

    Raises:
        Exception: the work failed for a reason that no one of Datagen's sentences names, or its device failed.
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
