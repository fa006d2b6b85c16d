"""The process of the studio's pages and of the API, and the views that forward requests to it.

Pages take processor time, and threads of one Python process take turns. With pages in threads of the web process, one
webhook in a hundred waited half a second while 20 people browsed; see docs/decisions/0016. The process listens on a
Unix socket in a folder that only this user can open, so that nothing else can send it requests.
"""

from __future__ import annotations

import atexit
import shutil
import socket
import string
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse
from pathlib import Path
from urllib.parse import quote

import structlog
from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue

from datagen.operations.parent_watch import ParentWatch
from datagen.web.api.limits import LARGEST_UPLOAD
from datagen.web.api.limits import ROOT as API_ROOT
from datagen.web.api.problems import Problem
from datagen.web.pages.forms import ROOT
from datagen.web.responses import STREAM
from datagen.web.view_pools import STREAMING, pool_of

log = structlog.get_logger()

#: Key of the ``PagesProcess`` in ``app.extensions``. The worker process starts it.
PAGES = "datagen_pages"
#: Header with the address of the client, for rate limits. A client's own header of this name is replaced.
CLIENT_HEADER = "X-Datagen-Client"
#: Largest request for a page, bytes: a form with a password, a token or a comment.
LARGEST_REQUEST = 16 * 1024
_TOO_LONG = "This form has more text than fits. Go back, shorten it, and send it again."
#: Time limit of a page, seconds; a log-in may wait for Label Studio for ten. That of a request to the API, which may
#: add inputs, is longer.
PAGE_SECONDS, API_SECONDS = 30.0, 150.0
#: Methods that change nothing.
_READING = ("GET", "HEAD", "OPTIONS")
#: Methods that are forwarded to the API, which refuses those that it does not have.
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
#: First and longest pause before the process is started again after its end, seconds; each is twice the last one.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0
#: Seconds that the process has to run so that its next pause is ``FIRST_PAUSE`` again.
GOOD_START_SECONDS = 30.0
#: Name of the socket, its longest path in bytes (unix(7), less the final zero), and a folder whose paths are shorter.
_SOCKET, _LONGEST_SOCKET, _SHORT_FOLDER = "socket", 107, "/tmp"  # noqa: S108 - the folder in it is this user's alone
#: Headers that belong to one connection, and are not forwarded; the server in front sets its own.
_OF_CONNECTION = frozenset({"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"})
#: Headers of a request that pages use.
_FORWARDED = (
    "Cookie",
    "Content-Type",
    "User-Agent",
    "Accept",
    "Accept-Encoding",
    "Authorization",
    "Idempotency-Key",
    "If-None-Match",
    "Range",
    "If-Range",
)
#: Bytes of a streamed response that are passed on at a time.
_PIECE = 2**16
#: Whether the request may have changed something → the sentence of the page if there is no response in time.
_TOO_SLOW = {
    False: "This page took too long. Try again in a moment.",
    True: "This takes longer than the time limit of a page. It may still be carried out: go back, load the page again, "
    "and check before you repeat it.",
}


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

    def __init__(self, path: Path, seconds: float) -> None:
        super().__init__("pages", timeout=seconds)
        self._path, self._seconds = path, seconds

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self._seconds)
        self.sock.connect(str(self._path))


def forwarding_blueprint(process: PagesProcess) -> Blueprint:
    """Return the blueprint whose views forward all requests for pages and to the API, and return the responses."""
    blueprint = Blueprint("pages", __name__)

    @blueprint.route(ROOT, methods=["GET", "POST"], strict_slashes=False)
    @blueprint.route(f"{ROOT}/<path:_path>", methods=["GET", "POST"])
    def forward(_path: str = "") -> ResponseReturnValue:
        request.max_content_length = LARGEST_REQUEST
        if (request.content_length or 0) > LARGEST_REQUEST:
            return _page(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, _TOO_LONG)
        return _forwarded(process, PAGE_SECONDS, _page)

    @blueprint.route(f"{API_ROOT}/<path:_path>", methods=_METHODS, provide_automatic_options=False)
    def forward_to_api(_path: str) -> ResponseReturnValue:
        request.max_content_length = LARGEST_UPLOAD
        return _forwarded(process, API_SECONDS, _problem)

    return blueprint


