"""A waitress server that gives a request a thread only when the whole request has been received.

The main thread reads requests and writes responses, so a client that sends or reads slowly occupies a connection but no
thread. Connections are limited in duration, number and buffered bytes. If there are too many, the oldest one is closed.
If too many bytes are buffered, the connection with the most is closed. A connection is never closed while a view
processes its request.

A view may stream its response (``responses.STREAM``). Its thread then waits for the client, and the connection is
closed if the client reads nothing for ``STALL_SECONDS``, or less than ``LEAST_STREAMED`` in ``PACE_SECONDS``.
"""

from __future__ import annotations

import copy
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
from datagen.web.responses import DELAY, QUIET_HEADERS, STREAM
from datagen.web.stream_pace import StreamPace
from datagen.web.view_pools import Busy, ViewPools

log = structlog.get_logger()

#: Time limits for receiving a request and for sending a response, each from the first byte to the last, seconds. A
#: response of 10 MiB therefore needs a client that reads 0.2 MiB/s.
REQUEST_SECONDS, ANSWER_SECONDS = 30.0, 60.0
#: Time after which a connection without a request is closed, seconds.
IDLE_SECONDS = 10.0
#: Maximum number of open connections. All pools except AT_ONCE together have fewer waiting requests than this.
MAX_CONNECTIONS = 544
#: Maximum bytes of requests and responses that are buffered for all connections together. One that is larger than 1 MiB
#: is buffered in a file.
MAX_BUFFERED = 256 * 2**20
#: Bytes of a streamed response that are buffered before its thread waits for the client, and seconds for which a client
#: of a streamed response may read nothing.
STREAM_BUFFER, STALL_SECONDS = 2**20, 30.0
#: Bytes of a streamed response that a client has to read in a time in which they wait for it, and that time, seconds:
#: 64 KiB/s. A client that is cut off continues a download with a request for the rest.
LEAST_STREAMED, PACE_SECONDS = 60 * 2**16, 60.0
#: Minimum time between two log lines about refused requests, seconds.
LOG_EVERY_SECONDS = 10.0
_BUFFER = 2**20


class _Answer(Task):  # type: ignore[misc]
    """Base class of the two ways to answer a request: by a view, or by the server's own refusal."""

    def build_response_header(self) -> bytes:
        self.channel.since = time.monotonic()
        if self.channel.server.draining:
            self.set_close_on_finish()
        header: bytes = super().build_response_header()
        return header


class _View(_Answer, WSGITask):  # type: ignore[misc]
    """Answers a request by a view of the application."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[DELAY] = self._delay
        environ[STREAM] = self.channel.begin_stream
        return environ

    def _delay(self, seconds: float) -> None:
        self.channel.held_until = time.monotonic() + seconds
        self.set_close_on_finish()  # further requests on this connection are ignored


class _Refusal(_Answer, ErrorTask):  # type: ignore[misc]
    """Answers a request by an error of the server itself, as JSON in the same form as the views' errors."""

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
    """One connection of a client, with its buffers and its time limits."""

    task_class, error_task_class, parser_class = _View, _Refusal, BoundedParser

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: when the current phase began, ``time.monotonic``: waiting for a request, receiving it, or sending a response
        self.since = time.monotonic()
        #: the time before which the response is not sent, ``time.monotonic``
        self.held_until = 0.0
        #: whether a view streams the response, and when the client last read some of it, ``time.monotonic``
        self.streams, self.sent_at = False, 0.0
        self._pace = StreamPace(seconds=PACE_SECONDS, least_bytes=LEAST_STREAMED, now=self.since)
        super().__init__(*args, **kwargs)

    def buffered(self) -> int:
        """Return the number of bytes that this process has buffered for the connection."""
        receiving = self.request.body_bytes_received if self.request is not None else 0
        return int(receiving + self.total_outbufs_len)

    def begin_stream(self) -> None:
        """Make the thread that answers the request wait for the client, from now to the end of the response."""
        self.streams, self.sent_at = True, time.monotonic()
        self._pace = StreamPace(seconds=PACE_SECONDS, least_bytes=LEAST_STREAMED, now=self.sent_at)
        self.adj = self.server.stream_adjustments

    def is_slow(self, now: float) -> bool:
        """Return whether the time limit of the current phase is exceeded."""
        if self.requests:  # a view is processing it, within its own time limits
            return self.streams and self._reads_slowly(now)
        if self.total_outbufs_len:
            return now > max(self.since, self.held_until) + ANSWER_SECONDS
        return now > self.since + (IDLE_SECONDS if self.request is None else REQUEST_SECONDS)

    def _reads_slowly(self, now: float) -> bool:
        is_waiting = self.total_outbufs_len > 0
        is_below_pace = self._pace.is_too_slow(now, is_waiting=is_waiting)
        return is_below_pace or (is_waiting and now > self.sent_at + STALL_SECONDS)

    def received(self, data: bytes) -> bool:
        """Process received bytes; drop any request that the client sent before the response to its first one.

        Return False if ``data`` is empty.
        """
        if self.request is None:
            self.since = time.monotonic()
        before = self.buffered() // _BUFFER
        taken: bool = super().received(data)
        with self.requests_lock:
            if len(self.requests) > 1:  # a client that waits for a response does not pipeline
                for request in self.requests[1:]:
                    request.close()
                del self.requests[1:]
                self.requests[0].headers["CONNECTION"] = "close"
        if self.buffered() // _BUFFER > before:
            self.server.make_room()
        return taken

    def service(self) -> None:
        """Answer the request. A thread of a pool calls this."""
        super().service()
        self.streams, self.adj = False, self.server.adj
        self.since = time.monotonic()
        if self.total_outbufs_len > _BUFFER:
            self.server.trigger.pull_trigger(self.server.make_room)

    def writable(self) -> bool:
        """Return whether there are bytes that may be sent now, or the connection is to be closed."""
        return bool(super().writable()) and (self.will_close or time.monotonic() >= self.held_until)

    def _flush_some(self, do_close: bool = True) -> bool:
        now, before = time.monotonic(), self.total_outbufs_len
        if now < self.held_until or not super()._flush_some(do_close=do_close):
            return False
        self.sent_at = now
        self._pace.add(before - self.total_outbufs_len)
        return True


