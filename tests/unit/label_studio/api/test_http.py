"""Every failure of Label Studio becomes an error of Datagen, with a sentence that names the fix."""

from __future__ import annotations

import os
from collections.abc import Callable

import httpx
import pytest
import stamina

from datagen.errors import LabelStudioError, LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.http import Connection

TOKEN = "a" * 40
Answer = Callable[[httpx.Request], httpx.Response]


def connection(answer: Answer, url: str = "http://studio", attempts: int = 1) -> Connection:
    def known(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/api/current-user/whoami":
            return httpx.Response(200, json={})
        return answer(request)

    return Connection(url, TOKEN, transport=httpx.MockTransport(known), read_attempts=attempts)


def answering(status: int, **body: object) -> Connection:
    return connection(lambda request: httpx.Response(status, json=body))


@pytest.mark.parametrize("status", [500, 502, 503, 504, 429, 408])
def test_what_may_pass_is_worth_a_retry(status: int) -> None:
    with pytest.raises(LabelStudioUnavailable, match="thing"):
        answering(status).get("/api/x", "the thing")


def test_nothing_listening_is_worth_a_retry_and_names_the_setting() -> None:
    with pytest.raises(LabelStudioUnavailable, match="LABEL_STUDIO_URL"):
        Connection("http://127.0.0.1:1", TOKEN, read_attempts=1).get("/api/x", "the thing")


def test_no_answer_in_time_is_worth_a_retry() -> None:
    def late(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("late", request=request)

    with pytest.raises(LabelStudioUnavailable, match="did not answer in time"):
        connection(late).get("/api/x", "the thing")


def test_404_is_missing_and_says_what() -> None:
    with pytest.raises(LabelStudioMissing, match="does not have task 7: No Task matches"):
        answering(404, detail="No Task matches the given query.").get("/api/x", "task 7")


def test_403_of_ssrf_protection_names_the_settings_of_the_server() -> None:
    detail = "The provided URL was not allowed. URLs must … not resolve to local or private network addresses …"
    with pytest.raises(LabelStudioError, match="SSRF_PROTECTION_ENABLED=false"):
        answering(403, detail=detail).write("POST", "/api/webhooks/", "the webhook")


def test_403_names_the_user() -> None:
    with pytest.raises(LabelStudioError, match="user"):
        answering(403, detail="You do not have permission.").get("/api/x", "the thing")


def test_400_repeats_the_field_and_the_reason_without_markup() -> None:
    wrong = {"title": ["Ensure this field has <a href='x'>no more</a> than 50 characters."]}
    with pytest.raises(LabelStudioError, match=r"\(400\): title: Ensure this field has no more than 50 characters\."):
        answering(400, validation_errors=wrong).write("POST", "/api/x", "the project")


@pytest.mark.parametrize("url", ["studio:8080", "ftp://studio", "http://[", "studio", "http://"])
def test_an_address_that_is_none_names_the_setting(url: str) -> None:
    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL"):
        Connection(url, TOKEN)


def test_another_server_at_the_address_is_told_from_label_studio() -> None:
    with pytest.raises(LabelStudioError, match="does not speak Label Studio's API"):
        connection(lambda request: httpx.Response(200, text="<html>hello</html>")).get("/api/x", "the thing")


def test_a_redirect_is_not_followed_with_the_token() -> None:
    asked: list[str] = []

    def elsewhere(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.host)
        return httpx.Response(301, headers={"Location": "http://evil/"})

    with pytest.raises(LabelStudioError, match="LABEL_STUDIO_URL"):
        connection(elsewhere).get("/api/x", "the thing")
    assert asked == ["studio"]


def test_a_read_is_tried_again_and_a_write_is_not() -> None:
    asked: list[str] = []

    def second_time(request: httpx.Request) -> httpx.Response:
        asked.append(request.method)
        return httpx.Response(503 if len(asked) % 2 else 200, json={"ok": True})

    with stamina.set_testing(True, attempts=3):
        at = connection(second_time, attempts=3)
        assert at.get("/api/x", "the thing") == {"ok": True}
        with pytest.raises(LabelStudioUnavailable):
            at.write("POST", "/api/x", "the thing")
    assert asked == ["GET", "GET", "POST"]


def test_a_session_cookie_is_not_kept_because_it_would_win_over_the_token() -> None:
    seen: list[str | None] = []

    def cookie(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Cookie"))
        return httpx.Response(200, json={}, headers={"Set-Cookie": "sessionid=s; Path=/"})

    at = connection(cookie)
    at.get("/api/x", "the thing")
    at.get("/api/x", "the thing")
    assert seen == [None, None]


def test_a_forked_process_gets_sockets_of_its_own() -> None:
    at = answering(200)
    before = at.http
    child = os.fork()
    if child == 0:
        os._exit(0 if at.http is not before else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert at.http is before
