"""No secret reaches a log line, of any logger and in any nesting, with the real configuration."""

from __future__ import annotations

import base64
import io
import json
import logging
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from datagen.cli import running
from datagen.errors import InputProblem
from datagen.label_studio.api.http import Connection
from datagen.label_studio.api.webhook_payload import WebhookEvent
from datagen.operations.logging import LONGEST_TEXT, REDACTED, Redaction, configure_logging
from datagen.settings import Settings
from datagen.store.database import Database
from datagen.store.signed_urls import SignedUrls
from datagen.web import gunicorn_config
from stage.ports import free_port

LEGACY = "0f" * 20
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmF0dXJl"
PASSWORD = "correct horse, battery"
SECRET = "a-webhook-secret/of+ours"
BASIC = base64.b64encode(f"datagen:{PASSWORD}".encode()).decode()
LINK = SignedUrls("http://datagen.example", b"key", 1).make("a" * 64)
KEY = LINK.partition("key=")[2]
#: What must never be seen, whatever is logged in these tests.
NEVER = (LEGACY, JWT, PASSWORD, SECRET, BASIC, KEY)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], str]]:
    """The written log lines, after logging was set up as every process does it."""
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    configure_logging("DEBUG", {SECRET, PASSWORD})
    yield stream.getvalue
    structlog.reset_defaults()
    root.handlers[:] = before
    root.setLevel(level)


@pytest.fixture
def shown(written: Callable[[], str]) -> Callable[[], str]:
    """The written log lines, after logging was set up as a command on a terminal does it."""
    configure_logging("INFO", {SECRET, PASSWORD}, for_a_person=True)
    return written


def test_command_of_a_person_shows_warnings_alone_and_as_sentences(shown: Callable[[], str]) -> None:
    log = structlog.get_logger()
    log.info("reconciler.inputs", changed=1)
    log.warning("queue.unreachable", job_requests=2, reason="ConnectionError")
    log.warning("something.else", project=7, reason="it is away")
    logging.getLogger("a.library").warning("it says %s", "so")
    assert shown().splitlines() == [
        "Warning: Redis does not answer. The work is kept and begins once Redis is back; see: datagen doctor",
        "Warning: something.else (project 7, reason it is away)",
        "Warning: it says so",
    ]


def test_plain_lines_hold_no_secret_and_forge_no_line(shown: Callable[[], str]) -> None:
    structlog.get_logger().warning(
        "tasks.unreadable", project=f"7\n\x1b[31mok   token: {LEGACY}", password=PASSWORD, tasks=[SECRET]
    )
    structlog.get_logger().warning("another.event", why=f"{JWT}\r\nError: x", password=PASSWORD)
    assert [secret for secret in NEVER if secret in shown()] == []
    assert len(shown().splitlines()) == 2
    assert "\x1b" not in shown()
    assert "project 7\\x0a\\x1b[31mok   token: [redacted]" in shown()


def test_crash_of_a_command_says_that_it_is_a_fault_and_keeps_its_traceback(shown: Callable[[], str]) -> None:
    try:
        {}[SECRET]
    except KeyError as fault:
        sys.excepthook(KeyError, fault, fault.__traceback__)
    first, *trace = shown().splitlines()
    assert first == "Critical: process.crashed. This is a fault of Datagen; please report it."
    assert any("test_logging.py" in line for line in trace)
    assert SECRET not in shown()


def check(written: str, *, lines: int = 1) -> None:
    assert [secret for secret in NEVER if secret in written] == []
    events = [json.loads(line) for line in written.splitlines()]
    assert len(events) >= lines
    assert all({"event", "level", "timestamp"} <= set(event) for event in events)