class BufferingServer(TcpWSGIServer):  # type: ignore[misc]
    """Server on a socket that is already listening. The worker process calls ``turn`` in a loop."""

    channel_class = _Channel

    def __init__(self, application: Any, listening: Any, max_body: int) -> None:
        adjustments = Adjustments(
            ident=None,  # no Server header
            max_request_header_size=LONGEST_HEAD,
            max_request_body_size=max_body + 1,  # waitress refuses a body of exactly this length
            connection_limit=2**31,  # at its limit waitress would stop accepting; see handle_accept
            cleanup_interval=1,
            asyncore_use_poll=True,
            outbuf_high_watermark=2**62,  # a thread never waits for a client; see MAX_BUFFERED
            outbuf_overflow=_BUFFER,
            inbuf_overflow=_BUFFER,
            log_socket_errors=False,
            recv_bytes=2**16,
            clear_untrusted_proxy_headers=False,  # ProxyFix reads them if there is a proxy; nothing else does
        )
        self.stream_adjustments = copy.copy(adjustments)
        self.stream_adjustments.outbuf_high_watermark = STREAM_BUFFER
        self.draining = False
        self._sockets: dict[int, Any] = {}
        self._refused, self._refusal_logged = 0, 0.0
        super().__init__(
            application,
            map=self._sockets,
            _start=False,
            _sock=listening,
            dispatcher=ViewPools(),
            adj=adjustments,
            sockinfo=(listening.family, listening.type, listening.proto, listening.getsockname()),
            bind_socket=False,
        )
        self.accepting = True

    def turn(self, seconds: float) -> None:
        """Wait at most ``seconds`` for socket events, and handle them."""
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._sockets, count=1)

    def handle_accept(self) -> None:
        """Accept a connection; above the limit, close the oldest one that no view is processing."""
        super().handle_accept()
        if len(self.active_channels) > MAX_CONNECTIONS:
            oldest = next((channel for channel in self.active_channels.values() if not channel.requests), None)
            if oldest is not None:
                oldest.handle_close()

    def maintenance(self, _now: float) -> None:
        """Close connections over their time limit; called about once a second."""
        moment = time.monotonic()
        for channel in [*self.active_channels.values()]:
            if channel.is_slow(moment):
                channel.handle_close()
        self.make_room()

    def make_room(self) -> None:
        """Close the connections with the most buffered bytes until the total is within MAX_BUFFERED.

        A connection that a view is processing stays open.
        """
        buffered = {channel: channel.buffered() for channel in self.active_channels.values()}
        total = sum(buffered.values())
        if total <= MAX_BUFFERED:
            return
        for channel in sorted(buffered, key=lambda channel: buffered[channel], reverse=True):
            if not channel.requests and total > MAX_BUFFERED:
                total -= buffered[channel]
                channel.handle_close()

    def note_refusal(self, address: str, code: int) -> None:
        """Count a request that was refused before it reached a view. Log the count at intervals, without content."""
        self._refused += 1
        now = time.monotonic()
        if now - self._refusal_logged >= LOG_EVERY_SECONDS:
            log.warning("requests.refused", number=self._refused, last_from=address, last_status=code)
            self._refused, self._refusal_logged = 0, now

    def drain(self, seconds: float, linger: float, alive: Callable[[], None]) -> None:
        """Stop accepting connections, and wait until every request that has begun is answered; end streamed responses.

        Args:
            seconds: the longest wait.
            linger: seconds for which connections without a request stay open, because a request may be under way.
            alive: called repeatedly during the wait.
        """
        self.draining, self.accepting = True, False
        self.del_channel()
        self.socket.close()
        began = time.monotonic()
        while self.active_channels and (passed := time.monotonic() - began) < seconds:
            alive()
            for channel in [*self.active_channels.values()]:
                is_idle = not (channel.requests or channel.request or channel.total_outbufs_len)
                if passed > linger and (is_idle or channel.streams):
                    channel.handle_close()
            self.maintenance(0.0)
            self.turn(0.1)
        self.task_dispatcher.shutdown()
        wasyncore.close_all(self._sockets)
