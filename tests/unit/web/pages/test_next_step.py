"""The one next step of a study leads to the decisions on its page, to a review sheet, or to Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.learning.effect import wilson
from datagen.store.tables.base import BatchKind
from studio import verdict_result

LABEL_STUDIO = "http://label-studio.test:8080"

#: State → the text of the button, and the project that it leads to; None: the decisions on the study's page; Previews:
#: the review sheet, and the task of the first preview in Label Studio beside it.
STEPS = {
    StudyState.COLLECTING: ("Build the first preview", None),
    StudyState.PREVIEWING: ("See how far it is", None),
    StudyState.REVIEWING: ("Judge 3 previews", ProjectKind.PREVIEWS),
    StudyState.AUDITING: ("See how far it is", None),
    StudyState.GENERATING: ("See how far it is", None),
    StudyState.PAUSED: ("Decide whether the run goes on", None),
    StudyState.ACCEPTED: ("Open the dataset", ProjectKind.DATASET),
    StudyState.STOPPED: ("Open it again", None),
}


@pytest.mark.parametrize("state", StudyState)
def test_the_step_of_each_state_is_a_link_to_where_it_is_done(
    browser_in: Callable[[StudyState], Any], state: StudyState
) -> None:
    browser = browser_in(state)
    browser.log_in()
    text, kind = STEPS[state]
    for path in ("/studio/", f"/studio/studies/{browser.study.id}"):
        button = browser.page(path).split(f">{text}<")[0].rsplit('href="', 1)[1]
        if kind is None:
            anchor = "" if text == "See how far it is" else "#decide"  # without it, the page is loaded again
            assert button.startswith(f'/studio/studies/{browser.study.id}{anchor}"')
            assert 'id="decide"' in browser.page(f"/studio/studies/{browser.study.id}")
        elif kind is ProjectKind.PREVIEWS:
            assert button.startswith(f'/studio/studies/{browser.study.id}/round/1/review"')
            assert f"{LABEL_STUDIO}/projects/{browser.study.projects[kind]}/data?task=" in browser.page(path)
        else:
            assert button.startswith(f"{LABEL_STUDIO}/projects/{browser.study.projects[kind]}/data")


def test_the_step_of_a_round_is_its_first_preview_without_a_verdict(browser: Any) -> None:
    tasks = browser.study.round_tasks()
    browser.study.judge(verdict_result("good"))
    browser.studio.settle()
    page = browser.page("/studio/")
    assert "Judge 2 previews" in page
    assert f"data?task={tasks[1].id}" in page
    assert "1 of 3 judged" in page
    browser.study.judge(*[verdict_result("good")] * 3)
    browser.studio.settle()
    assert "Decide what follows" in browser.page("/studio/")


def test_a_study_without_inputs_says_which_are_missing(browser: Any) -> None:
    new = browser.studio.open_study(inputs=False)
    page = browser.page(f"/studio/studies/{new.id}")
    assert "6 more concept images are needed for a preview." in page
    assert f"{LABEL_STUDIO}/projects/{new.projects[ProjectKind.CONCEPTS]}/data" in page


def test_a_round_is_shown_with_the_share_of_good_verdicts_and_its_interval(browser: Any) -> None:
    browser.study.judge(verdict_result("good"), verdict_result("bad", "too strong"), verdict_result("good"))
    browser.studio.settle()
    page = browser.page(f"/studio/studies/{browser.study.id}")
    assert "67 %" in page
    low, high = wilson(2, 3)
    assert f"({100 * low:.0f} % to {100 * high:.0f} %)" in page
    gallery = browser.page(f"/studio/studies/{browser.study.id}/round/1?judgement=bad")
    assert gallery.count('<li class="bad">') == 1
    assert "too strong" in gallery
    assert '<li class="good">' not in gallery


def test_the_gallery_filters_by_background_and_goes_on_page_by_page(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.workflow.study_pages.gallery_view.PICTURES_A_PAGE", 2)
    root = f"/studio/studies/{browser.study.id}/round/1"
    first = browser.page(root)
    assert first.count('<li class="not-judged">') == 2
    assert "3 images in all" in first
    second = browser.page(f"{root}?after=1")
    assert second.count('<li class="not-judged">') == 1
    background = browser.study.samples_of(browser.study.batches(BatchKind.ROUND)[0])[0].body["provenance"]["background"]
    assert browser.page(f"{root}?background={background['name']}").count('<li class="not-judged">') == 1
