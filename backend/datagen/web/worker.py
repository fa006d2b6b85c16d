"""gunicorn's worker around the buffering server.

gunicorn keeps what it is good at: it holds the listening socket, starts a new worker when the old one died or SIGHUP
asks for changed settings, and ends a worker that stands still. See docs/decisions/0010-requests-are-buffered.md.
"""

from __future__ import annotations

import os
import resource
import socket
from typing import Any

from gunicorn.workers.base import Worker

from datagen.web.buffering import BufferingServer

#: The longest wait for something to happen; gunicorn hears once a turn that the worker is alive, seconds.
TURN_SECONDS = 0.5
#: An ending worker leaves connections without a request open for this, seconds: a request may be on its way.
LINGER_SECONDS = 1.0
#: Connections, and a file for each large request and answer (see ``buffering``).
OPEN_FILES = 1024


class BufferingWorker(Worker):  # type: ignore[misc]
    """One process that reads whole requests before a thread takes them."""

    _server: BufferingServer | None = None

    def run(self) -> None:
        """Serve until gunicorn asks for an end; then answer what was begun."""
        _allow_files(OPEN_FILES)
        [listener] = self.sockets
        listening: socket.socket = listener.sock
        self._server = server = BufferingServer(self.wsgi, listening, self.wsgi.config["MAX_CONTENT_LENGTH"])
        while self.alive and self.ppid == os.getppid():
            self.notify()
            server.turn(TURN_SECONDS)
        server.drain(self.cfg.graceful_timeout, LINGER_SECONDS, self.notify)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """SIGTERM: end in order, now and not after the turn."""
        super().handle_exit(sig, frame)
        if self._server is not None:
            self._server.pull_trigger()


def _allow_files(number: int) -> None:
    """Raise this process's own bound on open files, as far as the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < number:
        allowed = number if hard == resource.RLIM_INFINITY else min(number, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
