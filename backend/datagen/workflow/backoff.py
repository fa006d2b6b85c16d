"""What becomes of work that failed: tried again after a growing, jittered wait, or given up.

The wait is a time in a row, so that it outlives the process. That is why it is not ``stamina``'s, which serves calls
inside one process: it sleeps between tries, and has no public function for how long.

Work that waits for an outage (see ``outages``) is tried again without end: nothing is wrong with it. Rounds and runs
alone end after hours (``rendering``), because people wait for those.
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

#: The wait doubles with each try from the first of these to the second, seconds; up to half of it is taken off at
#: random, so that rows that failed together do not come back together.
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0
#: What was worked out is tried to be written for so long while the database is unavailable, seconds.
PERSIST_SECONDS = 120.0
#: An export waits so long for each picture of an image store that is unavailable, seconds.
EXPORT_PATIENCE_SECONDS = 600.0
#: Making proposals takes no longer, seconds.
PROPOSALS_SECONDS = 900.0


def try_again(services: Services, row: R, fault: Exception, *, most_attempts: int, **about: object) -> None:
    """Postpone a claimed row, or give it up after so many failures; nothing where the lease was lost meanwhile.

    ``about`` is what the log line says of it beside its number.
    """
    outage, sentence = outage_of(fault), shown(fault)
    said = log.bind(**{row.__tablename__: row.id}, **about, attempt=row.attempts, reason=sentence)

    def write() -> None:
        with services.unit() as unit:
            held = leases.get_if_owned(unit.session, type(row), row.id, row.token)
            if held is None:
                said.info("work.lease_lost")
            elif outage is not None:
                said.warning("work.postponed", waits_for=outage.part)
                leases.wait(held, sentence, now() + timedelta(seconds=wait_after(held.waits + 1)))
            elif leases.failures(held) >= most_attempts:
                said.warning("work.given_up")
                leases.give_up(held, sentence)
            else:
                said.warning("work.postponed")
                leases.postpone(held, sentence, now() + timedelta(seconds=wait_after(leases.failures(held))))

    persist(write)
    if isinstance(fault, LabelStudioError):
        persist(lambda: count(services.database, "label_studio_errors"))


def persist(write: Callable[[], T]) -> T:
    """Run a transaction, and again while the database is unavailable, for ``PERSIST_SECONDS``.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: it was unavailable to the end; the row's lease ends then, which frees the work.
    """
    for attempt in stamina.retry_context(
        on=is_unavailable, attempts=None, timeout=PERSIST_SECONDS, wait_initial=0.5, wait_max=5.0
    ):
        with attempt:
            return write()
    raise AssertionError("unreachable: the last attempt returns or raises")


def patiently(read: Callable[[str], bytes]) -> Callable[[str], bytes]:
    """``read`` for work that nobody can postpone (an export): it waits for an image store that is unavailable."""

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
    """Where an outage ends the reading of a study's inputs, postpone it, and show what it waits for."""
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
    """Where an outage ends the making of proposals, have it done later: proposals are made once per reading."""

    def due(seconds: float | None) -> None:
        with services.unit() as unit:
            study = unit.session.get(StudyRow, study_id, with_for_update=LOCK, populate_existing=True)
            if study is not None:
                study.proposals_due_at = None if seconds is None else now() + timedelta(seconds=seconds)

    with services.database.read() as session:
        study = session.get(StudyRow, study_id)
        postponed = study is not None and study.proposals_due_at is not None
    if postponed:
        due(PROPOSALS_SECONDS)  # the sweeper starts no second one meanwhile
    try:
        yield
    except Exception as fault:
        outage = outage_of(fault)
        if outage is None:
            if postponed:
                persist(lambda: due(None))
            raise
        log.warning("proposals.postponed", study=study_id, waits_for=outage.part, reason=outage.reason)
        persist(lambda: due(wait_after(6)))
        return
    if postponed:
        persist(lambda: due(None))


def wait_after(attempt: int) -> float:
    """Seconds until the try after this one, which is the first where ``attempt`` is 1."""
    full = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 16))  # no attempt makes a number without end
    return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
