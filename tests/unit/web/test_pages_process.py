"""The process of the pages: where its socket is, and what is shown while it does not run."""

from __future__ import annotations

import socket
import tempfile
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import UnixStreamServer

import pytest
from flask import Flask

from datagen.web.pages_process import PagesProcess, forwarding_blueprint

#: Longest wait for what should happen at once, seconds.
WITHIN_S = 5.0


def test_a_socket_whose_path_would_be_too_long_is_put_into_a_short_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_folder = tmp_path / ("long" * 25)
    long_folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long_folder))
    monkeypatch.setattr(PagesProcess, "_run", lambda _process: None)
    process = PagesProcess()
    process.start()
    assert process.socket is not None
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(process.socket))  # raises OSError for a path of more than 107 bytes
    assert process.socket.parent.stat().st_mode & 0o077 == 0
    assert list(long_folder.iterdir()) == []


@pytest.mark.parametrize("path", ["/studio/downloads/1/2", "/api/v1/downloads/1/2"])
def test_the_file_of_a_download_is_passed_on_while_it_is_sent(tmp_path: Path, path: str) -> None:
    process, may_end = PagesProcess(), threading.Event()
    process.socket = tmp_path / "socket"
    app = Flask(__name__)
    app.register_blueprint(forwarding_blueprint(process))

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(2**16)
            connection.sendall(b"HTTP/1.1 206 Partial Content\r\nContent-Length: 10\r\n\r\nfirst")
            may_end.wait(WITHIN_S)
            connection.sendall(b"other")

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(process.socket))
        listener.listen()
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        answer = app.test_client().get(path, buffered=False)
        pieces = iter(answer.response)
        assert (answer.status_code, next(pieces)) == (206, b"first")
        may_end.set()
        assert b"".join(pieces) == b"other"
        answer.close()
        thread.join(WITHIN_S)


def test_a_page_that_is_not_served_yet_is_loaded_again_by_itself_and_a_form_is_not() -> None:
    app = Flask(__name__)
    app.register_blueprint(forwarding_blueprint(PagesProcess()))
    page = app.test_client().get("/studio/")
    assert (page.status_code, page.headers["Refresh"]) == (503, "3")
    assert "The pages are starting." in page.text
    form = app.test_client().post("/studio/log-in", data={"email": "ann@example.com"})
    assert form.status_code == 503
    assert "Refresh" not in form.headers
    assert "may not have arrived" in form.text


def test_an_address_with_bytes_beyond_ascii_is_forwarded(tmp_path: Path) -> None:
    asked: list[str] = []

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing."""

    process = PagesProcess()
    process.socket = tmp_path / "socket"
    app = Flask(__name__)
    app.register_blueprint(forwarding_blueprint(process))
    with UnixStreamServer(str(process.socket), Pages) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        answer = app.test_client().get("/studio/x", environ_overrides={"REQUEST_URI": "/studio/\xe9%20x?a=\xff&b=%ff"})
        thread.join(10)
    assert answer.status_code == 404
    assert asked == ["/studio/%E9%20x?a=%FF&b=%ff"]


def test_a_form_that_is_too_long_is_not_to_be_sent_again() -> None:
    app = Flask(__name__)
    app.register_blueprint(forwarding_blueprint(PagesProcess()))
    form = app.test_client().post("/studio/log-in", data=b"x" * 20_000)
    assert (form.status_code, form.headers.get("Retry-After")) == (413, None)
    starting = app.test_client().post("/studio/log-in", data=b"x")
    assert (starting.status_code, starting.headers["Retry-After"]) == (503, "3")
