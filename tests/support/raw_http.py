"""HTTP requests that no client library would send, for tests of the web process."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response: its status, headers with lower-case names, and body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, request: bytes, *, timeout: float = 20) -> list[Answer]:
    """Send bytes on a new connection; return all responses until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as line:
        with contextlib.suppress(ConnectionError):  # it may refuse before all is sent
            line.sendall(request)
        return list(answers(read_all(line)))


def read_all(line: socket.socket) -> bytes:
    """Return all bytes until the other side closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


def answers(data: bytes) -> list[Answer]:
    """Return the responses in these bytes. A response with a body must have a Content-Length."""
    answers = []
    while data:
        head, _, data = data.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        answers.append(Answer(int(first.split()[1]), headers, data[:length]))
        data = data[length:]
    return answers


def post(path: str, body: bytes, *headers: str) -> bytes:
    """Return the bytes of a POST request that closes its connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: str, *headers: str) -> bytes:
    """Return the bytes of a GET request that closes its connection."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]).encode("latin-1")
