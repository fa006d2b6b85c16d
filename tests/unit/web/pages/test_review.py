"""The review sheet: what it shows whom, in which order, and what a sent verdict answers, with and without a script."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from benches.page_rows import add_batch
from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.domain.verdict import Opinion, VerdictRule
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SampleRow, ShardRow
from datagen.store.tables.studies import StudyRow
from datagen.web.pages import review_views
from datagen.workflow.reviews.page_verdicts import LATE
from datagen.workflow.study_pages import review_view
from studio import ROUND, verdict_result

BO = "bo@example.com"
JSON = {"Accept": "application/json"}


def sheet_of(browser: Any, number: int = 1) -> str:
    return f"/studio/studies/{browser.study.id}/round/{number}/review"


def samples_of(browser: Any) -> list[SampleRow]:
    return browser.study.samples_of(browser.study.batches(BatchKind.ROUND)[0])


def verdict_at(browser: Any, place: int = 0) -> str:
    return f"/studio/verdicts/{browser.study.id}/{samples_of(browser)[place].id}"


def send(browser: Any, *, place: int = 0, script: bool = True, **form: Any) -> Any:
    """Send a verdict from the sheet."""
    data = {"form_token": browser.form_token(browser.page(sheet_of(browser))), **form}
    return browser.client.post(verdict_at(browser, place), data=data, headers=JSON if script else {})


def judged_by_bo(browser: Any, *opinions: str) -> None:
    with browser.studio.client.acting_as(2, BO):
        browser.study.judge(*(verdict_result(opinion, comment="as Bo says") for opinion in opinions))
    browser.studio.settle()


def use_rule(browser: Any, rule: VerdictRule) -> None:
    with browser.studio.services.database.write() as session:
        session.get_one(StudyRow, browser.study.id).verdict_rule = rule


def card_of(page: str, number: int) -> str:
    return next(card for card in page.split("<li ")[1:] if f'data-number="{number}"' in card)


# -- verdicts with a script


def test_a_verdict_is_saved_in_the_persons_name_and_shown_on_the_sheet(browser: Any) -> None:
    answer = send(browser, opinion="bad", reason=["too small", "edges show"], comment="hardly there")
    assert answer.status_code == 200
    assert answer.json == {"note": "", "others": [], "is_disputed": False}
    [row] = browser.study.verdicts()
    assert (row.reviewer, row.opinion, row.comment) == ("ann@example.com", Opinion.BAD, "hardly there")
    page = browser.page(sheet_of(browser))
    assert f">1</span> of {ROUND} images judged by you" in page
    card = card_of(page, 1)
    assert 'value="bad" aria-pressed="true"' in card
    assert 'value="too small" checked' in card
    assert "hardly there</textarea>" in card


def test_a_verdict_is_taken_back(browser: Any) -> None:
    send(browser, opinion="good")
    assert send(browser, opinion="none").status_code == 200
    assert browser.study.verdicts() == []


def test_a_disagreement_is_visible_to_both(browser: Any) -> None:
    judged_by_bo(browser, "good")
    answer = send(browser, opinion="bad")
    assert answer.json["is_disputed"]
    assert [(other["reviewer"], other["opinion"]) for other in answer.json["others"]] == [(BO, "good")]
    card = card_of(browser.page(sheet_of(browser)), 1)
    assert 'class="bad disputed"' in card
    assert BO in card
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in(BO)
    card = card_of(browser.page(sheet_of(browser)), 1)
    assert 'class="good disputed"' in card
    assert "ann@example.com" in card


@pytest.mark.parametrize(
    "form",
    [{}, {"opinion": "maybe"}, {"opinion": "good", "reason": "too green"}, {"opinion": "good", "reason": "x" * 99}],
)
def test_a_value_that_the_form_does_not_offer_is_refused(browser: Any, form: dict[str, str]) -> None:
    answer = send(browser, **form)
    assert (answer.status_code, answer.json["sentence"]) == (409, "Choose good or bad, and reasons of the list.")
    assert browser.study.verdicts() == []


def test_a_verdict_of_an_old_form_is_to_be_sent_from_a_new_page(browser: Any) -> None:
    answer = browser.client.post(verdict_at(browser), data={"form_token": "0" * 64, "opinion": "good"}, headers=JSON)
    assert answer.status_code == 400
    assert browser.study.verdicts() == []


def test_a_verdict_after_the_log_in_ended_is_to_be_sent_after_the_next_one(browser: Any) -> None:
    token = browser.form_token(browser.page(sheet_of(browser)))
    browser.client.delete_cookie("datagen_session", path="/studio")
    answer = browser.client.post(verdict_at(browser), data={"form_token": token, "opinion": "good"}, headers=JSON)
    assert (answer.status_code, answer.json["sentence"][:18]) == (401, "Your log-in ended.")


def test_a_verdict_while_label_studio_is_off_is_to_be_sent_later(browser: Any) -> None:
    browser.studio.client.switch_off()
    answer = send(browser, opinion="good")
    browser.studio.client.switch_on()
    assert answer.status_code == 503
    assert "Label Studio does not answer" in answer.json["sentence"]
    assert send(browser, opinion="good").status_code == 200


def test_nobody_judges_a_study_whose_projects_are_hidden(stranger: Any) -> None:
    stranger.accounts.restricted[BO] = frozenset()
    stranger.log_in(BO)
    token = stranger.form_token(stranger.page("/studio/"))
    data = {"form_token": token, "opinion": "good"}
    assert stranger.client.post(verdict_at(stranger), data=data, headers=JSON).status_code == 409
    assert stranger.get(sheet_of(stranger)).status_code == 404
    assert stranger.study.verdicts() == []


def test_a_verdict_on_a_closed_round_says_that_it_does_not_count(browser: Any) -> None:
    browser.study.act(StudyEvent.STOP)
    browser.studio.settle()
    assert send(browser, opinion="good").json["note"] == LATE
    page = browser.page(sheet_of(browser))
    assert "This round accepts no more verdicts." in page
    assert "too late" in card_of(page, 1)


# -- without a script


def test_a_form_leads_back_to_its_image_with_a_sentence(browser: Any) -> None:
    answer = send(browser, script=False, opinion="good")
    sample = samples_of(browser)[0]
    assert (answer.status_code, answer.location) == (303, f"{sheet_of(browser)}#image-{sample.id}")
    assert "Your verdict “good” is saved." in browser.page(sheet_of(browser))


def unsaved(answer: Any) -> dict[str, str]:
    """The fields of the page that has a verdict to be sent again."""
    assert "Your verdict is not saved" in answer.text
    return dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', answer.text))


def test_a_form_that_label_studio_cannot_take_is_kept_on_a_page(browser: Any) -> None:
    browser.studio.client.switch_off()
    answer = send(browser, script=False, opinion="bad", reason="too small", comment="a <b>")
    browser.studio.client.switch_on()
    assert answer.status_code == 503
    fields = unsaved(answer)
    assert {name: fields[name] for name in ("opinion", "reason")} == {"opinion": "bad", "reason": "too small"}
    assert "a &lt;b&gt;" in answer.text
    assert browser.client.post(verdict_at(browser), data={**fields, "comment": "a <b>"}).status_code == 303
    assert browser.study.verdicts()[0].comment == "a <b>"


def test_a_form_after_the_log_in_ended_is_kept_and_sent_after_the_next_one(browser: Any) -> None:
    token = browser.form_token(browser.page(sheet_of(browser)))
    browser.client.delete_cookie("datagen_session", path="/studio")
    answer = browser.client.post(verdict_at(browser), data={"form_token": token, "opinion": "good", "comment": ""})
    assert answer.status_code == 401
    assert 'href="/studio/log-in"' in answer.text
    browser.log_in()
    assert browser.client.post(verdict_at(browser), data=unsaved(answer)).status_code == 303
    assert len(browser.study.verdicts()) == 1


def test_a_form_is_kept_on_a_page_while_the_database_does_not_answer(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("", {}, ConnectionError())

    monkeypatch.setattr(review_views, "judge", away)
    answer = send(browser, script=False, opinion="good")
    assert (answer.status_code, unsaved(answer)["opinion"]) == (503, "good")


def test_a_comment_that_is_too_long_for_a_row_is_kept_on_the_page(browser: Any) -> None:
    answer = send(browser, script=False, opinion="good", comment="x" * 4_001)
    assert answer.status_code == 409
    assert unsaved(answer)["comment"] == "x" * 4_001


# -- what the sheet shows


def test_another_verdict_is_hidden_until_ones_own_if_verdicts_have_to_agree(browser: Any) -> None:
    use_rule(browser, VerdictRule.ALL_AGREE)
    judged_by_bo(browser, "good", "good")
    page = browser.page(sheet_of(browser))
    assert BO not in page
    assert "as Bo says" not in page
    assert page.count("1 verdict of others, shown after yours") == 2
    assert page.count(" data-open") == ROUND
    answer = send(browser, opinion="good")
    assert [other["reviewer"] for other in answer.json["others"]] == [BO]
    assert BO in card_of(browser.page(sheet_of(browser)), 1)
    assert BO not in card_of(browser.page(sheet_of(browser)), 2)


def test_people_who_share_the_work_see_what_is_judged_already(browser: Any) -> None:
    judged_by_bo(browser, "good", "bad")
    page = browser.page(sheet_of(browser))
    assert page.count(BO) == 2
    assert page.count(" data-open") == ROUND - 2
    assert f">{ROUND - 2}</span> without a verdict of anybody" in page


def test_what_teaches_most_comes_first_as_in_label_studio(browser: Any) -> None:
    for sample, probability in zip(samples_of(browser), (0.9, 0.2, 0.45), strict=True):
        with browser.studio.services.database.write() as session:
            session.execute(
                update(SampleRow)
                .where(SampleRow.id == sample.id)
                .values(body={**sample.body, "probability": probability})
            )
    assert re.findall(r'data-number="(\d)"', browser.page(sheet_of(browser))) == ["3", "2", "1"]


def test_a_sheet_has_pages_and_a_verdict_leads_back_to_its_page(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_view, "IMAGES_A_PAGE", 2)
    first = browser.page(sheet_of(browser))
    assert f"{sheet_of(browser)}?after=2" in first
    second = browser.page(f"{sheet_of(browser)}?after=2")
    assert re.findall(r'data-number="(\d)"', second) == ["3"]
    assert f'href="{sheet_of(browser)}"' in second
    assert send(browser, place=2, script=False, opinion="good").location.startswith(f"{sheet_of(browser)}?after=2#")
    assert browser.page(f"{sheet_of(browser)}?after=99999")
    assert browser.page(f"{sheet_of(browser)}?after=x")


def test_an_image_without_a_task_has_a_sentence_in_place_of_the_form(browser: Any) -> None:
    sample = samples_of(browser)[0]
    browser.studio.client.delete_tasks(browser.study.projects[ProjectKind.PREVIEWS], [sample.task_id])
    browser.studio.settle()
    assert "Not to be judged: its review task was deleted." in card_of(browser.page(sheet_of(browser)), 1)
    with browser.studio.services.database.write() as session:
        session.execute(update(ShardRow).where(ShardRow.id == sample.shard_id).values(published_at=None))
    assert "Not to be judged: its review task is being made." in card_of(browser.page(sheet_of(browser)), 1)


def test_spot_checks_are_judged_and_a_run_is_not(browser_in: Callable[[StudyState], Any]) -> None:
    browser = browser_in(StudyState.ACCEPTED)
    browser.log_in()
    [run] = browser.study.batches(BatchKind.RUN)
    with browser.studio.services.database.write() as session:
        add_batch(session, session.get_one(BatchRow, run.id).spec, BatchKind.SPOT, run.number, 2)
    root = f"/studio/studies/{browser.study.id}"
    assert browser.page(f"{root}/spot/{run.number}/review").count("<form") == 3
    assert f"{root}/spot/{run.number}/review" in browser.page(f"{root}/spot/{run.number}")
    assert browser.get(f"{root}/run/{run.number}/review").status_code == 404


def test_a_sheet_is_small_and_takes_few_statements(browser: Any) -> None:
    with browser.studio.services.database.write() as session:
        spec = session.get_one(BatchRow, browser.study.batches()[0].id).spec
        add_batch(session, spec, BatchKind.ROUND, 7, 400)
    page = browser.page(sheet_of(browser, 7))
    assert page.count("<form") == review_view.IMAGES_A_PAGE + 1
    assert len(page.encode()) < 200_000
