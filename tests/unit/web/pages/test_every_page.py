"""Every page of a study in every state answers, and each link on it leads to a page that answers."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from html import unescape
from typing import Any

import pytest

from datagen.domain.lifecycle import StudyState


def links(page: str) -> set[str]:
    """The addresses of these pages that a page links to or shows."""
    found = {unescape(address) for address in re.findall(r'(?:href|src)="([^"]+)"', page)}
    return {address for address in found if address.startswith("/studio")}


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