@pytest.mark.parametrize(
    "message",
    [
        f"refused {LEGACY} twice",
        f"refused {LEGACY.upper()}",
        f"pat={JWT}",
        f"Authorization: Token {LEGACY}",
        f"Authorization: Bearer {JWT}",
        f"authorization: Basic {BASIC}",
        f"{{'Authorization': 'Basic {BASIC}', 'X-Datagen-Secret': '{SECRET}'}}",
        f"X-Datagen-Secret: {SECRET}",
        f"X-Datagen-Secret: another-{KEY}",
        f'{{"password": "{PASSWORD}", "user": "x"}}',
        f"DATAGEN_BASIC_AUTH_PASS={PASSWORD}",
        f"GET {LINK} HTTP/1.1",
        f"/images/{'a' * 64}.png?x=1&key={KEY}",
        f"https://studio.example/api?token={LEGACY}&page=2",
        f"https://bucket/a.png?X-Amz-Signature={LEGACY}&X-Amz-Credential={KEY}",
        "redis://:correct-horse-battery@redis.example:6379/0",
        "postgresql+psycopg://datagen:correct-horse-battery@host/db",
    ],
)
def test_a_secret_inside_a_text_is_not_written(message: str, written: Callable[[], str]) -> None:
    log = structlog.get_logger()
    log.info(message)
    log.warning("something", why=message, deep=[{"er": (message,)}], what=ValueError(message))
    logging.getLogger("a.library").warning("it says %s", message)
    logging.getLogger("a.library").warning(message.replace("%", "%%"))
    check(written(), lines=4)
    assert "correct-horse-battery" not in written()
    assert KEY not in written()


@pytest.mark.parametrize(
    "name", ["token", "api_key", "password", "webhook_secret", "Authorization", "Set-Cookie", "signing_key", "apiKey"]
)
def test_value_with_a_secrets_name_is_not_written_in_any_form(name: str, written: Callable[[], str]) -> None:
    structlog.get_logger().info("made", **{name: "plain", "deep": {name: {"er": "plain"}}, "left": "seen"})
    check(written())
    assert "plain" not in written()
    assert "seen" in written()


def test_ordinary_words_and_numbers_stay(written: Callable[[], str]) -> None:
    structlog.get_logger().info(
        "event.stored", inbox=7, action="ANNOTATION_CREATED", digest="a" * 64, has_token=True, path="/data/a b.png"
    )
    [line] = written().splitlines()
    event = json.loads(line)
    assert event["inbox"] == 7
    assert event["has_token"] is True
    assert (event["digest"], event["path"], event["action"]) == ("a" * 64, "/data/a b.png", "ANNOTATION_CREATED")
    assert REDACTED not in line


def _fail(error: Exception) -> None:
    raise error


def _log_failing(error: Exception) -> None:
    try:
        try:
            _fail(error)
        except Exception as first:
            raise RuntimeError(f"with header Token {LEGACY}") from first
    except RuntimeError:
        structlog.get_logger().exception("failed")
        logging.getLogger("rq.worker").exception("job failed")


@pytest.mark.parametrize(
    "error",
    [
        ValueError(f"{LINK} and {PASSWORD}"),
        httpx.ConnectError(f"{{'authorization': 'Bearer {JWT}'}}"),
        urllib.error.HTTPError(LINK, 403, f"secret={SECRET}", None, None),  # type: ignore[arg-type]
    ],
)
def test_tracebacks_are_cleaned_with_all_their_causes(error: Exception, written: Callable[[], str]) -> None:
    _log_failing(error)
    check(written(), lines=2)
    assert "Traceback" in written()
    if isinstance(error, urllib.error.HTTPError):
        error.close()


def test_a_crash_of_the_process_or_a_thread_is_an_event_too(written: Callable[[], str]) -> None:
    def crash() -> None:
        raise RuntimeError(f"could not log in as datagen with {PASSWORD}")

    thread = threading.Thread(target=crash)
    thread.start()
    thread.join()
    try:
        crash()
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    check(written(), lines=2)
    assert [json.loads(line)["event"] for line in written().splitlines()] == ["thread.crashed", "process.crashed"]


