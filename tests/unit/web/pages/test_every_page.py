"""Every page of a study in every state answers, and each link on it leads to a page that answers."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from benches.page_rows import add_batch
from datagen.domain.lifecycle import StudyState
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow, SpecRow


def links(page: str) -> set[str]:
    """The addresses of these pages that a page links to or shows."""
    addresses = {unescape(address) for address in re.findall(r'(?:href|src)="([^"]+)"', page)}
    return {address for address in addresses if address.startswith("/studio")}


def crawl(browser: Any) -> dict[str, str]:
    """Return address → content of everything that can be reached from the home page; each has to answer with 200."""
    waiting, seen = deque(["/studio/"]), {}
    while waiting:
        path = waiting.popleft()
        if path in seen:
            continue
        answer = browser.get(path)
        assert answer.status_code == 200, (path, answer.text)
        seen[path] = answer.text if answer.mimetype == "text/html" else ""
        waiting.extend(links(seen[path]))
    return seen


@pytest.mark.parametrize("state", StudyState)
def test_everything_that_can_be_reached_answers(browser_in: Callable[[StudyState], Any], state: StudyState) -> None:
    browser = browser_in(state)
    browser.log_in()
    seen = crawl(browser)
    assert f"/studio/studies/{browser.study.id}" in seen
    kinds = {path.split("?")[0].rsplit("/", 2)[-2] for path in seen}
    assert {"inputs"} <= kinds
    if state not in (StudyState.COLLECTING, StudyState.PREVIEWING):
        assert {"round", "samples"} <= kinds
    if state is StudyState.ACCEPTED:
        assert "run" in kinds


def test_rejected_candidates_have_a_gallery_and_are_no_work_of_their_own(
    browser_in: Callable[[StudyState], Any],
) -> None:
    browser = browser_in(StudyState.ACCEPTED)
    browser.log_in()
    run = browser.study.batches(BatchKind.RUN)[0]
    with browser.studio.services.database.write() as session:
        spec = session.get_one(SpecRow, run.spec_id)
        add_batch(session, spec, BatchKind.REJECTED, run.number, 3)
        session.get_one(BatchRow, run.id).rejections = {"candidates": 6, "rejected": 3, "exhausted": 0, "why": {}}
    root = f"/studio/studies/{browser.study.id}"
    assert browser.page(f"{root}/rejected/{run.number}").count('<li class="not-judged">') == 3
    assert f"{root}/rejected/{run.number}" in browser.page(f"{root}/run/{run.number}")
    assert "/rejected/" not in browser.page(root)
