"""The studio's pages as a browser reaches them: through the web process, from their own process."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from datagen.web.pages.serving import LOG_INS_OF_EMAIL, LOG_INS_OF_NETWORK
from stage.processes import Processes, wait_until
from studio import Studio

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration

WITHIN_S = 60.0


@pytest.fixture
def browser(studio: Studio) -> Iterator[httpx.Client]:
    """A browser on the pages, which have started."""
    with httpx.Client(base_url=studio.settings.own_url, timeout=30) as client:
        wait_until(lambda: client.get("/studio/log-in").status_code == 200, WITHIN_S, "the pages", every=0.2)
        yield client


def log_in(browser: httpx.Client, **form: str) -> httpx.Response:
    page = browser.get("/studio/log-in").text
    token = re.search(r'name="form_token" value="(\w+)"', page)
    assert token is not None
    return browser.post("/studio/log-in", data={"form_token": token[1], **form})


def test_a_person_logs_in_with_the_password_of_label_studio_and_out_again(
    browser: httpx.Client, studio: Studio
) -> None:
    assert browser.get("/studio/").status_code == 303
    answer = log_in(browser, email=studio.server.email, password=studio.server.password, next="/studio/?search=x")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/studio/?search=x")
    page = browser.get("/studio/").text
    assert studio.server.email in page
    token = re.search(r'name="form_token" value="(\w+)"', page)
    assert token is not None
    assert browser.post("/studio/log-out", data={"form_token": token[1]}).status_code == 303
    assert browser.get("/studio/").status_code == 303


def test_no_secret_of_a_log_in_is_in_redis_or_in_the_log(
    browser: httpx.Client, studio: Studio, processes: Processes
) -> None:
    log_in(browser, email="", password="", token=studio.server.token)
    cookie = browser.cookies["datagen_session"]
    redis = studio.queues.redis
    stored = [redis.get(key) or b"" for key in redis.keys("datagen:session:*")]
    assert stored
    logs = [Path(process.log).read_bytes() for process in processes.noted() if process.name.startswith("web-")]
    for secret in (cookie, studio.server.token, studio.server.password):
        assert not any(secret.encode() in text for text in [*stored, *redis.keys("datagen:session:*"), *logs])


def test_wrong_log_ins_are_limited_for_each_e_mail_address(browser: httpx.Client) -> None:
    limit = int(LOG_INS_OF_EMAIL.split()[0])
    codes = [log_in(browser, email="limited@example.com", password="wrong").status_code for _ in range(limit + 1)]
    assert codes == [401] * limit + [429]
    answer = log_in(browser, email="limited@example.com", password="wrong")
    assert answer.headers["Retry-After"] == "60"
    assert "too many requests" in answer.text
    padded = "limited@example.com" + 300 * " " + "x"
    assert log_in(browser, email="Limited@example.com ", password="wrong").status_code == 429
    assert log_in(browser, email=padded, password="wrong").status_code == 401, (
        "and Label Studio is asked about no address"
    )
    assert log_in(browser, email="another@example.com", password="wrong").status_code == 401


def test_a_client_cannot_choose_the_address_that_it_is_counted_by(browser: httpx.Client) -> None:
    codes = set()
    for number in range(int(LOG_INS_OF_NETWORK.split()[0]) + 5):
        browser.headers["X-Datagen-Client"] = browser.headers["X-Forwarded-For"] = f"10.0.0.{number}"
        codes.add(log_in(browser, email=f"{number}@example.com", password="wrong").status_code)
    assert 429 in codes


@pytest.mark.parametrize("path", ["/studio/log-in", "/studio/static/studio.css", "/studio/", "/studio/nothing"])
def test_pages_are_not_framed_sniffed_or_read_by_another_origin(browser: httpx.Client, path: str) -> None:
    headers = browser.get(path).headers
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in headers
    assert "Server" not in headers


def test_other_methods_and_large_forms_are_refused(browser: httpx.Client) -> None:
    assert browser.put("/studio/").status_code == 405
    assert browser.delete("/studio/log-in").status_code == 405
    for path, size in (("/studio/log-in", 20_000), ("/studio/verdicts/1/1", 150_000)):
        answer = browser.post(path, content=b"x" * size)
        assert (answer.status_code, "more text than fits" in answer.text) == (413, True)
