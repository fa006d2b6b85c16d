"""Requests as no HTTP client would send them, for the tests of the web process."""

from __future__ import annotations

import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP response: status, headers with lower-case names, body."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


def ask(port: int, request: bytes, *, timeout: float = 20) -> list[Answer]:
    """Send these bytes on a connection of their own; every answer until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as line:
        with contextlib.suppress(ConnectionError):  # it may refuse before all is sent
            line.sendall(request)
        return list(answers(read_all(line)))


def read_all(line: socket.socket) -> bytes:
    """Everything until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := line.recv(65536):
            parts.append(part)
    return b"".join(parts)


def answers(data: bytes) -> list[Answer]:
    """The answers in these bytes; each has a length."""
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
    """A POST that closes its connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: str, *headers: str) -> bytes:
    """A GET that closes its connection."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", "Connection: close", *headers, "", ""]).encode("latin-1")
