"""Ticks that are kept while a person turns the pages of a table or of a search, without a script."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benches.page_rows import add_batch
from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyState
from datagen.errors import Refused
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SpecRow
from datagen.store.tables.handovers import HandoverRow
from datagen.web.pages import background_search, run_views
from datagen.web.pages.forms import MOST_IN_FORM
from datagen.web.pages.ticks import packed, unpacked
from datagen.workflow.inputs import task_search
from datagen.workflow.study_pages import run_view
from studio import good_inputs


@given(st.sets(st.integers(0, MOST_IN_FORM), max_size=300) | st.sets(st.integers(0, 400), max_size=300))
def test_what_is_packed_is_unpacked(numbers: set[int]) -> None:
    assert unpacked(packed(numbers), 300) == numbers


def test_field_that_names_the_same_range_again_and_again_is_refused() -> None:
    with pytest.raises(Refused, match="At most 10"):
        unpacked("1-10.1-10", 10)


def test_ranges_are_short() -> None:
    assert packed([9, 7, 8, 3]) == "3.7-9"
    assert packed([]) == ""


@pytest.mark.parametrize("text", ["a", "1-", "-1", "1,2", "1-2-3", "1234567890", "5-3", "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_damaged_field_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="cannot be read"):
        unpacked(text, 10)


@pytest.mark.parametrize("text", ["0-10", "1.2.3.4.5.6.7.8.9.10.11", "0-999999999", "0-1.0-10"])
def test_more_than_are_kept_are_refused_before_they_are_listed(text: str) -> None:
    with pytest.raises(Refused, match="At most 10 can be ticked"):
        unpacked(text, 10)


def fields(page: str) -> dict[str, Any]:
    """The hidden fields of a page, and its ticked boxes by their name."""
    hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', page))
    boxes = re.findall(r'<input type="checkbox" name="(task|index)" value="(\d+)"[^>]* checked', page)
    return {**hidden, **{name: [value for each, value in boxes if each == name] for name in ("task", "index")}}


# -- a run's table


@pytest.fixture
def run(browser_in: Callable[[StudyState], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A browser on a study whose second run has 10 images, shown in pages of 4."""
    browser = browser_in(StudyState.ACCEPTED)
    browser.log_in()
    [first] = browser.study.batches(BatchKind.RUN)
    with browser.studio.services.database.write() as session:
        add_batch(session, session.get_one(SpecRow, first.spec_id), BatchKind.RUN, 2, 10)
    monkeypatch.setattr(run_view, "IMAGES_A_PAGE", 4)
    return browser


def table(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}/run/2"


def turn(browser: Any, page: str, query: str, index: list[str], **button: str) -> str:
    """Turn to another page of a run's table with these images ticked on the shown one."""
    given_fields = {**fields(page), "index": index, **button}
    answer = browser.client.post(f"{table(browser)}/turn{query}", data=given_fields)
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def test_ticked_images_are_kept_on_other_pages_and_ticked_again_on_their_own(run: Any) -> None:
    first = run.page(table(run))
    assert re.findall(r'formaction="([^"]+)"[^>]*>Next images', first) == [f"{table(run)}/turn?after=3"]
    assert 'hidden><span role="status" data-tally="index"' in first
    second = turn(run, first, "?after=3", ["0", "2"])
    assert fields(second)["chosen"] == "0.2"
    assert fields(second)["index"] == []
    assert "2 images ticked, on this and other pages." in second
    third = turn(run, second, "?after=7", ["5"])
    assert "3 images ticked" in third
    back = turn(run, third, "", [])
    assert fields(back)["index"] == ["0", "2"]
    assert fields(back)["chosen"] == "5"
    assert "3 images ticked" in turn(run, back, "?after=3", ["0", "2"])
    assert "2 images ticked" in turn(run, back, "?after=3", ["0"]), "a tick that is removed is not kept"


def test_every_tick_can_be_removed(run: Any) -> None:
    page = turn(run, run.page(table(run)), "?after=3", ["0", "2"])
    cleared = turn(run, page, "?after=3", ["5"], clear="yes")
    assert (fields(cleared)["chosen"], fields(cleared)["index"]) == ("", [])
    assert 'hidden><span role="status"' in cleared


def test_the_page_keeps_its_filter_and_order(run: Any) -> None:
    page = turn(run, run.page(table(run)), "?sort=-index&min_size=1", ["0"])
    assert "Show all" in page
    assert 'value="-index" selected' in page


def test_a_download_has_the_ticked_images_of_all_pages(run: Any) -> None:
    page = turn(run, run.page(table(run)), "?after=3", ["0", "2"])
    assert 'value="chosen" checked' in page
    form = {**fields(page), "index": ["5"], "which": "chosen", "format": "coco"}
    assert run.client.post(f"{table(run)}/download", data=form).status_code == 303
    with run.studio.rows() as session:
        assert session.query(HandoverRow).one().wish["indices"] == [0, 2, 5]