def test_database_error_is_logged_without_its_parameters(written: Callable[[], str], tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    parameters = {"comment": "my private comment"}
    with database.read() as session:
        try:
            session.execute(text("SELECT * FROM nothing WHERE comment = :comment"), parameters)
        except SQLAlchemyError:
            structlog.get_logger().exception("event.not_stored")
            logging.getLogger("sqlalchemy.engine").exception("failed")
    database.close()
    check(written(), lines=2)
    assert "my private comment" not in written()


def test_unavailable_database_is_logged_without_its_password(written: Callable[[], str]) -> None:
    database = Database(f"postgresql+psycopg://datagen:correct-horse-battery@127.0.0.1:{free_port()}/x")
    try:
        with database.read() as session:
            session.execute(text("SELECT 1"))
    except SQLAlchemyError:
        structlog.get_logger().exception("database.away", url=database.url)
    database.close()
    check(written())
    assert "correct-horse-battery" not in written()


def test_refused_webhook_is_logged_without_its_body(written: Callable[[], str]) -> None:
    for body in (b'{"action": "my private comment"}', b"my private comment", b'["my private comment"]'):
        try:
            WebhookEvent.parse(body)
        except InputProblem:
            structlog.get_logger().exception("event.refused")
    check(written(), lines=3)
    assert "my private comment" not in written()


def test_request_lines_of_libraries_are_not_logged_even_at_debug(written: Callable[[], str]) -> None:
    for name in ("httpx", "httpcore", "urllib3.connectionpool", "rq.worker", "werkzeug", "gunicorn.access"):
        logging.getLogger(name).info("HTTP Request: GET %s", LINK)
        logging.getLogger(name).debug("headers: %s", {"authorization": f"Token {LEGACY}"})
    assert written() == ""


def test_libraries_warnings_are_cleaned(written: Callable[[], str]) -> None:
    for name in ("httpx", "urllib3.connectionpool", "rq.worker", "gunicorn.error", "alembic", "fsspec"):
        logging.getLogger(name).error("Error handling request %s", LINK)
        logging.getLogger(name).warning("Retrying after connection broken: %s", f"Token {LEGACY}")
    check(written(), lines=12)


def test_failed_request_is_logged_without_its_token(written: Callable[[], str]) -> None:
    for token in (LEGACY, JWT):
        connection = Connection(f"http://127.0.0.1:{free_port()}", token, read_attempts=1)
        try:
            connection.get("/api/projects", "the projects")
        except Exception:
            structlog.get_logger().exception("failed")
        connection.close()
    check(written(), lines=2)


def test_refusal_of_redis_is_logged_without_its_password(written: Callable[[], str]) -> None:
    with Redis.from_url(f"redis://:correct-horse-battery@127.0.0.1:{free_port()}/0") as redis:
        try:
            redis.ping()
        except Exception:
            structlog.get_logger().exception("failed", redis=repr(redis))
    check(written())
    assert "correct-horse-battery" not in written()


def test_settings_are_logged_without_secrets(written: Callable[[], str], tmp_path: Path) -> None:
    chosen = Settings(_env_file=None, data_dir=tmp_path, label_studio_api_key=LEGACY, basic_auth_pass=PASSWORD)
    structlog.get_logger().info("started", settings=chosen, dumped=chosen.model_dump())
    check(written())


@given(st.text(alphabet=st.characters(exclude_categories=("Cs",)), min_size=6, max_size=60), st.text(max_size=20))
def test_known_secret_is_redacted_by_its_value_anywhere(secret: str, around: str) -> None:
    cleaned = Redaction({secret})(None, "", {"event": f"{around}{secret}{around}"})["event"]
    assert secret not in cleaned or secret in REDACTED or secret in around * 2


#: Pieces of which attackers make log lines: each, repeated, made some pattern slow, or could make one.
PIECES = (
    "token", "token=", "token: ", "token='", 'token="', "secret", "-", "_", "=", " = ", ":", "eyJ", "eyJa.", "eyJ.",
    ".", "0f", "0f" * 20, "0f" * 20 + "g", "://", "://a:", "://a:b@", "@", "/", "?key=", "&key=a", "Token ", "Bearer a",
    "Basic ", "'", '"', " ", "\n", "\t", "a", "ä", "\\", "password_", "apikey", SECRET[:-1], PASSWORD[:-1],
)  # fmt: skip
#: The second text is so many times the first, and cleaning it may take at most three times as long as that.
TIMES = 8


def cost(redaction: Redaction, message: str) -> float:
    """Processor seconds of this thread, the least of three tries: what others do at the time does not count."""
    took = []
    for _ in range(3):
        began = time.thread_time()
        redaction.text(message)
        took.append(time.thread_time() - began)
    return min(took)


def growth(piece: str, end: str, small: int) -> float:
    """How much longer cleaning takes when the text is ``TIMES`` as long; linear is about ``TIMES``."""
    redaction = Redaction({SECRET, PASSWORD})
    short, long = (piece * (size // len(piece)) + end for size in (small, TIMES * small))
    return cost(redaction, long) / max(cost(redaction, short), 2e-5)


@pytest.mark.parametrize("piece", ["token", "eyJ", "eyJa.", "0f", "://", "://a:", "token=", "token-", "'token"])
def test_redaction_of_a_request_line_takes_time_linear_in_its_length(piece: str) -> None:
    """800 times “token” took 46 s, during which the whole web process was blocked."""
    assert growth(piece, "", 200) < 3 * TIMES


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=4), st.sampled_from(["", *PIECES]))
def test_redaction_takes_time_linear_in_its_input(pieces: list[str], end: str) -> None:
    assert growth("".join(pieces), end, LONGEST_TEXT // TIMES - 100) < 3 * TIMES


@pytest.mark.parametrize("piece", ["token", "eyJ", "token=", SECRET, "a "])
def test_text_beyond_the_limit_costs_no_time(piece: str) -> None:
    redaction = Redaction({SECRET})
    longest, longer = (piece * (size // len(piece)) for size in (LONGEST_TEXT, 40 * LONGEST_TEXT))
    assert cost(redaction, longer) < 5 * cost(redaction, longest)


def test_a_long_text_is_cut_and_says_how_much_is_missing(written: Callable[[], str]) -> None:
    structlog.get_logger().info("x " * LONGEST_TEXT, why="short")
    event = json.loads(written())
    assert len(event["event"]) < LONGEST_TEXT + 100
    assert event["event"].endswith(f"… [cut: {LONGEST_TEXT} more characters]")
    assert event["why"] == "short"


@given(
    st.integers(0, 60), st.sampled_from([SECRET, PASSWORD, LEGACY, JWT, f"Token {LEGACY}", f"password='{PASSWORD}'"])
)
def test_a_secret_where_a_long_text_is_cut_is_not_written_in_part(before: int, secret: str) -> None:
    message = " " * (LONGEST_TEXT - before) + secret + " and more" * 20
    cleaned = Redaction({SECRET, PASSWORD}).text(message)
    for value in (SECRET, PASSWORD, LEGACY, JWT):
        assert value[:8] not in cleaned


def test_a_quote_that_is_not_closed_hides_the_rest_of_its_line(written: Callable[[], str]) -> None:
    structlog.get_logger().info(f'{{"password": "{PASSWORD[:10]}\nthe next line')
    check(written())
    assert PASSWORD[:7] not in written()
    assert "the next line" in written()


def test_a_value_nested_without_end_is_not_followed(written: Callable[[], str]) -> None:
    deep: list[object] = []
    deep.append(deep)
    structlog.get_logger().info("deep", deep=deep)
    assert "[nested too deep]" in written()


def test_gunicorn_writes_no_access_log() -> None:
    """It would hold every link's key."""
    assert gunicorn_config.accesslog is None
    assert "datagen.web.gunicorn_config" in Path(running.__file__).read_text(encoding="utf-8")
