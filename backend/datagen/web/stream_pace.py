"""The pace at which a client reads a streamed response: how much in the time in which bytes waited for it."""

from __future__ import annotations


class StreamPace:
    """Decides whether a client reads too slowly. Time in which no byte waits for the client does not count.

    Args:
        seconds: time in which bytes waited, after which the pace is judged; then the next period begins.
        least_bytes: number of bytes that a client has to read in it.
        now: the current time, seconds.
    """

    def __init__(self, *, seconds: float, least_bytes: int, now: float) -> None:
        self._seconds, self._least_bytes = seconds, least_bytes
        self._looked_at = now
        self._waited, self._read = 0.0, 0

    def add(self, read: int) -> None:
        """Count bytes that the client has read."""
        self._read += read

    def is_too_slow(self, now: float, *, is_waiting: bool) -> bool:
        """Return whether a period ended in which the client read too little; call it about once a second.

        Args:
            now: the current time, seconds.
            is_waiting: whether bytes wait for the client at this moment.
        """
        passed, self._looked_at = now - self._looked_at, now
        if is_waiting:
            self._waited += passed
        if self._waited < self._seconds:
            return False
        is_slow = self._read < self._least_bytes
        self._waited, self._read = 0.0, 0
        return is_slow