def _forwarded(
    process: PagesProcess, seconds: float, refusal: Callable[[HTTPStatus, str], ResponseReturnValue]
) -> ResponseReturnValue:
    """Forward the current request and return the response; ``refusal`` makes that of a process that gives none."""
    body = request.get_data(cache=False)
    if process.socket is None:
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, _STARTING)
    connection = _SocketConnection(process.socket, seconds)
    headers = {name: value for name in _FORWARDED if (value := request.headers.get(name))}
    headers[CLIENT_HEADER] = request.remote_addr or ""
    try:
        connection.request(request.method, _target(), body=body or None, headers=headers)
        answer = connection.getresponse()
        streamed = pool_of(request.path) in STREAMING
        data = b"" if streamed else answer.read()
    except TimeoutError:
        connection.close()
        return refusal(HTTPStatus.GATEWAY_TIMEOUT, _TOO_SLOW[request.method not in _READING])
    except (OSError, HTTPException) as fault:
        connection.close()
        log.info("pages.unavailable", reason=type(fault).__name__)
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, _STARTING)
    if streamed:
        return _streamed(connection, answer)
    connection.close()
    response = Response(data, answer.status)
    _copy_headers(answer, response)
    return response


def _streamed(connection: HTTPConnection, answer: HTTPResponse) -> Response:
    """Return a response whose content is passed on in pieces; the connection is closed with it."""
    begin_stream = request.environ.get(STREAM)
    if begin_stream is not None:
        begin_stream()
    response = Response(_pieces(answer), answer.status)
    _copy_headers(answer, response)
    if (length := answer.getheader("Content-Length")) is not None:
        response.headers["Content-Length"] = length
    for close in (answer.close, connection.close):
        response.call_on_close(close)
    return response


def _pieces(answer: HTTPResponse) -> Iterator[bytes]:
    """Yield the content of a response as it comes.

    Raises:
        OSError: it ends too early; the server in front then closes the connection to the client.
    """
    try:
        while piece := answer.read1(_PIECE):
            yield piece
    except HTTPException as fault:
        raise ConnectionError("the pages' process ended before its response did") from fault


def _copy_headers(answer: HTTPResponse, response: Response) -> None:
    response.headers.clear()
    for name, value in answer.getheaders():
        if name.lower() not in _OF_CONNECTION:
            response.headers.add(name, value)


def _target() -> str:
    """Return the path and the query of the current request, as they were sent; bytes beyond ASCII are encoded."""
    sent = request.environ.get("REQUEST_URI")
    path = quote(sent, string.printable, "latin-1") if sent else quote(request.full_path.rstrip("?"), string.printable)
    return path if path.startswith("/") else "/" + path.partition("://")[2].partition("/")[2]


_STARTING = "The pages are starting. Try again in a few seconds."
#: Seconds after which a request may be repeated that met no process, or one that was too slow.
_RETRY_SECONDS = 3


def _retry_after(status: HTTPStatus) -> dict[str, str]:
    """Return the header that says when to repeat a request; none if a repetition would be refused, too."""
    return {"Retry-After": str(_RETRY_SECONDS)} if status >= HTTPStatus.INTERNAL_SERVER_ERROR else {}


def _page(status: HTTPStatus, sentence: str) -> ResponseReturnValue:
    """Return a page with the reason, without any file that the pages' process would serve."""
    headers = _retry_after(status)
    if status is HTTPStatus.SERVICE_UNAVAILABLE and request.method == "GET":
        sentence, headers["Refresh"] = "The pages are starting. This one is loaded again in a few seconds.", "3"
    elif status is HTTPStatus.SERVICE_UNAVAILABLE:  # a form is not sent again by itself
        sentence = "The pages are starting, and your form may not have arrived. Go back, and look in a few seconds."
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><meta name="color-scheme" content="light dark">'
        f"<title>{status.phrase} · Datagen</title><main><h1>{status.phrase}</h1><p>{sentence}</p></main>"
    )
    return page, status, headers


def _problem(status: HTTPStatus, sentence: str) -> ResponseReturnValue:
    return Problem(status, sentence, "unavailable", headers=_retry_after(status)).response
