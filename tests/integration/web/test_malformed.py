"""Malformed requests at every view: each is refused in JSON, and none causes an internal error."""

from __future__ import annotations

import base64
import json

import pytest

from raw_http import Answer, ask, get, post
from studio import Studio

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

VIEWS = [
    ("GET", "/"),
    ("GET", "/health"),
    ("GET", "/ready"),
    ("GET", "/versions"),
    ("GET", "/metrics"),
    ("GET", f"/images/{'a' * 64}.png"),
    ("GET", "/nothing"),
    ("POST", "/setup"),
    ("POST", "/predict"),
    ("POST", "/webhook"),
]
#: Raw bytes as Latin-1, as they go over the wire.
HEADERS = [
    "Authorization: Basic \xff",
    "Authorization: Basic /w==",
    "Authorization: Basic",
    "Authorization: Basic ====",
    "Authorization: Basic YQ==",
    "Authorization: \xff\xfe",
    "Authorization: Digest a=\xff, b",
    "Authorization: Basic " + "A" * 8000,
    "X-Datagen-Secret: \xff\x80",
    "X-Datagen-Secret: " + "\xe4" * 8000,
    "Cookie: \xff=\xff; =; ;;==; a",
    "Content-Type: \xff; charset=\xff",
    "Content-Type: application/json; charset=utf-32",
    "Content-Type: multipart/form-data; boundary=",
    "Accept: \xff/\xff;q=nan",
    "Range: bytes=\xff-",
    "If-Modified-Since: \xff",
    "X-Forwarded-For: \xff, 1, ]",
    "Forwarded: for=\xff",
    "Host: \xff[::",
    "Expect: \xff",
]
QUERIES = [
    "?key=%ff%00", "?key=\xff", "?key=" + "A." * 1000, "?%", "?&&==&", "?key=1&key=2", "?key[]=\xe4", "?" + "a&" * 1500,
    "/%00", "/%ff", "/..%2f..", "//", "/\xff",
]  # fmt: skip
BODIES = [
    b"", b"\xff\xfe\x00", b"null", b"NaN", b"1e999", b"[" * 100_000, b'{"tasks":' * 20_000, b"9" * 100_000,
    b'{"tasks": [{"id": ' + b"9" * 5000 + b"}]}", b'"\\ud800"',
    b'{"tasks": [{"id": NaN, "data": {"datagen_key": 1e999}}]}',
    b'{"tasks": {"a": [1]}}', b'{"action": {}, "project": []}', b'{"action": "X", "project": {"id": 1e999}}',
    b'{"action": "\\ud800", "project": {"id": 1}}', b'{"action": "X", "project": {"id": true}, "task": [[[]]]}',
    b'{"action": "X", "project": {"id": 1}, "annotation": {"id": 1, "updated_at": "\\ud800\\u0000"}}',
]  # fmt: skip


def check(studio: Studio, request: bytes) -> None:
    [answer] = ask(studio.settings.port, request)
    assert answer.status < 500 or says_not_ready(answer), (request[:200], answer)
    if answer.status >= 400:
        assert list(answer.json()) == ["error"] or says_not_ready(answer), (request[:200], answer)
        assert "server" not in answer.headers


def says_not_ready(answer: Answer) -> bool:
    """/ready answers 503 with the state of the parts, because no worker runs here."""
    return answer.status == 503 and "parts" in answer.json()


def login(studio: Studio) -> list[str]:
    pair = f"{studio.settings.basic_auth_user}:{studio.settings.password}".encode()
    return [f"Authorization: Basic {base64.b64encode(pair).decode()}"]


@pytest.mark.parametrize(("method", "path"), VIEWS)
def test_malformed_header_is_no_fault(method: str, path: str, studio: Studio) -> None:
    for header in HEADERS:
        check(studio, post(path, b"{}", header) if method == "POST" else get(path, header))


@pytest.mark.parametrize("path", [path for _, path in VIEWS if path in ("/versions", "/metrics")])
def test_undecodable_credentials_are_401(path: str, studio: Studio) -> None:
    for header in HEADERS[:6]:
        [answer] = ask(studio.settings.port, get(path, header))
        assert answer.status == 401, header
        assert answer.headers["www-authenticate"] == 'Basic realm="datagen"'


@pytest.mark.parametrize(("method", "path"), VIEWS)
def test_malformed_address_is_no_fault(method: str, path: str, studio: Studio) -> None:
    for query in QUERIES:
        request = post(path + query, b"{}", *login(studio)) if method == "POST" else get(path + query, *login(studio))
        check(studio, request)


@pytest.mark.parametrize("path", [path for method, path in VIEWS if method == "POST"])
def test_body_of_any_shape_is_no_fault(path: str, studio: Studio) -> None:
    for body in BODIES:
        check(studio, post(path, body, "Content-Type: application/json", *login(studio)))
    studio.settle()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS
        (b"GET /" + b"token" * 800 + b" HTTP/1.1\r\n\r\n", 404),
        (b"GET /" + b"token" * 1000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"POST /webhook HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"POST /webhook HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", 413),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * 40_000 + b"\r\n\r\n", 431),
    ],
    ids=["version", "tls", "tokens", "line", "chunked", "length", "head"],
)
def test_refusal_of_the_server_itself_is_json_without_its_name(
    request_bytes: bytes, status: int, studio: Studio
) -> None:
    request_bytes = (
        request_bytes.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") if status == 404 else request_bytes
    )
    [answer] = ask(studio.settings.port, request_bytes)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert list(json.loads(answer.body)) == ["error"]
    assert "server" not in answer.headers
    assert not [word for word in (b"waitress", b"gunicorn", b"<html", b"Traceback") if word in answer.body]
