"""Decisions on the page of a study: what is offered in each state, that each is done once, and how it is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest
from sqlalchemy import func, select

from datagen.domain.decision import ACTIONS
from datagen.domain.lifecycle import TABLE, StudyEvent, StudyState
from datagen.errors import LabelStudioUnavailable
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.decisions import submit
from studio import verdict_result

GOOD, BAD = verdict_result("good"), verdict_result("bad", "too strong")


def study_page(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}"


def decide(browser: Any, action: str, **form: str) -> Any:
    """Send the form of a decision on the study's page."""
    return browser.act(f"{study_page(browser)}/decide", study_page(browser), action=action, **form)


def state_of(browser: Any) -> StudyState:
    with browser.studio.services.database.read() as session:
        return session.get_one(StudyRow, browser.study.id).state


def number_of_batches(browser: Any) -> int:
    with browser.studio.services.database.read() as session:
        return session.scalar(select(func.count()).select_from(BatchRow)) or 0


def newest_audit_line(browser: Any) -> tuple[str, str]:
    with browser.studio.services.database.read() as session:
        row = session.scalars(select(AuditRow).order_by(AuditRow.id.desc()).limit(1)).one()
        return row.who, row.what


def offered(page: str) -> list[str]:
    return re.findall(r'<input type="hidden" name="action" value="([^"]+)">', page)


@pytest.mark.parametrize("state", StudyState)
def test_the_page_offers_what_is_possible_now_and_says_why_the_rest_is_not(
    browser_in: Callable[[StudyState], Any], state: StudyState
) -> None:
    browser = browser_in(state)
    browser.log_in()
    page = browser.page(study_page(browser))
    assert offered(page) == [action for action in ACTIONS if (state, action) in TABLE]
    for action in ACTIONS:
        assert (f"<li>“{action}” is not possible now: " in page) == ((state, action) not in TABLE)


def test_the_first_decision_is_shown_with_the_version_that_it_made(
    browser_in: Callable[[StudyState], Any],
) -> None:
    browser = browser_in(StudyState.COLLECTING)
    browser.log_in()
    decide(browser, "build preview", note="six photos of hall A")
    page = browser.page(study_page(browser))
    [line] = re.findall(r'<p class="decision">(.*?)</p>', page)
    assert "<b>Build preview</b>" in line
    assert "ann@example.com" in line
    assert '<q dir="auto">six photos of hall A</q>' in line


def test_what_is_missing_for_a_preview_is_said_and_the_preview_is_not_offered(browser: Any) -> None:
    new = browser.studio.open_study(inputs=False)
    page = browser.page(f"/studio/studies/{new.id}")
    assert offered(page) == ["stop"]
    assert "“build preview” is not possible now. Missing: " in page


def test_a_study_is_led_from_its_inputs_to_its_dataset_by_forms_alone(
    browser_in: Callable[[StudyState], Any],
) -> None:
    browser = browser_in(StudyState.COLLECTING)
    browser.log_in()
    assert "Makes version 1 from the inputs as they are now" in browser.page(study_page(browser))
    decide(browser, "build preview")
    assert state_of(browser) is StudyState.PREVIEWING
    browser.studio.settle()
    browser.study.judge(GOOD, GOOD, BAD)
    browser.studio.settle()
    page = browser.page(study_page(browser))
    assert "<b>2</b> good, <b>1</b> bad, <b>0</b> still to judge in preview round 1" in page
    assert "What was wrong: too strong (1)." in page
    decide(browser, "refine")
    browser.studio.settle()
    browser.study.judge(GOOD, GOOD, GOOD)
    browser.studio.settle()
    decide(browser, "audit", audit_count="2")
    assert state_of(browser) is StudyState.AUDITING
    browser.studio.settle()
    assert "of version 2" in browser.page(study_page(browser))
    decide(browser, "approve", count="4", name="first batch", note="well done")
    assert newest_audit_line(browser)[0] == "ann@example.com"
    browser.studio.settle()
    assert state_of(browser) is StudyState.ACCEPTED
    run = browser.study.batches(BatchKind.RUN)[0]
    assert (run.count, run.name, run.note, run.requested_by) == (4, "first batch", "well done", "ann@example.com")


def test_the_number_of_audited_samples_is_that_of_the_form(browser: Any) -> None:
    browser.study.judge(GOOD, GOOD, GOOD)
    browser.studio.settle()
    decide(browser, "audit", audit_count="2")
    assert [batch.count for batch in browser.study.batches(BatchKind.AUDIT)] == [2]


