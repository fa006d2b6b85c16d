"""Pausing and resuming a run on its page: who paused it, what happens meanwhile, and outdated pages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import update

from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.store.tables.base import WorkState
from datagen.store.tables.batches import ShardRow


def run_page(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}/run/1"


def test_a_run_paused_by_hand_says_by_whom_and_what_happens_and_is_resumed_on_its_page(
    browser_in: Callable[[StudyState], Any],
) -> None:
    browser = browser_in(StudyState.GENERATING)
    browser.log_in()
    page, study_page = run_page(browser), f"/studio/studies/{browser.study.id}"
    answer = browser.act(f"{study_page}/decide", page, action="pause", run="1", note="lunch")
    assert (answer.status_code, answer.location) == (303, page)
    paused = browser.page(page)
    assert "Paused by ann@example.com: lunch, <time" in paused
    assert "No further shard is begun until somebody resumes the run." in paused
    assert 'value="pause"' not in paused
    live = browser.get(f"{page}/live").json
    assert live["live"], "somebody may resume it"
    assert "Paused by ann@example.com" in live["parts"]["run_progress"]
    of_study = browser.page(study_page)
    assert "ann@example.com paused the run. “go on” resumes it." in of_study
    assert "Paused by ann@example.com: lunch" in of_study
    assert ">Resume the run<" in of_study

    browser.act(f"{study_page}/decide", page, action="go on", run="1")
    assert browser.study.row().state is StudyState.GENERATING
    assert "Paused by" not in browser.page(page)


def test_a_pause_on_an_outdated_page_is_refused_with_who_paused_the_run(
    browser_in: Callable[[StudyState], Any],
) -> None:
    browser = browser_in(StudyState.GENERATING)
    browser.log_in()
    page = run_page(browser)
    shown = browser.page(page)
    browser.study.act(StudyEvent.PAUSE)
    answer = browser.send(f"/studio/studies/{browser.study.id}/decide", shown, action="pause", run="1")
    assert (answer.status_code, answer.location) == (303, page)
    assert "the run was paused by tester at" in browser.page(page)


def test_a_run_whose_last_shards_are_being_rendered_offers_no_pause(browser_in: Callable[[StudyState], Any]) -> None:
    browser = browser_in(StudyState.GENERATING)
    browser.log_in()
    assert 'value="pause"' in browser.page(run_page(browser))
    with browser.studio.services.database.write() as session:
        session.execute(update(ShardRow).values(state=WorkState.RUNNING, due_at=datetime.max.replace(tzinfo=UTC)))
    assert 'value="pause"' not in browser.page(run_page(browser))
    assert "no image of the run is left to begin" in browser.page(f"/studio/studies/{browser.study.id}")
