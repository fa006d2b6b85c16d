"""The number of SQL statements of a page does not grow with what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from benches.page_rows import add_batch, add_version, judge
from datagen.domain.lifecycle import StudyState
from datagen.store.tables.base import BatchKind


@contextmanager
def counted_statements(browser: Any) -> Iterator[list[str]]:
    """The SELECT statements that the block sends."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    engine = browser.studio.services.database.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


def number_of(browser: Any, path: str) -> int:
    browser.page(path)  # what is kept from then on is not counted
    with counted_statements(browser) as sent:
        browser.page(path)
    return len(sent)


@pytest.fixture
def browser(browser_in: Callable[[StudyState], Any]) -> Any:
    """Ann, on a studio whose study has a run."""
    browser = browser_in(StudyState.ACCEPTED)
    browser.log_in()
    return browser


def grow(browser: Any, versions: int, samples: int) -> None:
    """Add versions to the study, each with a judged round and audit of ``samples`` samples, and a large run."""
    body = browser.study.specs()[-1].body
    first = len(browser.study.specs()) + 1
    with browser.studio.services.database.write() as session:
        for version in range(first, first + versions):
            spec = add_version(session, browser.study.id, version, body)
            judge(session, add_batch(session, spec, BatchKind.ROUND, version, samples))
            judge(session, add_batch(session, spec, BatchKind.AUDIT, version, samples))
        add_batch(session, spec, BatchKind.RUN, first + versions, 40 * samples)


def paths(browser: Any) -> dict[str, str]:
    """The page that each address of a growing study shows; the newest round and run."""
    study = browser.study
    root = f"/studio/studies/{study.id}"
    rounds, runs = study.batches(BatchKind.ROUND), study.batches(BatchKind.RUN)
    return {
        "home": "/studio/",
        "study": root,
        "round": f"{root}/round/{rounds[-1].number}",
        "run": f"{root}/run/{runs[-1].number}",
        "sample": f"{root}/samples/{study.samples_of(rounds[-1])[0].id}",
    }


def test_a_page_sends_as_many_statements_for_many_versions_as_for_few(browser: Any) -> None:
    grow(browser, 1, 4)
    few = {name: number_of(browser, path) for name, path in paths(browser).items()}
    grow(browser, 12, 20)
    many = {name: number_of(browser, path) for name, path in paths(browser).items()}
    assert many == few
    assert max(many.values()) <= 40


def test_the_home_page_sends_as_many_statements_for_many_studies_as_for_few(browser: Any) -> None:
    browser.studio.open_study(inputs=False)
    few = number_of(browser, "/studio/")
    for _ in range(6):
        browser.studio.open_study(inputs=False)
    assert number_of(browser, "/studio/") == few <= 15


def test_a_picture_sends_few_statements(browser: Any) -> None:
    sample = browser.study.samples_of(browser.study.batches()[0])[0]
    path = f"/studio/pictures/{browser.study.id}/sample/{sample.id}/small-outline"
    browser.get(path)
    with counted_statements(browser) as sent:
        assert browser.get(path).status_code == 200
    assert len(sent) <= 3
