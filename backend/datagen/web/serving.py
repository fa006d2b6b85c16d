"""gunicorn's settings, but for the address: see ``datagen web``.

The application's modules are loaded here, in gunicorn's first process, so that a worker is there within a moment when
SIGHUP asks for a new one: that is how changed settings are taken up without refusing a request.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import datagen.web.app  # noqa: F401 - loaded, not used
from datagen.jobs.lifeline import when_cut
from datagen.web.patience import PatientWorker

#: One process: its rate limits are kept in memory. Eight webhooks at a time are more than Label Studio sends.
workers, threads = 1, 8
worker_class = PatientWorker
#: Every address of a picture holds its key, so no access is logged.
accesslog = None
loglevel = "warning"
#: No more than a browser sends; gunicorn's own bounds of a line and a header's size are kept.
limit_request_fields = 50
#: A worker on its way out finishes what it has within this, seconds.
graceful_timeout = 10
control_socket_disable = True


def post_fork(_arbiter: Any, worker: Any) -> None:
    """Called in each new worker: it watches over gunicorn's first process, which forks and so must have no threads."""

    def stop() -> None:
        if os.getppid() == worker.ppid:
            os.kill(worker.ppid, signal.SIGTERM)  # ends this worker too, once it has answered what it began

    when_cut(stop)
