"""The process of the studio's pages, and the views that forward requests to it.

Pages take processor time, and threads of one Python process take turns. With pages in threads of the web process, one
webhook in a hundred waited half a second while 20 people browsed; see docs/decisions/0016. The process listens on a
Unix socket in a folder that only this user can open, so that nothing else can send it requests.
"""

from __future__ import annotations

import atexit
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from datagen.operations.parent_watch import ParentWatch
from datagen.web.pages.forms import ROOT

log = structlog.get_logger()

#: Key of the ``PagesProcess`` in ``app.extensions``. The worker process starts it.
PAGES = "datagen_pages"
#: Header with the address of the client, for rate limits. A client's own header of this name is replaced.
CLIENT_HEADER = "X-Datagen-Client"
#: Largest request, bytes: a form with a password, a token or a comment.
LARGEST_REQUEST = 16 * 1024
_TOO_LONG = (
    "<!doctype html><title>Too much text</title><p>This form has more text than fits. Go back, shorten it, and send it "
    "again."
)
#: Time limit of a page, seconds; a log-in may wait for Label Studio for ten.
PAGE_SECONDS = 30.0
#: First and longest pause before the process is started again after its end, seconds; each is twice the last one.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
#: Seconds that the process has to run so that its next pause is ``FIRST_PAUSE`` again.
GOOD_START_SECONDS = 30.0
#: Name of the socket, its longest path in bytes (unix(7), less the final zero), and a folder whose paths are shorter.
_SOCKET, _LONGEST_SOCKET, _SHORT_FOLDER = "socket", 107, "/tmp"  # noqa: S108 - the folder in it is this user's alone
#: Headers that belong to one connection, and are not forwarded; the server in front sets its own.
_OF_CONNECTION = frozenset({"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"})
#: Headers of a request that pages use.
_FORWARDED = ("Cookie", "Content-Type", "User-Agent", "Accept", "Authorization", "Idempotency-Key")


class PagesProcess:
    """The process that serves the pages; a thread restarts it when it ends."""

    def __init__(self) -> None:
        #: the socket that it listens on; None before ``start``
        self.socket: Path | None = None

    def start(self) -> None:
        """Start the process. It ends with this one."""
        try:
            folder = Path(tempfile.mkdtemp(prefix="datagen-pages-"))
            if len(bytes(folder / _SOCKET)) > _LONGEST_SOCKET:
                folder.rmdir()
                folder = Path(tempfile.mkdtemp(prefix="datagen-pages-", dir=_SHORT_FOLDER))
        except OSError as fault:  # an exception here would end the web process, and webhooks with it
            log.warning("pages.not_started", reason=str(fault))
            return
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        self.socket = folder / _SOCKET
        threading.Thread(target=self._run, name="pages", daemon=True).start()

    def _run(self) -> None:
        watch, pause = ParentWatch(), FIRST_PAUSE
        command = [sys.executable, "-m", "datagen.web.pages.serving", str(self.socket)]
        while True:
            began = time.monotonic()
            try:
                child: subprocess.Popen[bytes] = watch.start(command)
                code: int | str = child.wait()
            except OSError as fault:  # no memory or no process for it now
                code = str(fault)
            if time.monotonic() - began >= GOOD_START_SECONDS:
                pause = FIRST_PAUSE
            log.warning("pages.exited", code=code, restart_in_seconds=pause)
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


class _SocketConnection(HTTPConnection):
    """An HTTP connection to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("pages", timeout=PAGE_SECONDS)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(PAGE_SECONDS)
        self.sock.connect(str(self._path))


def forwarding_blueprint(process: PagesProcess) -> Blueprint:
    """Return the blueprint whose views forward all requests for pages to their process, and return its responses."""
    blueprint = Blueprint("pages", __name__, url_prefix=ROOT)

    @blueprint.route("", methods=["GET", "POST"], strict_slashes=False)
    @blueprint.route("/<path:_path>", methods=["GET", "POST"])
    def forward(_path: str = "") -> ResponseReturnValue:
        request.max_content_length = LARGEST_REQUEST
        if (request.content_length or 0) > LARGEST_REQUEST:
            return _TOO_LONG, HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        body = request.get_data(cache=False)
        if process.socket is None:
            return _starting()
        connection = _SocketConnection(process.socket)
        headers = {name: value for name in _FORWARDED if (value := request.headers.get(name))}
        headers[CLIENT_HEADER] = request.remote_addr or ""
        try:
            connection.request(request.method, _target(), body=body or None, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
        except TimeoutError:
            return "<!doctype html><title>Too slow</title><p>This page took too long. Try again in a moment.", 504
        except (OSError, HTTPException) as fault:
            log.info("pages.unavailable", reason=type(fault).__name__)
            return _starting()
        finally:
            connection.close()
        response = Response(data, answer.status)
        response.headers.clear()
        for name, value in answer.getheaders():
            if name.lower() not in _OF_CONNECTION:
                response.headers.add(name, value)
        return response

    return blueprint


def _target() -> str:
    """Return the path and the query of the current request, as they were sent."""
    path = str(request.environ.get("REQUEST_URI") or request.full_path.rstrip("?"))
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2]


def _starting() -> ResponseReturnValue:
    """Return the response while the process is not running."""
    sentence = "The pages are starting. Load this one again in a few seconds."
    return f"<!doctype html><title>Starting</title><p>{sentence}", 503, {"Retry-After": "3"}
