"""Actions of the pages: in whose name they are, what they refuse, and what the next page says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyState
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow


def state_of(browser: Any) -> StudyState:
    with browser.studio.services.database.read() as session:
        return session.get_one(StudyRow, browser.study.id).state


def study_page(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}"


def test_an_action_is_carried_out_in_the_name_of_who_is_logged_in_and_the_next_page_says_so_once(browser: Any) -> None:
    page = study_page(browser)
    answer = browser.act(f"{page}/decide", page, action="stop", note="no more")
    assert (answer.status_code, answer.location) == (303, page)
    assert state_of(browser) is StudyState.STOPPED
    assert "“stop” was decided by ann@example.com." in browser.page(page)
    assert "was decided by ann@example.com." not in browser.page(page)
    with browser.studio.services.database.read() as session:
        newest = session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(1)).one()
    assert (newest.who, newest.what) == ("ann@example.com", "stop, note: no more")


def test_a_refused_action_changes_nothing_and_its_reason_is_shown(browser: Any) -> None:
    page = study_page(browser)
    browser.act(f"{page}/decide", page, action="go on")
    assert state_of(browser) is StudyState.REVIEWING
    assert 'role="alert"' in browser.page(page)


@pytest.mark.parametrize("form", [{}, {"action": "explode"}, {"action": "approve", "count": "many"}])
def test_a_value_that_the_form_does_not_offer_is_refused_with_a_sentence(browser: Any, form: dict[str, str]) -> None:
    page = study_page(browser)
    assert browser.act(f"{page}/decide", page, **form).status_code == 303
    assert state_of(browser) is StudyState.REVIEWING
    assert 'class="note bad"' in browser.page(page)


def test_a_forged_form_changes_nothing(browser: Any) -> None:
    answer = browser.client.post(f"{study_page(browser)}/decide", data={"action": "stop", "form_token": "0" * 64})
    assert answer.status_code == 400
    assert "Load the page again" in answer.text
    assert state_of(browser) is StudyState.REVIEWING


def test_nobody_acts_without_a_log_in(browser_in: Callable[[StudyState], Any]) -> None:
    stranger = browser_in(StudyState.REVIEWING)
    answer = stranger.client.post(f"{study_page(stranger)}/decide", data={"action": "stop"})
    assert answer.status_code == 303
    assert "/log-in" in answer.location
    assert state_of(stranger) is StudyState.REVIEWING


def test_a_person_acts_on_no_study_whose_projects_are_hidden(browser: Any) -> None:
    page = study_page(browser)
    browser.accounts.restricted["bo@example.com"] = frozenset()
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in("bo@example.com")
    token = browser.form_token(browser.page("/studio/"))
    browser.client.post(f"{page}/decide", data={"form_token": token, "action": "stop"})
    assert state_of(browser) is StudyState.REVIEWING


def test_a_notice_of_another_session_is_not_shown(browser: Any) -> None:
    page = study_page(browser)
    browser.act(f"{page}/decide", page, action="go on")
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in("bo@example.com")
    assert 'class="note bad"' not in browser.page(page)
