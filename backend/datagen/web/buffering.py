"""waitress's server as Datagen needs it: a request takes a thread only when all of it has arrived.

The main thread reads requests and writes answers, so a client that sends or reads slowly costs a connection and no
thread. Connections are bounded in time, in number and in what they make the process hold; where a bound is reached, the
connection that has been slow for longest, or holds most, is closed, and never one whose request is being answered.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import ErrorTask, Task, WSGITask

from datagen.web.request_head import LONGEST_HEAD, BoundedParser
from datagen.web.responses import DELAY, QUIET_HEADERS
from datagen.web.view_pools import Busy, ViewPools

log = structlog.get_logger()

#: From a request's first byte to its last; from an answer's first byte to its last (10 MiB pass at 0.2 MiB/s), seconds.
REQUEST_SECONDS, ANSWER_SECONDS = 30.0, 60.0
#: A connection without a request is closed after this, seconds.
IDLE_SECONDS = 10.0
#: Connections at a time; more than all pools may have waiting.
MOST_CONNECTIONS = 480
#: Bytes of requests and answers that all connections together may have buffered (above 1 MiB each is in a file).
MOST_BUFFERED = 256 * 2**20
#: Requests that were no HTTP are logged together, at most this often, seconds.
LOG_EVERY_SECONDS = 10.0
_BUFFER = 2**20


class _Answer(Task):  # type: ignore[misc]
    """What answers of views and the server's own refusals have in common."""

    def build_response_header(self) -> bytes:
        self.channel.since = time.monotonic()
        if self.channel.server.draining:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header


