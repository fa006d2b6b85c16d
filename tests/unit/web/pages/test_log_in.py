"""Log-in and log-out: who gets a session, for how long, its use by other people, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from datagen.web.pages import sessions
from datagen.web.pages.forms import FormTokens, safe_target

ANN, BO = "ann@example.com", "bo@example.com"


def cookies(answer: Any) -> dict[str, str]:
    """Name → the whole line of each cookie that a response sets."""
    return {line.split("=", 1)[0]: line for line in answer.headers.getlist("Set-Cookie")}


def test_a_page_leads_through_the_log_in_back_to_itself(stranger: Any) -> None:
    asked = f"/studio/studies/{stranger.study.id}/round/1?show=plain"
    answer = stranger.get(asked)
    assert answer.status_code == 303
    form = stranger.client.get(answer.location).text
    assert 'name="next" value="/studio/studies/' in form
    sent = stranger.client.post(
        "/studio/log-in",
        data={
            "form_token": stranger.form_token(form),
            "next": asked,
            "email": ANN,
            "password": f"password of {ANN}",
        },
    )
    assert (sent.status_code, sent.location) == (303, asked)
    assert stranger.get(asked).status_code == 200


@pytest.mark.parametrize(
    "form", [{"email": ANN, "password": f"password of {ANN}"}, {"token": f"token of {BO}", "email": "", "password": ""}]
)
def test_password_and_token_both_begin_a_session(stranger: Any, form: dict[str, str]) -> None:
    assert stranger.log_in(**form).status_code == 303
    assert (form["email"] or BO) in stranger.page("/studio/")


@pytest.mark.parametrize("form", [{"password": "wrong"}, {"email": "nobody@example.com"}, {"token": "wrong"}])
def test_wrong_credentials_get_no_session_and_a_sentence(stranger: Any, form: dict[str, str]) -> None:
    answer = stranger.log_in(**form)
    assert answer.status_code == 401
    assert "Label Studio does not accept this" in answer.text
    assert "datagen_session" not in cookies(answer)
    assert "wrong" not in answer.text
    assert stranger.get("/studio/").status_code == 303


def test_log_in_while_label_studio_is_away_says_so(stranger: Any) -> None:
    stranger.accounts.is_on = False
    answer = stranger.log_in()
    assert answer.status_code == 503
    assert "Label Studio does not answer" in answer.text


def test_nothing_but_a_random_token_and_no_credential_is_kept(stranger: Any) -> None:
    answer = stranger.log_in()
    line = cookies(answer)["datagen_session"]
    assert {"Secure", "HttpOnly", "Path=/studio", "SameSite=Lax"} <= set(line.split("; "))
    token = line.split("=", 1)[1].split(";")[0]
    assert len(token) >= 40
    stored = str(stranger.store.values)
    assert token not in stored
    assert "password of" not in stored


def test_a_session_has_a_new_token_after_each_log_in_and_the_former_one_is_ended(stranger: Any) -> None:
    stranger.log_in()
    first = stranger.client.get_cookie("datagen_session", path="/studio").value
    token = stranger.form_token(stranger.page("/studio/"))
    stranger.client.post("/studio/log-in", data={"form_token": token, "email": BO, "password": f"password of {BO}"})
    assert stranger.client.get_cookie("datagen_session", path="/studio").value != first
    assert len(stranger.store.values) == 1
    assert BO in stranger.page("/studio/")


@pytest.mark.parametrize("path", ["/studio/log-in", "/studio/log-out"])
def test_a_form_without_its_token_is_refused(browser: Any, path: str) -> None:
    for data in ({}, {"form_token": ""}, {"form_token": "0" * 64}, {"form_token": "é"}):
        answer = browser.client.post(path, data={**data, "email": ANN, "password": f"password of {ANN}"})
        assert answer.status_code == 400
        assert "Fill it in again" in answer.text
    assert browser.get("/studio/").status_code == 200  # still logged in


def test_a_form_token_of_another_browser_is_refused(browser: Any) -> None:
    other = FormTokens([b"a key of these tests"]).make("the cookie of somebody else")
    assert browser.client.post("/studio/log-out", data={"form_token": other}).status_code == 400


def test_after_the_log_out_the_cookie_is_worth_nothing(browser: Any) -> None:
    cookie = browser.client.get_cookie("datagen_session", path="/studio").value
    token = browser.form_token(browser.page("/studio/"))
    assert browser.client.post("/studio/log-out", data={"form_token": token}).status_code == 303
    assert browser.store.values == {}
    browser.client.set_cookie("datagen_session", cookie, path="/studio", secure=True)
    assert browser.get("/studio/").status_code == 303


def test_a_session_ends_when_it_is_not_used(browser: Any) -> None:
    browser.store.now += sessions.IDLE_SECONDS - 1
    assert browser.get("/studio/").status_code == 200
    browser.store.now += sessions.IDLE_SECONDS - 1
    assert browser.get("/studio/").status_code == 200
    browser.store.now += sessions.IDLE_SECONDS
    assert browser.get("/studio/").status_code == 303


def test_a_session_that_is_used_all_the_time_ends_after_a_working_day(browser: Any) -> None:
    for _ in range(sessions.LONGEST_SECONDS // 3600 - 1):
        browser.store.now += 3600
        assert browser.get("/studio/").status_code == 200
    browser.store.now += 3600
    assert browser.get("/studio/").status_code == 303


def test_a_session_with_some_projects_ends_after_an_hour(stranger: Any) -> None:
    """Which projects they are is read at the log-in alone."""
    stranger.accounts.restricted[ANN] = frozenset(range(1000))
    stranger.log_in()
    stranger.store.now += sessions.LONGEST_RESTRICTED_SECONDS - 1
    assert stranger.get("/studio/").status_code == 200
    stranger.store.now += 1
    assert stranger.get("/studio/").status_code == 303


def test_a_log_out_during_a_refresh_ends_the_session(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_member(_account: Any) -> bool:
        browser.store.values.clear()  # the log-out of another tab
        return True

    monkeypatch.setattr(browser.accounts, "is_member", is_member)
    browser.store.now += sessions.REFRESH_SECONDS
    browser.get("/studio/")
    assert browser.store.values == {}


def test_a_person_who_was_removed_loses_the_session_at_the_next_refresh(browser: Any) -> None:
    del browser.accounts.people[ANN]
    assert browser.get("/studio/").status_code == 200
    browser.store.now += sessions.REFRESH_SECONDS
    assert browser.get("/studio/").status_code == 303
    assert browser.store.values == {}


def test_label_studio_is_asked_once_a_refresh(browser: Any) -> None:
    browser.store.now += sessions.REFRESH_SECONDS
    for _ in range(5):
        browser.get("/studio/")
    assert browser.accounts.asked == 1


def test_pages_are_shown_while_label_studio_is_away_and_it_is_asked_again_soon(browser: Any) -> None:
    browser.accounts.is_on = False
    browser.store.now += sessions.REFRESH_SECONDS
    assert browser.get("/studio/").status_code == 200
    browser.accounts.is_on = True
    del browser.accounts.people[ANN]
    browser.store.now += sessions.RETRY_SECONDS
    assert browser.get("/studio/").status_code == 303


def test_a_session_that_somebody_wrote_or_copied_in_redis_is_not_accepted(browser: Any) -> None:
    [(name, (value, until))] = browser.store.values.items()
    forged = sessions._name("a token of an attacker")
    browser.store.values[forged] = (value, until)  # a signed value, under another name
    browser.client.set_cookie("datagen_session", "a token of an attacker", path="/studio", secure=True)
    assert browser.get("/studio/").status_code == 303
    browser.store.values[forged] = ('{"email": "root"}', until)
    assert browser.get("/studio/").status_code == 303
    assert name != forged


@pytest.mark.parametrize("path", ["/studio/pictures/1/sample/1/small", "/studio/pictures/1/input/1/small"])
def test_pictures_need_a_session(stranger: Any, path: str) -> None:
    assert stranger.get(path).status_code == 401


@pytest.mark.parametrize(
    "address",
    [
        "//evil.example/",
        "https://evil.example/studio/",
        "/\\evil.example",
        "/studio/\\evil",
        "/studio//evil.example",
        "/studio/../images",
        "/studio/%2e%2e/user/logout",
        "javascript:alert(1)",
        "/studio/\n/evil",
        "/images/x.png",
        "studio/",
        "/studio/" + "x" * 2000,
        "/studio/é",
        "http://[",
    ],
)
def test_after_the_log_in_nothing_leads_elsewhere(stranger: Any, address: str) -> None:
    assert safe_target(address) == "/studio/"
    assert stranger.log_in(next=address).location == "/studio/"


def test_a_large_form_is_refused(stranger: Any) -> None:
    assert stranger.log_in(password="x" * 20_000).status_code == 413


def test_pages_allow_no_script_of_others_no_frame_and_no_storing(browser: Any) -> None:
    for path in ("/studio/", f"/studio/studies/{browser.study.id}", "/studio/nothing", "/studio/log-in"):
        answer = browser.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert " style=" not in answer.text
        assert "<style" not in answer.text
