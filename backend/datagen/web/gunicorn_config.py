"""gunicorn's settings, but for the address: see ``datagen web``.

The application's modules are loaded here, in gunicorn's first process, so that a worker is there within a moment when
SIGHUP asks for a new one: that is how changed settings are taken up without refusing a request.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

import datagen.web.app  # noqa: F401 - loaded, not used
from datagen.entrypoints.installation import join_web
from datagen.errors import DatagenError
from datagen.operations.parent_watch import when_cut
from datagen.settings import Settings
from datagen.store.database import explain
from datagen.web.health import READINESS
from datagen.web.worker import BufferingWorker

#: One process: its rate limits are kept in memory.
workers = 1
worker_class = BufferingWorker
#: Every address of a picture holds its key, so no access is logged.
accesslog = None
loglevel = "warning"
#: A worker on its way out finishes what it has within this, seconds.
graceful_timeout = 10
control_socket_disable = True


def when_ready(arbiter: Any) -> None:
    """Called once, in gunicorn's first process: a reload to settings that are refused keeps the worker that serves."""
    reload = arbiter.handle_hup

    def reload_if_usable() -> None:
        if (why := _refused_settings()) is None:
            reload()
        else:
            arbiter.log.error("the changed settings are not taken up: %s", why)

    arbiter.handle_hup = reload_if_usable


def post_fork(_arbiter: Any, worker: Any) -> None:
    """Called in each new worker: it watches over gunicorn's first process, which forks and so must have no threads."""

    def stop() -> None:
        if os.getppid() == worker.ppid:
            os.kill(worker.ppid, signal.SIGTERM)  # ends this worker too, once it has answered what it began

    when_cut(stop)


def post_worker_init(worker: Any) -> None:
    """Called in each new worker, when it has its application."""
    worker.wsgi.extensions[READINESS].start()


def _refused_settings() -> str | None:
    """Why the settings as they stand now would be refused; None where they would not.

    An error that left this function would end gunicorn: its signals are handled in its main loop.
    """
    try:
        join_web(Settings())
    except (ValidationError, DatagenError) as refused:  # neither repeats what it refuses
        return str(refused)
    except OSError as fault:
        return f"{fault.filename or 'a file'} cannot be read ({fault.strerror or type(fault).__name__})"
    except SQLAlchemyError as fault:
        return explain(fault)
    except ValueError as fault:  # its text may hold a part of a secret
        return f"a setting, or a file in the secrets folder, holds what cannot be read ({type(fault).__name__})"
    return None