class _View(_Answer, WSGITask):  # type: ignore[misc]
    """A request for the application."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[DELAY] = self._delay
        return environ

    def _delay(self, seconds: float) -> None:
        self.channel.held_until = time.monotonic() + seconds
        self.set_close_on_finish()  # what else was sent on this connection is not looked at


class _Refusal(_Answer, ErrorTask):  # type: ignore[misc]
    """A refusal of the server's own, in the form of the views' refusals."""

    def execute(self) -> None:
        error = self.request.error
        self.channel.server.note_refusal(self.channel.addr[0], error.code)
        body = json.dumps({"error": error.reason.lower()}).encode()
        self.status = f"{error.code} {error.reason}"
        self.response_headers.extend([("Content-Type", "application/json"), *QUIET_HEADERS.items()])
        if error.code == Busy.code:
            self.response_headers.append(("Retry-After", "1"))
        self.set_close_on_finish()
        self.content_length = len(body)
        self.write(body)


class _Channel(HTTPChannel):  # type: ignore[misc]
    """One connection."""

    task_class, error_task_class, parser_class = _View, _Refusal, BoundedParser

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: since when it does what it does now: waits for a request, receives one, sends an answer
        self.since = time.monotonic()
        #: its answer is not sent before
        self.held_until = 0.0
        super().__init__(*args, **kwargs)

    def buffered(self) -> int:
        """Bytes that this process holds for it."""
        receiving = self.request.body_bytes_received if self.request is not None else 0
        return int(receiving + self.total_outbufs_len)

    def is_slow(self, now: float) -> bool:
        """Whether its time is over."""
        if self.requests:
            return False  # a view works on it, within time limits of its own
        if self.total_outbufs_len:
            return now > max(self.since, self.held_until) + ANSWER_SECONDS
        return now > self.since + (IDLE_SECONDS if self.request is None else REQUEST_SECONDS)

    def received(self, data: bytes) -> bool:
        """Take bytes that arrived, of one request at a time."""
        if self.request is None:
            self.since = time.monotonic()
        before = self.buffered() // _BUFFER
        taken: bool = super().received(data)
        with self.requests_lock:
            if len(self.requests) > 1:  # nobody who waits for an answer sends the next request
                for request in self.requests[1:]:
                    request.close()
                del self.requests[1:]
                self.requests[0].headers["CONNECTION"] = "close"
        if self.buffered() // _BUFFER > before:
            self.server.make_room()
        return taken

    def service(self) -> None:
        """Answer the first request, in a thread."""
        super().service()
        self.since = time.monotonic()
        if self.total_outbufs_len > _BUFFER:
            self.server.trigger.pull_trigger(self.server.make_room)

    def writable(self) -> bool:
        """Whether something is to be sent or closed now."""
        return bool(super().writable()) and (self.will_close or time.monotonic() >= self.held_until)

    def _flush_some(self, do_close: bool = True) -> bool:
        return time.monotonic() >= self.held_until and bool(super()._flush_some(do_close=do_close))


class BufferingServer(TcpWSGIServer):  # type: ignore[misc]
    """Serves on a socket that is listening already; its owner calls ``turn`` again and again."""

    channel_class = _Channel

    def __init__(self, application: Any, listening: Any, max_body: int, pools: ViewPools | None = None) -> None:
        adjustments = Adjustments(
            ident=None,  # no version, no name
            max_request_header_size=LONGEST_HEAD,
            max_request_body_size=max_body + 1,  # waitress refuses what is as long as that
            connection_limit=2**31,  # waitress would stop accepting; see make_room
            cleanup_interval=1,
            asyncore_use_poll=True,
            outbuf_high_watermark=2**62,  # a thread never waits for a client; see MOST_BUFFERED
            outbuf_overflow=_BUFFER,
            inbuf_overflow=_BUFFER,
            log_socket_errors=False,
            recv_bytes=2**16,
        )
        self.draining = False
        self._sockets: dict[int, Any] = {}
        self._refused, self._refusal_logged = 0, 0.0
        super().__init__(
            application,
            map=self._sockets,
            _start=False,
            _sock=listening,
            dispatcher=pools or ViewPools(),
            adj=adjustments,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        self.accepting = True

    def turn(self, seconds: float) -> None:
        """Wait for at most so long for something to happen, and deal with it."""
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def handle_accept(self) -> None:
        """Take a new connection; over the bound, the oldest that no view works on is closed."""
        super().handle_accept()
        if len(self.active_channels) > MOST_CONNECTIONS:
            oldest = next((one for one in self.active_channels.values() if not one.requests), None)
            if oldest is not None:
                oldest.handle_close()

    def maintenance(self, _now: float) -> None:
        """Close the connections whose time is over; called about once a second."""
        moment = time.monotonic()
        for channel in [*self.active_channels.values()]:
            if channel.is_slow(moment):
                channel.handle_close()
        self.make_room()

    def make_room(self) -> None:
        """Close the connections that hold most until all are within the bound; those that a view works on stay."""
        buffered = {channel: channel.buffered() for channel in self.active_channels.values()}
        together = sum(buffered.values())
        if together <= MOST_BUFFERED:
            return
        for channel in sorted(buffered, key=lambda one: buffered[one], reverse=True):
            if not channel.requests and together > MOST_BUFFERED:
                together -= buffered[channel]
                channel.handle_close()

    def note_refusal(self, address: str, code: int) -> None:
        """Log what was refused before a view saw it, without its content and not one by one."""
        self._refused += 1
        now = time.monotonic()
        if now - self._refusal_logged >= LOG_EVERY_SECONDS:
            log.warning("requests.refused", number=self._refused, last_from=address, last_status=code)
            self._refused, self._refusal_logged = 0, now

    def drain(self, seconds: float, linger: float, alive: Callable[[], None]) -> None:
        """Accept no connection any more, and return when every request that was begun is answered.

        Connections without a request stay for ``linger`` seconds: what was sent before the client could know is
        answered. All is over after ``seconds``. ``alive`` is called meanwhile.
        """
        self.draining, self.accepting = True, False
        self.del_channel()
        self.socket.close()
        began = time.monotonic()
        while self.active_channels and (passed := time.monotonic() - began) < seconds:
            alive()
            for channel in [*self.active_channels.values()]:
                if passed > linger and not (channel.requests or channel.request or channel.total_outbufs_len):
                    channel.handle_close()
            self.maintenance(0.0)
            self.turn(0.1)
        self.task_dispatcher.shutdown()
        wasyncore.close_all(self._sockets)
