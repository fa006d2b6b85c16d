"""Heads of requests: refusals, and a reading time that is linear in the length."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from waitress.adjustments import Adjustments

from datagen.web.request_head import LONGEST_HEAD, LONGEST_LINE, MAX_FIELDS, BoundedParser

ADJUSTMENTS = Adjustments(max_request_header_size=LONGEST_HEAD, max_request_body_size=1000)
#: The second head is so many times the first, and reading it may take at most three times as long as that.
TIMES = 8


def parsed(head: bytes) -> BoundedParser:
    parser = BoundedParser(ADJUSTMENTS)
    while head and not parser.completed:
        head = head[parser.received(head) :]
    return parser


def code(head: bytes) -> int | None:
    error = parsed(head).error
    return None if error is None else error.code


def test_ordinary_request_is_read_as_it_is() -> None:
    parser = parsed(b"POST /webhook?a=1 HTTP/1.1\r\nHost: x:9090\r\nX-Odd:  \t a  b \t\r\nContent-Length: 2\r\n\r\nhi")
    assert parser.error is None
    assert (parser.command, parser.path, parser.query, parser.version) == ("POST", "/webhook", "a=1", "1.1")
    assert parser.headers == {"HOST": "x:9090", "X_ODD": "a  b", "CONTENT_LENGTH": "2"}
    assert parser.get_body_stream().read() == b"hi"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"GET / x HTTP/1.1\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA B: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA : x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\r\n continued\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\x00\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: x\ny: z\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n", 411),
        (b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n", 411),
        (b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n", 413),
        (b"GET /" + b"x" * LONGEST_LINE + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"A: x\r\n" * (MAX_FIELDS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * LONGEST_HEAD + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * LONGEST_HEAD, 431),
    ],
)
def test_head_that_is_no_request_of_a_browser_or_label_studio_is_refused(head: bytes, status: int) -> None:
    assert code(head) == status


def growth(begin: bytes, piece: bytes, end: bytes, small: int) -> float:
    """How much longer reading takes when the head is ``TIMES`` as long; linear is about ``TIMES``."""
    took = []
    for size in (small, TIMES * small):
        head = begin + piece * (size // len(piece)) + end
        tries = []
        for _ in range(3):
            began = time.thread_time()
            parsed(head)
            tries.append(time.thread_time() - began)
        took.append(min(tries))
    return took[1] / max(took[0], 2e-5)


@pytest.mark.parametrize(
    ("begin", "piece", "end"),
    [
        (b"GET a://", b"1", b" HTTP/x\r\n\r\n"),  # waitress's own pattern: 20 s for 16 KiB
        (b"GET a://", b"1", b" HTTP/1.1\r\n\r\n"),
        (b"GET / HTTP/1.1\r\na:", b" ", b"x\r\n\r\n"),  # … 1 s
        (b"GET / HTTP/1.1\r\na: x", b" ", b"\x00\r\n\r\n"),
        (b"GET / HTTP/1.1\r\n", b"a", b"\r\n\r\n"),
        (b"GET / HTTP/1.1\r\na: ", b"x ", b"\r\n\r\n"),
    ],
)
def test_head_that_made_a_pattern_slow_takes_time_linear_in_its_length(begin: bytes, piece: bytes, end: bytes) -> None:
    assert growth(begin, piece, end, 480) < 3 * TIMES


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([b"", b"GET ", b"GET a://", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\na:", b"G"]),
    st.lists(
        st.sampled_from(
            [b" ", b"\t", b"a", b"1", b":", b"/", b"?", b"#", b"://", b"\r", b"\n", b"\r\n", b"\xff", b"%"]
        ),
        min_size=1,
        max_size=4,
    ),
    st.sampled_from([b" HTTP/1.1\r\n\r\n", b"x\r\n\r\n", b"\x00\r\n\r\n", b"\r\n\r\n", b""]),
)
def test_any_head_takes_time_linear_in_its_length(begin: bytes, pieces: list[bytes], end: bytes) -> None:
    assert growth(begin, b"".join(pieces), end, (LONGEST_HEAD - 100) // TIMES) < 3 * TIMES
