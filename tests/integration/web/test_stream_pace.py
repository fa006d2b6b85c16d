"""A client that reads a streamed response without pause, and too slowly: it is cut, and its thread is free."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from datagen.web import buffering
from datagen.web.responses import STREAM
from stage.processes import wait_until

pytestmark = pytest.mark.integration
WITHIN_S = 60.0


class EndlessApplication:
    """Streams zeros until the connection is closed; ``closed`` is set then."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        environ[STREAM]()
        start_response("200 OK", [("Content-Type", "application/zip")])
        return self._zeros()

    def _zeros(self) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(2**16)
        finally:
            self.closed.set()


@pytest.fixture
def application() -> EndlessApplication:
    return EndlessApplication()


@pytest.fixture
def port(application: EndlessApplication, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(buffering, "PACE_SECONDS", 2.0)
    monkeypatch.setattr(buffering, "LEAST_STREAMED", 64 * 2**20)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        server = buffering.BufferingServer(application, listening, 1000)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                server.turn(0.05)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listening.getsockname()[1]
        ended.set()
        thread.join()
        server.drain(0.0, 0.0, lambda: None)


def test_a_client_that_reads_too_slowly_is_cut_and_its_thread_is_free(
    application: EndlessApplication, port: int
) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as line:
        line.sendall(b"GET /studio/downloads/1/1 HTTP/1.1\r\nHost: x\r\n\r\n")

        def read_a_little() -> bool:
            with suppress(ConnectionError):  # it may be cut already
                line.recv(1024)
            return application.closed.is_set()

        wait_until(read_a_little, WITHIN_S, "The end of the response", every=0.02)


def test_a_client_that_reads_fast_is_not_cut(application: EndlessApplication, port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S) as line:
        line.sendall(b"GET /studio/downloads/1/1 HTTP/1.1\r\nHost: x\r\n\r\n")
        for _ in range(2**30 // 2**20):  # more than three periods, each of which needs 64 MiB
            assert line.recv(2**20, socket.MSG_WAITALL)
        assert not application.closed.is_set()
