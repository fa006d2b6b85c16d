"""An HTTP gateway between two parts of an installation. A test can make it lose, repeat or delay requests.

Without interference, requests and responses are forwarded unchanged. A ``Meddler`` decides on each request. It gets the
request and a function that forwards it. It may call this function never, once or twice, now or later, and may return
any response."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import urlsplit

import httpx

#: Headers that belong to one connection, so that they are not forwarded.
_OWN = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "host", "content-length", "expect"}
)


@dataclass(frozen=True, slots=True)
class Passing:
    """A request to be forwarded: method, path with query, headers and body."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. Its body is that which was sent, compressed or not."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


Forward = Callable[[], Answer]
#: Function that decides on one request and returns the response. If it returns None, the connection is closed without a
#: response.
Meddler = Callable[[Passing, Forward], Answer | None]


def untouched(_passing: Passing, forward: Forward) -> Answer | None:
    """Forward the request and return the server's response; this is the meddler that does not interfere."""
    return forward()


class Gateway:
    """Listens on a free port of the loopback address, and forwards to ``upstream``.

    ``meddler`` may be replaced at any time.
    """

    def __init__(self, upstream: str, *, port: int = 0, meddler: Meddler = untouched) -> None:
        self.upstream = upstream
        self.meddler = meddler
        self._http = httpx.Client(base_url=upstream, timeout=120, limits=httpx.Limits(max_keepalive_connections=0))
        gateway = self

        class Handler(_Handler):
            served_by = gateway

        self._server = _Server(("127.0.0.1", port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The address that the gateway listens on."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def forward(self, passing: Passing) -> Answer:
        """Forward a request and return the response. The response is a 502 if the server does not answer."""
        headers = [pair for pair in passing.headers if pair[0].lower() not in _OWN]
        try:
            with self._http.stream(passing.method, passing.path, headers=headers, content=passing.body) as answer:
                body = b"".join(answer.iter_raw())
        except httpx.TransportError as error:
            return Answer(502, body=f"{urlsplit(self.upstream).netloc}: {type(error).__name__}".encode())
        own = _OWN - {"content-length"} if passing.method == "HEAD" else _OWN  # of a body that is not sent
        kept = tuple(pair for pair in answer.headers.multi_items() if pair[0].lower() not in own)
        return Answer(answer.status_code, kept, body)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore the error: the client was killed during the request, which the tests do on purpose."""


class _Handler(BaseHTTPRequestHandler):
    served_by: Gateway
    protocol_version = "HTTP/1.1"  # so that "Expect: 100-continue", which S3's clients send, is answered

    def _pass(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        passing = Passing(self.command, self.path, tuple(self.headers.items()), self.rfile.read(length))
        answer = self.served_by.meddler(passing, lambda: self.served_by.forward(passing))
        self.close_connection = True
        if answer is None:
            return
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = _pass  # noqa: N815 -- the base class's names
