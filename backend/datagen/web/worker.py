"""gunicorn worker that runs the buffering server.

gunicorn holds the listening socket. It starts a new worker if the old one has exited, and after SIGHUP. It kills a
worker that hangs. See docs/decisions/0010-requests-are-buffered.md.
"""

from __future__ import annotations

import os
import resource
import socket
from typing import Any

from gunicorn.workers.base import Worker

from datagen.web.buffering import BufferingServer

#: Longest wait for socket events, seconds. The worker sends gunicorn a heartbeat after each wait.
TURN_SECONDS = 0.5
#: Time for which a stopping worker keeps connections without a request open, seconds. A request may be under way on
#: them.
LINGER_SECONDS = 1.0
#: Number of files that the worker must be able to open: its connections, and a file for each large request and
#: response.
OPEN_FILES = 1024


class BufferingWorker(Worker):  # type: ignore[misc]
    """Worker process that receives whole requests before a thread processes them."""

    _server: BufferingServer | None = None

    def run(self) -> None:
        """Serve until gunicorn stops the worker; then answer the requests that have begun."""
        _allow_files(OPEN_FILES)
        [listener] = self.sockets
        listening: socket.socket = listener.sock
        self._server = server = BufferingServer(self.wsgi, listening, self.wsgi.config["MAX_CONTENT_LENGTH"])
        while self.alive and self.ppid == os.getppid():
            self.notify()
            server.turn(TURN_SECONDS)
        server.drain(self.cfg.graceful_timeout, LINGER_SECONDS, self.notify)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Handle SIGTERM: shut down gracefully, without waiting for the current turn to end."""
        super().handle_exit(sig, frame)
        if self._server is not None:
            self._server.pull_trigger()


def _allow_files(number: int) -> None:
    """Raise this process's soft limit on open files, as far as the hard limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        allowed = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
