"""Two versions beside each other: what differs, in words and as a table, and their rounds."""

from __future__ import annotations

from typing import Any

import pytest

from benches.page_rows import add_batch, add_version, judge
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SpecRow


@pytest.fixture
def page(browser: Any) -> str:
    """The address of the comparison, in a study of three versions, each refined from the one before."""
    body = browser.study.specs()[0].body
    with browser.studio.services.database.write() as session:
        for version in (2, 3):
            parameters = {**body["parameters"], "contrast": {"low": version / 10}, "note": "<b>" * version}
            changed = {**body, "parameters": parameters, "backgrounds": body["backgrounds"][version:]}
            spec = add_version(session, browser.study.id, version, changed)
            judge(session, add_batch(session, spec, BatchKind.ROUND, version, 6))
    return f"/studio/studies/{browser.study.id}/compare"


def test_the_newest_version_is_shown_beside_the_one_before(browser: Any, page: str) -> None:
    shown = browser.page(page)
    assert "<h1>Version 2 and version 3</h1>" in shown
    assert shown.count("<b>4</b> good, <b>2</b> bad") == 2
    assert shown.count("/small-outline") == 12
    assert '<th scope="row" class="code">contrast.low</th><td>0.2</td><td>0.3</td>' in shown
    assert "&lt;b&gt;&lt;b&gt;</td>" in shown
    assert "<td>4 images</td><td>3 images</td>" in shown
    assert '<th scope="row" class="code">engine' not in shown


def test_changes_are_said_for_each_version_between(browser: Any, page: str) -> None:
    shown = browser.page(f"{page}?left=1&right=3")
    assert [shown.count(f"<h3>Version {version}</h3>") for version in (1, 2, 3)] == [0, 1, 1]
    assert shown.count("Contrast: 1.0 → 0.9") == 2
    assert "<td>—</td><td>0.3</td>" in shown


@pytest.mark.parametrize("query", ["left=3&right=1", "left=2&right=2", "left=x", "right=2"])
def test_any_two_versions_can_be_compared(browser: Any, page: str, query: str) -> None:
    assert '<h2 id="table">' in browser.page(f"{page}?{query}")


def test_a_version_without_parameters_has_no_row_without_a_name(browser: Any, page: str) -> None:
    with browser.studio.services.database.write() as session:
        spec = session.get_one(SpecRow, browser.study.specs()[0].id)
        spec.body = {**spec.body, "parameters": {}}
    assert '<th scope="row" class="code"></th>' not in browser.page(f"{page}?left=1&right=3")


def test_a_version_that_is_not_there_has_a_sentence(browser: Any, page: str) -> None:
    answer = browser.get(f"{page}?left=9")
    assert (answer.status_code, "has no version 9" in answer.text) == (404, True)


def test_one_version_is_compared_with_nothing(browser: Any) -> None:
    answer = browser.get(f"/studio/studies/{browser.study.id}/compare")
    assert (answer.status_code, "there is nothing to compare" in answer.text) == (404, True)
