"""Every view of the web process, with and without credentials, and the answers to refused requests."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from datagen.imaging.png_encoder import encode_png
from datagen.store.database import Database
from stage.ports import free_port
from stage.processes import Processes
from studio import Studio, install, plate, settings_of, start_web

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

#: The credentials of a request: none, the webhooks' secret, user and password.
ANONYMOUS, SECRET, LOGIN = "anonymous", "the webhooks' secret", "the log-in"
#: Method, path, and the answer to each of the three.
TABLE = [
    ("GET", "/", 200, 200, 200),
    ("GET", "/health", 200, 200, 200),
    ("GET", "/versions", 401, 401, 200),
    ("POST", "/setup", 401, 401, 200),
    ("POST", "/predict", 401, 401, 200),
    ("POST", "/webhook", 401, 201, 201),
    ("GET", "/metrics", 401, 401, 200),
    ("GET", f"/images/{'a' * 64}.png", 403, 403, 403),
    ("GET", "/images/short.png", 404, 404, 404),
    ("GET", "/static/app.css", 404, 404, 404),
    ("GET", "/nothing", 404, 404, 404),
    ("GET", "/webhook", 405, 405, 405),
    ("GET", "/predict", 405, 405, 405),
    ("PUT", "/webhook", 405, 405, 405),
    ("DELETE", f"/images/{'a' * 64}.png", 405, 405, 405),
    ("TRACE", "/", 405, 405, 405),
    ("TRACE", "/webhook", 405, 405, 405),
    ("HEAD", "/health", 200, 200, 200),
    ("HEAD", "/metrics", 401, 401, 200),
    ("HEAD", f"/images/{'a' * 64}.png", 403, 403, 403),
    ("OPTIONS", "/predict", 200, 200, 200),
    ("OPTIONS", "/webhook", 200, 200, 200),
]


def ask(studio: Studio, method: str, path: str, who: str = ANONYMOUS) -> httpx.Response:
    return httpx.request(
        method,
        studio.settings.own_url + path,
        headers={"X-Datagen-Secret": studio.settings.secret_of_webhooks} if who == SECRET else {},
        auth=(studio.settings.basic_auth_user, studio.settings.password) if who == LOGIN else None,
        json=body_of(path, who) if method in ("POST", "PUT") else None,
        timeout=30,
    )


def body_of(path: str, who: str) -> object:
    if path == "/webhook":
        return {"action": "DOOR", "project": {"id": 2**40}, "task": {"id": 1, "updated_at": f"{who} {time.time_ns()}"}}
    return {"tasks": []}


@pytest.mark.parametrize(("method", "path", "anonymous", "secret", "login"), TABLE)
def test_every_view_admits_only_those_who_may_use_it(
    method: str, path: str, anonymous: int, secret: int, login: int, studio: Studio
) -> None:
    for who, wanted in ((ANONYMOUS, anonymous), (SECRET, secret), (LOGIN, login)):
        answer = ask(studio, method, path, who)
        assert answer.status_code == wanted, (who, answer.text)
        if method in ("HEAD", "OPTIONS"):
            assert answer.content == b""
    studio.settle()


@pytest.mark.parametrize(("method", "path"), [row[:2] for row in TABLE if row[0] in ("GET", "POST")])
def test_no_answer_may_be_framed_sniffed_kept_or_read_by_another_origin(method: str, path: str, studio: Studio) -> None:
    headers = ask(studio, method, path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers


def test_only_a_signed_picture_may_be_read_by_another_origin_and_kept(studio: Studio) -> None:
    digest = studio.services.images.put(encode_png(plate(77)))
    headers = httpx.get(studio.services.links.make(digest)).headers
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers
    assert headers["Cache-Control"].startswith("private, ")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("PUT", "/webhook"), ("POST", "/webhook"), ("GET", "/images/x.png")]
)
def test_a_refusal_is_one_sentence_without_page_trace_or_version(method: str, path: str, studio: Studio) -> None:
    answer = ask(studio, method, path)
    assert list(answer.json()) == ["error"]
    message = (answer.text + str(answer.headers)).lower()
    assert not [word for word in ("traceback", "werkzeug", "python", "flask", "<html", "datagen/") if word in message]
    assert "Server" not in answer.headers


def test_a_405_names_what_is_allowed(studio: Studio) -> None:
    assert ask(studio, "PUT", "/webhook").headers["Allow"] == "OPTIONS, POST"


@pytest.mark.parametrize("path", ["/webhook", "/predict", "/setup"])
def test_a_large_body_is_refused_unread_with_or_without_a_key(path: str, studio: Studio) -> None:
    large = b"x" * (studio.settings.max_webhook_bytes + 1)
    auth = (studio.settings.basic_auth_user, studio.settings.password)
    answer = httpx.post(studio.settings.own_url + path, content=large, auth=auth, timeout=30)
    assert (answer.status_code, answer.json()) == (413, {"error": "request entity too large"})
    assert httpx.post(studio.settings.own_url + path, content=large, timeout=30).status_code == 413


def test_body_without_a_length_is_refused_unread(studio: Studio) -> None:
    headers = {"X-Datagen-Secret": studio.settings.secret_of_webhooks}
    parts = (b" " * 1000 for _ in range(3))
    answer = httpx.post(f"{studio.settings.own_url}/webhook", content=parts, headers=headers, timeout=30)
    assert (answer.status_code, answer.json()) == (411, {"error": "length required"})


@pytest.fixture
def elsewhere(studio: Studio, processes: Processes) -> Iterator[dict[str, str]]:
    """The environment of a web process of the test's own."""
    environment = {**studio.environment, "PORT": str(free_port())}
    yield environment
    for started in processes.alive():
        if started.name == f"web-{environment['PORT']}":
            processes.stop(started)


