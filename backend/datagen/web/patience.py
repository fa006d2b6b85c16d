"""gunicorn's threaded worker with an end to its patience: a request that drips gives its thread back.

gunicorn waits five seconds for a request's first byte, and then for ever for the second: a handful of connections that
send a byte now and then would hold every thread. Here a connection that was not served within its time is cut. Whoever
opens connections without end is the business of the reverse proxy or firewall in front.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

#: From a connection to the answer's last byte: Label Studio gives a webhook a second, and a picture of 10 MiB passes at
#: 0.4 MiB/s.
REQUEST_SECONDS = 30.0


class PatientWorker(ThreadWorker):  # type: ignore[misc]
    """Cuts connections whose request takes too long."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._served: dict[Any, float] = {}
        self._seconds = REQUEST_SECONDS

    def handle(self, conn: Any) -> Any:
        """Serve one request, in a thread."""
        self._served[conn] = time.monotonic() + self._seconds
        try:
            return super().handle(conn)
        finally:
            self._served.pop(conn, None)

    def murder_keepalived(self, force: bool = False) -> None:
        """Called about once a second: also cuts what is served for too long."""
        super().murder_keepalived(force)
        now = time.monotonic()
        for conn, until in self._served.copy().items():
            if now > until:
                with contextlib.suppress(OSError):  # it ended by itself in this moment
                    conn.sock.shutdown(socket.SHUT_RDWR)  # its thread's read or write returns at once