def test_a_form_that_is_sent_twice_starts_one_round(browser: Any) -> None:
    browser.study.judge(GOOD, GOOD, BAD)
    browser.studio.settle()
    shown, path = browser.page(study_page(browser)), f"{study_page(browser)}/decide"
    assert browser.send(path, shown, action="refine").status_code == 303
    before = number_of_batches(browser)
    browser.studio.settle()  # the new round waits for a decision, which the old form must not make
    assert browser.send(path, shown, action="refine").status_code == 303
    assert number_of_batches(browser) == before
    assert state_of(browser) is StudyState.REVIEWING
    sentence = "Nothing was started, because the page was out of date: “refine” was decided by ann@example.com at "
    assert sentence in browser.page(study_page(browser))


def test_of_two_people_who_decide_at_once_one_is_refused(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second decision arrives after everything was checked for the first one, and before it writes."""
    prepare = submit.prepare

    def prepare_while_another_decides(*given: Any) -> Any:
        monkeypatch.setattr(submit, "prepare", prepare)
        browser.study.act(StudyEvent.STOP)
        return prepare(*given)

    monkeypatch.setattr(submit, "prepare", prepare_while_another_decides)
    decide(browser, "build preview")  # which is possible in a stopped study, too
    assert state_of(browser) is StudyState.STOPPED
    assert "because the page was out of date: “stop” was decided by" in browser.page(study_page(browser))


def test_a_form_without_a_state_starts_nothing(browser: Any) -> None:
    decide(browser, "stop", state_token="")
    assert state_of(browser) is StudyState.REVIEWING


def test_what_has_to_be_confirmed_is_asked_on_a_page_with_one_button(browser: Any) -> None:
    note = "for Monday; \N{ARABIC LETTER BEH}\N{ARABIC LETTER YEH} \N{GRINNING FACE}"
    answer = decide(browser, "approve", count="4", name="night <b>shift</b>", note=note)
    assert answer.status_code == 200
    assert state_of(browser) is StudyState.REVIEWING
    page = answer.text
    assert "This approval stands on 0 of 3 previews judged." in page
    assert "Approve anyway" in page
    for of_elsewhere in ("press Update", "--confirm", "datagen approve"):
        assert of_elsewhere not in page
    assert "<b>shift</b>" not in page
    hidden = {unescape(k): unescape(v) for k, v in re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page)}
    assert (hidden["count"], hidden["name"], hidden["note"]) == ("4", "night <b>shift</b>", note)
    assert browser.client.post(f"{study_page(browser)}/decide", data=hidden).status_code == 303
    assert state_of(browser) is StudyState.GENERATING
    run = browser.study.batches(BatchKind.RUN)[0]
    assert (run.count, run.name, run.note) == (4, "night <b>shift</b>", note)


def test_a_confirmation_of_an_outdated_page_is_refused(browser: Any) -> None:
    page = decide(browser, "approve", count="4").text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    browser.study.act(StudyEvent.STOP)
    browser.client.post(f"{study_page(browser)}/decide", data=hidden)
    assert state_of(browser) is StudyState.STOPPED
    assert "because the page was out of date: “stop” was decided by" in browser.page(study_page(browser))


def test_without_label_studio_nothing_is_decided_and_what_was_filled_in_is_kept(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser.study.judge(GOOD, GOOD, GOOD)
    browser.studio.settle()

    def unavailable(*_: Any, **__: Any) -> None:
        raise LabelStudioUnavailable("http://10.1.2.3:8080 does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(browser.studio.client, "tasks", unavailable)
        answer = decide(browser, "approve", count="4", note="for Monday")
    assert answer.status_code == 503
    assert "Label Studio does not answer, so nothing was changed." in answer.text
    assert "10.1.2.3" not in answer.text
    assert state_of(browser) is StudyState.REVIEWING
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text))
    assert "confirmed" not in hidden
    browser.client.post(f"{study_page(browser)}/decide", data=hidden)
    assert browser.study.batches(BatchKind.RUN)[0].note == "for Monday"


def test_a_text_that_no_database_stores_is_kept_without_those_characters(browser: Any) -> None:
    decide(browser, "stop", note="line\x00 one\nline two")
    assert newest_audit_line(browser) == ("ann@example.com", "stop, note: line? one line two")


def test_a_note_of_a_megabyte_is_refused_and_starts_nothing(browser: Any) -> None:
    assert decide(browser, "stop", note="x" * 1_000_000).status_code == 413
    assert state_of(browser) is StudyState.REVIEWING
