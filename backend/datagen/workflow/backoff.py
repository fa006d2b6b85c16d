"""Retry of failed work: an exponential backoff with jitter, until the work is given up.

The due time is stored in a row, so that it survives the process. ``stamina`` serves calls inside one process: it sleeps
between attempts and has no public function for the length of the wait. It therefore cannot compute the due time.

Work interrupted by an outage (see ``outages``) is retried without limit, because the work itself is valid. Only rounds
and runs are given up after hours (``generation.shard_rendering``), because people wait for their results.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import stamina
import structlog

from datagen.errors import LabelStudioError, StoreUnavailable
from datagen.store import leases
from datagen.store.counters import count
from datagen.store.database import is_unavailable
from datagen.store.tables import InboxRow, OutboxRow, StudyRow, now
from datagen.workflow import decision_points
from datagen.workflow.outages import Outage, outage_of, shown
from datagen.workflow.services import LOCK, Services

R = TypeVar("R", InboxRow, OutboxRow)
T = TypeVar("T")

log = structlog.get_logger()

#: The first and the longest wait, seconds. The wait doubles with each attempt; a random share of up to half is
#: subtracted, so that rows that failed together are not retried together.
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0
#: Seconds for which writing a result is retried while the database is unavailable.
PERSIST_SECONDS = 120.0
#: Seconds for which an export retries reading each picture while the image store is unavailable.
EXPORT_PATIENCE_SECONDS = 600.0
#: Upper bound of the time that making proposals takes, seconds.
PROPOSALS_SECONDS = 900.0


def try_again(services: Services, row: R, fault: Exception, *, most_attempts: int, **about: object) -> None:
    """Postpone a claimed row, or give it up after ``most_attempts`` failures.

    Do nothing if the lease was lost meanwhile. ``about`` holds further fields of the log line.
    """
    outage, sentence = outage_of(fault), shown(fault)
    row_log = log.bind(**{row.__tablename__: row.id}, **about, attempt=row.attempts, reason=sentence)

    def write() -> None:
        with services.unit() as unit:
            held = leases.get_if_owned(unit.session, type(row), row.id, row.token)
            if held is None:
                row_log.info("work.lease_lost")
            elif outage is not None:
                row_log.warning("work.postponed", waits_for=outage.part)
                leases.wait(held, sentence, now() + timedelta(seconds=wait_after(held.waits + 1)))
            elif leases.failures(held) >= most_attempts:
                row_log.warning("work.given_up")
                leases.give_up(held, sentence)
            else:
                row_log.warning("work.postponed")
                leases.postpone(held, sentence, now() + timedelta(seconds=wait_after(leases.failures(held))))

    persist(write)
    if isinstance(fault, LabelStudioError):
        persist(lambda: count(services.database, "label_studio_errors"))


def persist(write: Callable[[], T]) -> T:
    """Run a transaction; retry it for ``PERSIST_SECONDS`` while the database is unavailable.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database was unavailable until the end. The row's lease expires then, so
            that another worker can claim the work.
    """
    for attempt in stamina.retry_context(
        on=is_unavailable, attempts=None, timeout=PERSIST_SECONDS, wait_initial=0.5, wait_max=5.0
    ):
        with attempt:
            return write()
    raise AssertionError("unreachable: the last attempt returns or raises")


def patiently(read: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """Wrap ``read`` to retry while the image store is unavailable; for work that cannot be postponed (an export)."""

    def waiting_read(digest: str) -> bytes:
        for attempt in stamina.retry_context(
            on=StoreUnavailable, attempts=None, timeout=EXPORT_PATIENCE_SECONDS, wait_initial=1.0, wait_max=30.0
        ):
            with attempt:
                return read(digest)
        raise AssertionError("unreachable: the last attempt returns or raises")

    return waiting_read


@contextmanager
def reading_inputs(services: Services, study_id: int) -> Iterator[None]:
    """Context manager that postpones the reading of a study's inputs after an outage, and shows the outage."""
    try:
        yield
    except Exception as fault:
        if (outage := outage_of(fault)) is None:
            raise
        log.warning("inputs.postponed", study=study_id, waits_for=outage.part, reason=outage.reason)
        persist(lambda: _postpone_inputs(services, study_id, outage))


def _postpone_inputs(services: Services, study_id: int, outage: Outage) -> None:
    with services.unit() as unit:
        study = unit.session.get(StudyRow, study_id, with_for_update=LOCK, populate_existing=True)
        if study is None:
            return
        study.inputs_waits += 1
        study.inputs_due_at = now() + timedelta(seconds=wait_after(study.inputs_waits))
        if study.waits_for != str(outage):
            study.waits_for = str(outage)[:300]
            decision_points.republish_open_decision(unit, study_id)


@contextmanager
def making_proposals(services: Services, study_id: int) -> Iterator[None]:
    """Context manager that postpones the making of proposals after an outage.

    Proposals are made once per reading of the inputs, so no later reading would make up for them.
    """

    def set_due(seconds: float | None) -> None:
        with services.unit() as unit:
            study = unit.session.get(StudyRow, study_id, with_for_update=LOCK, populate_existing=True)
            if study is not None:
                study.proposals_due_at = None if seconds is None else now() + timedelta(seconds=seconds)

    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        postponed = study is not None and study.proposals_due_at is not None
    if postponed:
        set_due(PROPOSALS_SECONDS)  # keeps the recovery from starting a second one meanwhile
    try:
        yield
    except Exception as fault:
        outage = outage_of(fault)
        if outage is None:
            if postponed:
                persist(lambda: set_due(None))
            raise
        log.warning("proposals.postponed", study=study_id, waits_for=outage.part, reason=outage.reason)
        persist(lambda: set_due(wait_after(6)))
        return
    if postponed:
        persist(lambda: set_due(None))


def wait_after(attempt: int) -> float:
    """Return the seconds to wait after attempt number ``attempt``, counted from 1."""
    full = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 16))  # the bound avoids an overflow
    return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, not for security
