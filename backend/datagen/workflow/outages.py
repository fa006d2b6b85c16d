"""Classification of faults of leased work: an outage, or a fault of the work itself.

In an outage, an external service (image store, database, Redis, Label Studio) does not respond, refuses temporarily or
is full. The work is valid, so it is postponed, and people see which service it waits for. Every other fault is a fault
of the work itself. Such work is retried a few times at most.
"""

from __future__ import annotations

from typing import NamedTuple

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import DatagenError, LabelStudioUnavailable, StoreUnavailable
from datagen.store.database import explain, is_unavailable


class Outage(NamedTuple):
    """The unavailable service (``part``) and the reason. Both are shown on pages: no address, path or statement."""

    part: str
    reason: str

    def __str__(self) -> str:
        return f"waits for {self.part}: {self.reason}"


def outage_of(fault: BaseException) -> Outage | None:
    """Return the outage that caused a fault; None if waiting would not help."""
    match fault:
        case StoreUnavailable():
            return Outage("the image store", fault.reason)
        case LabelStudioUnavailable():
            return Outage("Label Studio", "it cannot be reached, or does not answer in time")
        case RedisError():
            return Outage("Redis", "it does not answer")
        case _ if is_unavailable(fault):
            return Outage("the database", "it does not answer")
    return None


def shown(fault: BaseException) -> str:
    """Return a fault as a sentence for rows and pages.

    The messages of libraries are left out: they may contain addresses, paths and statements.
    """
    if isinstance(fault, DatagenError):
        return str(fault)
    if isinstance(fault, SQLAlchemyError):
        return explain(fault)
    return f"{type(fault).__name__}; the workers' log says more"