def test_more_ticks_than_are_kept_are_refused_with_a_sentence(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_views, "MOST_TICKED", 2)
    answer = run.client.post(f"{table(run)}/turn", data={**fields(run.page(table(run))), "index": ["0", "1", "2"]})
    assert (answer.status_code, "At most 2 can be ticked" in answer.text) == (400, True)
    answer = run.client.post(f"{table(run)}/turn", data={**fields(run.page(table(run))), "index": ["x"]})
    assert answer.status_code == 400


def test_a_forged_form_turns_no_page(run: Any) -> None:
    assert run.client.post(f"{table(run)}/turn", data={"index": ["0"], "form_token": "x"}).status_code == 400


# -- a search for backgrounds


@pytest.fixture
def shelf(browser: Any, monkeypatch: pytest.MonkeyPatch) -> int:
    """A project of Label Studio with five photos; a page of a search shows two."""
    client = browser.studio.client
    project = client.create_project("Shelf", {"label_config": '<View><Image name="image" value="$image"/></View>'})
    data = [data for _, data, _ in good_inputs()[Role.BACKGROUND]]
    paths = client.upload(project.id, [(f"shelf {n}.png", data[n] + b"%d" % n) for n in range(5)])
    client.import_tasks(project.id, [{"data": {"image": path}} for path in paths])
    monkeypatch.setattr(task_search, "MOST_FOUND", 2)
    return int(project.id)


def search(browser: Any, page: str, **given_fields: Any) -> str:
    answer = browser.client.post(
        f"/studio/studies/{browser.study.id}/search-backgrounds", data={**fields(page), **given_fields}
    )
    assert answer.status_code == 200, answer.text
    return str(answer.text)


def first_matches(browser: Any, shelf: int) -> str:
    page = browser.page(f"/studio/studies/{browser.study.id}/inputs/background")
    return search(browser, page, project=str(shelf), column="image", operator="contains", value="")


def next_after(page: str) -> str:
    link = re.search(r'name="after" value="(\d+)">Next matches', page)
    assert link is not None, page
    return link[1]


def test_a_search_goes_on_behind_its_first_page(browser: Any, shelf: int) -> None:
    shown: list[str] = []
    page = first_matches(browser, shelf)
    while True:
        shown += re.findall(r'name="task" value="(\d+)"', page)
        if "Next matches" not in page:
            break
        page = search(browser, page, after=next_after(page))
    assert shown == [str(task.id) for task in browser.studio.client.tasks(shelf)]


def test_ticks_of_a_search_are_kept_and_new_matches_are_ticked(browser: Any, shelf: int) -> None:
    first = first_matches(browser, shelf)
    first_task, second_task = fields(first)["task"]
    second = search(browser, first, task=[second_task], after=next_after(first))
    assert fields(second)["chosen"] == second_task
    assert len(fields(second)["task"]) == 2
    assert "3 tasks ticked, on this and other pages." in second
    back = search(browser, second, task=[], after="0")
    assert fields(back)["task"] == [second_task], "what was shown before is as it was left"
    assert first_task in back


def test_ticks_of_all_pages_become_backgrounds(browser: Any, shelf: int) -> None:
    before = len(browser.study.tasks(ProjectKind.BACKGROUNDS))
    first = first_matches(browser, shelf)
    second = search(browser, first, task=fields(first)["task"][:1], after=next_after(first))
    browser.client.post(f"/studio/studies/{browser.study.id}/add-backgrounds", data=fields(second))
    assert len(browser.study.tasks(ProjectKind.BACKGROUNDS)) == before + 3


def test_cleared_ticks_of_a_search_stay_cleared_on_further_pages(browser: Any, shelf: int) -> None:
    cleared = search(browser, first_matches(browser, shelf), clear="yes")
    assert fields(cleared)["task"] == []
    assert fields(search(browser, cleared, after=next_after(cleared)))["task"] == []


def test_new_matches_are_not_ticked_beyond_the_limit(browser: Any, shelf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_search, "MOST_CHOSEN", 3)
    first = first_matches(browser, shelf)
    second = search(browser, first, after=next_after(first))
    assert "2 tasks ticked" in second
    assert fields(second)["task"] == []


def test_no_address_holds_a_tick(browser: Any, shelf: int) -> None:
    first = first_matches(browser, shelf)
    addresses = re.findall(r'(?:href|action|formaction)="([^"]+)"', search(browser, first, after=next_after(first)))
    assert not [address for address in addresses if "chosen" in address or "ticked" in address]
