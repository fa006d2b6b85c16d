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
from datagen.web.pages_process import PAGES
from datagen.web.worker import BufferingWorker

#: One process, because the rate limits are counted in its memory.
workers = 1
worker_class = BufferingWorker
#: Accesses are not logged, because image URLs contain the keys of the links.
accesslog = None
loglevel = "warning"
#: Time in which a stopping worker finishes its requests, seconds.
graceful_timeout = 10
control_socket_disable = True


def when_ready(arbiter: Any) -> None:
    """Change gunicorn's reload so that it keeps the current worker if the changed settings would be refused.

    gunicorn calls this once, in its master process.
    """
    reload = arbiter.handle_hup

    def reload_if_usable() -> None:
        if (why := _refused_settings()) is None:
            reload()
        else:
            arbiter.log.error("the changed settings are not taken up: %s", why)

    arbiter.handle_hup = reload_if_usable


def post_fork(_arbiter: Any, worker: Any) -> None:
    """Stop gunicorn's master when the process that started it ends.

    gunicorn calls this in each new worker. The worker watches for the master, because watching takes a thread, and the
    master must have none as it forks.
    """

    def stop() -> None:
        if os.getppid() == worker.ppid:
            os.kill(worker.ppid, signal.SIGTERM)  # also stops this worker, after its pending requests

    on_parent_exit(stop)


def post_worker_init(worker: Any) -> None:
    """Start the thread that checks readiness, and the process of the pages.

    gunicorn calls this in each new worker after loading the application.
    """
    worker.wsgi.extensions[READINESS].start()
    worker.wsgi.extensions[PAGES].start()


def _refused_settings() -> str | None:
    """Return the reason why the current settings would be refused; None if they would be accepted.

    No exception may leave this function: gunicorn handles signals in its main loop, so the exception would end it.
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
