"""gunicorn's settings, except the address: see ``datagen web``.

The application's modules are imported here, in gunicorn's master process, so that a new worker starts at once after
SIGHUP. In this way changed settings are applied without refusing a request.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

import datagen.web.app  # noqa: F401 - preloaded, not used
from datagen.entrypoints.installation import join_web
from datagen.errors import DatagenError
from datagen.operations.parent_watch import on_parent_exit
from datagen.settings import Settings
from datagen.store.database import explain
from datagen.web.health import READINESS
from datagen.web.worker import BufferingWorker

#: One process: its rate limits are kept in memory.
workers = 1
worker_class = BufferingWorker
#: Image URLs contain their keys, so accesses are not logged.
accesslog = None
loglevel = "warning"
#: Time in which a stopping worker finishes its requests, seconds.
graceful_timeout = 10
control_socket_disable = True


def when_ready(arbiter: Any) -> None:
    """Called once, in gunicorn's master: a reload with refused settings leaves the current worker running."""
    reload = arbiter.handle_hup

    def reload_if_usable() -> None:
        if (why := _refused_settings()) is None:
            reload()
        else:
            arbiter.log.error("the changed settings are not taken up: %s", why)

    arbiter.handle_hup = reload_if_usable


def post_fork(_arbiter: Any, worker: Any) -> None:
    """Called in each new worker: watch the starter for gunicorn's master, which forks and must have no threads."""

    def stop() -> None:
        if os.getppid() == worker.ppid:
            os.kill(worker.ppid, signal.SIGTERM)  # also stops this worker, after its pending requests

    on_parent_exit(stop)


def post_worker_init(worker: Any) -> None:
    """Called in each new worker after it has loaded the application."""
    worker.wsgi.extensions[READINESS].start()


def _refused_settings() -> str | None:
    """The reason why the current settings would be refused; None if they are accepted.

    An exception that left this function would end gunicorn, because signals are handled in its main loop.
    """
    try:
        join_web(Settings())
    except (ValidationError, DatagenError) as refused:  # neither message repeats the refused value
        return str(refused)
    except OSError as fault:
        return f"{fault.filename or 'a file'} cannot be read ({fault.strerror or type(fault).__name__})"
    except SQLAlchemyError as fault:
        return explain(fault)
    except ValueError as fault:  # its text may contain part of a secret
        return f"a setting, or a file in the secrets folder, holds what cannot be read ({type(fault).__name__})"
    return None