def test_more_than_the_rate_is_answered_with_429(
    studio: Studio, elsewhere: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    elsewhere["DATAGEN_WEBHOOKS_PER_SECOND"] = "3"
    start_web(processes, elsewhere, tmp_path)
    with httpx.Client(base_url=f"http://127.0.0.1:{elsewhere['PORT']}", timeout=30) as caller:
        webhooks = [caller.post("/webhook", content=b"{}") for _ in range(40)]
        vitals = [caller.get("/metrics").status_code for _ in range(80)]
        health = [caller.get("/health").status_code for _ in range(80)]
    assert {response.status_code for response in webhooks} == {401, 429}
    refused = next(response for response in webhooks if response.status_code == 429)
    assert (refused.json(), refused.headers["Retry-After"]) == ({"error": "too many requests"}, "1")
    assert 429 in vitals
    assert set(health) == {200}  # Label Studio and container engines ask that


def test_a_fault_inside_is_500_without_a_word_of_it_and_the_log_has_it_without_the_secret(
    studio: Studio, elsewhere: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    """The database's tables are gone while the process runs."""
    elsewhere |= {
        "DATAGEN_DATA_DIR": str(tmp_path / "data"),
        "DATAGEN_WEBHOOK_SECRET": studio.settings.secret_of_webhooks,
        "BASIC_AUTH_PASS": studio.settings.password,
        "DATAGEN_SIGNING_KEYS": studio.settings.signing_keys[-1].decode(),
    }
    install(settings_of(elsewhere))
    web = start_web(processes, elsewhere, tmp_path)
    with closing(Database(settings_of(elsewhere).resolved_database_url)) as database, database.write() as session:
        session.execute(text("DROP TABLE inbox"))
        session.execute(text("DROP TABLE project"))
        session.execute(text("DROP TABLE proposal"))
        session.execute(text("DROP TABLE verdict"))
        session.execute(text("DROP TABLE sample"))
    base = f"http://127.0.0.1:{elsewhere['PORT']}"
    auth = (studio.settings.basic_auth_user, studio.settings.password)
    task = {"id": 1, "data": {"datagen_key": "my private comment"}}
    answer = httpx.post(f"{base}/predict", json={"tasks": [task]}, auth=auth, timeout=30)
    assert (answer.status_code, answer.json()) == (
        500,
        {"error": "something is wrong here; the web process's log says what"},
    )
    event = {"action": "X", "project": {"id": 1, "token": "a project's token", "title": "my private comment"}}
    secret = {"X-Datagen-Secret": studio.settings.secret_of_webhooks}
    assert httpx.post(f"{base}/webhook", json=event, headers=secret, timeout=30).status_code == 503
    link = studio.services.links.make("a" * 64).replace(studio.settings.own_url, base)
    assert httpx.get(link).status_code == 404
    raw(int(elsewhere["PORT"]), f"GET {link} HTTP/9.9\r\nHost: x\r\n\r\n")
    raw(int(elsewhere["PORT"]), f"GET {link} HTTP/1.1\r\nHost: x\r\nContent-Length: {link}\r\n\r\n")
    written = Path(web.log).read_text()
    assert "request.failed" in written
    assert "event.not_stored" in written
    key = link.partition("key=")[2]
    for secret_word in (key, studio.settings.secret_of_webhooks, studio.settings.password, "my private", "'s token"):
        assert secret_word not in written, secret_word
    assert all(json.loads(line) for line in written.splitlines() if line.startswith("{"))


def raw(port: int, request: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(request.encode())
        return line.recv(4096)
