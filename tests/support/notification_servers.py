"""A local receiver of webhooks, and a local mail server, for tests of notifications."""

from __future__ import annotations

import base64
import email
import email.policy
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast


@dataclass(frozen=True)
class Hook:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class HookServer:
    """The receiver. ``answers`` are the statuses of its next answers; afterwards it answers with 204."""

    url: str
    hooks: list[Hook] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    #: called for each request before it is answered
    before_answer: Callable[[], object] = lambda: None


@contextmanager
def hook_server() -> Iterator[HookServer]:
    """Context manager with a receiver on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.hooks.append(Hook(self.path, {name.lower(): value for name, value in self.headers.items()}, body))
            received.before_answer()
            status = received.answers.pop(0) if received.answers else 204
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.send_header("Location", f"{received.url}/elsewhere")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Write no log line."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = HookServer(url=f"http://127.0.0.1:{server.server_port}")
    with _serving(server):
        yield received


@dataclass
class SmtpServer:
    """The mail server."""

    port: int
    mails: list[EmailMessage] = field(default_factory=list)
    #: recipients of the mails
    recipients: list[str] = field(default_factory=list)
    #: user and password of each log-in
    log_ins: list[tuple[str, str]] = field(default_factory=list)
    #: answers to the next recipients; afterwards they are accepted
    answers: list[str] = field(default_factory=list)


@contextmanager
def smtp_server() -> Iterator[SmtpServer]:
    """Context manager with a mail server on a free port of this machine. It speaks as much SMTP as a client needs."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.say("220 mail.test ESMTP")
            while line := self.rfile.readline().decode().strip():
                if not self.answer(line):
                    return

        def answer(self, line: str) -> bool:
            verb = line.split(" ", 1)[0].upper()
            if verb == "EHLO":
                self.say("250-mail.test", "250-AUTH PLAIN", "250 8BITMIME")
            elif verb == "AUTH":
                _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
                received.log_ins.append((user, password))
                self.say("235 welcome")
            elif verb == "RCPT":
                reply = received.answers.pop(0) if received.answers else "250 ok"
                received.recipients.append(line.partition(":")[2].strip("<>"))
                self.say(reply)
            elif verb == "DATA":
                self.say("354 go on")
                lines: list[bytes] = []
                while (part := self.rfile.readline()) != b".\r\n":
                    lines.append(part.removeprefix(b".") if part.startswith(b"..") else part)
                mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
                received.mails.append(cast(EmailMessage, mail))
                self.say("250 queued")
            else:
                self.say("221 bye" if verb == "QUIT" else "250 ok")
            return verb != "QUIT"

        def say(self, *lines: str) -> None:
            self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    received = SmtpServer(port=server.server_address[1])
    with _serving(server):
        yield received


@contextmanager
def _serving(server: socketserver.TCPServer) -> Iterator[None]:
    server.daemon_threads = True  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
