"""Whether a fault may pass by itself: the one place that decides between waiting and giving up.

An outage is that something outside (image store, database, Redis, Label Studio) does not answer, refuses for now or is
full. Nothing is wrong with the work then: it is postponed, and what it waits for is shown. Every other fault is one of
the work itself, and is tried again a few times at most.
"""

from __future__ import annotations

from typing import NamedTuple

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from datagen.errors import DatagenError, LabelStudioUnavailable, StoreUnavailable
from datagen.store.database import explain, is_unavailable


class Outage(NamedTuple):
    """What is waited for, and why; its text is for pages, and names no address, path or statement."""

    part: str
    reason: str

    def __str__(self) -> str:
        return f"waits for {self.part}: {self.reason}"


def outage_of(fault: BaseException) -> Outage | None:
    """The outage behind a fault; None where waiting would not help."""
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
    """A fault as a sentence for rows and pages; what libraries say may hold addresses, paths and statements."""
    if isinstance(fault, DatagenError):
        return str(fault)
    if isinstance(fault, SQLAlchemyError):
        return explain(fault)
    return f"{type(fault).__name__}; the workers' log says more"
