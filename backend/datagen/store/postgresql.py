"""A connection to PostgreSQL with a time-out for servers that hang.

The server's own ``statement_timeout`` ends slow statements. A server that is frozen or disconnected silently enforces
no time-out, and psycopg would wait for it as long as the operating system keeps the connection open.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg


class BoundedConnection(psycopg.Connection[Any]):
    """psycopg's connection, closed if the server does not answer within ``answer_seconds`` (None: no limit)."""

    answer_seconds: float | None = None

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for the answer to a statement; psycopg calls this.

        Raises:
            psycopg.OperationalError: the answer did not arrive in time.
        """
        if self.answer_seconds is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_with_deadline(gen, time.monotonic() + self.answer_seconds), *args, **kwargs)
        except _TooLate:
            self.close()  # a late answer would be taken for the next statement's
            raise psycopg.OperationalError(
                f"the server did not answer within {self.answer_seconds:g} s; the connection was closed"
            ) from None


class _TooLate(Exception):
    """The answer did not arrive in time."""


def _with_deadline(generator: Any, deadline: float) -> Generator[Any, Any, Any]:
    """Run a generator of psycopg until ``deadline`` (``time.monotonic``) and return its result.

    psycopg resumes the generator several times a second, even if no data arrives, so the deadline is noticed.

    Raises:
        _TooLate: the deadline passed without an answer.
    """
    try:
        events = next(generator)
        while True:
            ready = yield events
            if not ready and time.monotonic() > deadline:
                raise _TooLate
            events = generator.send(ready)
    except StopIteration as end:
        return end.value
