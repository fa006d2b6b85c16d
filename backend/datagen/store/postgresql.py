"""A connection to PostgreSQL that does not wait without end for a server that hangs.

The server's own ``statement_timeout`` ends what is slow. A server that is frozen, or was cut off without a word, ends
nothing, and psycopg would wait for it for as long as the system keeps the connection open.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg


class BoundedConnection(psycopg.Connection[Any]):
    """psycopg's connection; one that got no answer within ``answer_seconds`` (None: any time) is closed."""

    answer_seconds: float | None = None

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for the answer to a statement; psycopg calls this.

        Raises:
            psycopg.OperationalError: it did not come in time.
        """
        if self.answer_seconds is None:
            return super().wait(gen, *args, **kwargs)
        try:
            return super().wait(_until(gen, time.monotonic() + self.answer_seconds), *args, **kwargs)
        except _TooLate:
            self.close()  # what it was asked may still come to be answered
            raise psycopg.OperationalError(
                f"the server did not answer within {self.answer_seconds:g} s; the connection was closed"
            ) from None


class _TooLate(Exception):
    """The answer did not come in time."""


def _until(waiting: Any, deadline: float) -> Generator[Any, Any, Any]:
    """Pass a generator of psycopg's through; it is resumed several times a second, whether something came or not."""
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise _TooLate
            wanted = waiting.send(ready)
    except StopIteration as end:
        return end.value
