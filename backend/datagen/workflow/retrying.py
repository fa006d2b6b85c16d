"""What becomes of a leased row whose work failed: tried again after a growing, jittered wait, or given up.

The wait is a time in the row, so that it outlives the process. That is why it is not ``stamina``'s, which serves calls
inside one process: it sleeps between tries, and has no public function for how long.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import DatagenError, LabelStudioError, LabelStudioUnavailable
from datagen.store import leases
from datagen.store.counters import count
from datagen.store.database import explain
from datagen.store.rows import InboxRow, OutboxRow, now
from datagen.workflow.workshop import Workshop

R = TypeVar("R", InboxRow, OutboxRow)

log = structlog.get_logger()

#: The wait doubles with each try from the first of these to the second, seconds; up to half of it is taken off at
#: random, so that rows that failed together do not come back together.
FIRST_WAIT, LONGEST_WAIT = 2.0, 60.0


def try_again(workshop: Workshop, row: R, fault: Exception, *, most_attempts: int, **about: object) -> None:
    """Postpone a claimed row, or give it up after so many attempts; nothing where the lease was lost meanwhile.

    A Label Studio that is away is waited for without end: nothing is wrong with the row. ``about`` is what the log line
    says of it beside its number.
    """
    sentence = reason_of(fault)
    said = log.bind(**{row.__tablename__: row.id}, **about, attempt=row.attempts, reason=sentence)
    if isinstance(fault, LabelStudioError):
        count(workshop.database, "label_studio_errors")
    with workshop.unit() as unit:
        held = leases.held(unit.session, type(row), row.id, row.token)
        if held is None:
            said.info("work.lease_lost")
        elif row.attempts >= most_attempts and not isinstance(fault, LabelStudioUnavailable):
            said.warning("work.given_up")
            leases.give_up(held, sentence)
        else:
            said.warning("work.postponed")
            leases.postpone(held, sentence, now() + timedelta(seconds=wait_after(row.attempts)))


def reason_of(fault: Exception) -> str:
    """Why work failed, for people: a sentence of ours, never the database's own words, which hold its statements."""
    if isinstance(fault, DatagenError):
        return str(fault)
    if isinstance(fault, SQLAlchemyError):
        return explain(fault)
    return f"{type(fault).__name__}: {fault}"


def wait_after(attempt: int) -> float:
    """Seconds until the try after this one, which is the first where ``attempt`` is 1."""
    full = min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** min(attempt - 1, 16))  # no attempt makes a number without end
    return full * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, keeps no secret
