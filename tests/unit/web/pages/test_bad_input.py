"""Names and comments of any kind, things that are gone, addresses that lead nowhere, and parts that do not answer."""

from __future__ import annotations

from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from datagen.store.tables.batches import SampleRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.reviews import VerdictRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.studies.maintenance import delete_study
from studio import verdict_result


def rename(browser: Any, name: str) -> None:
    with browser.studio.services.database.write() as session:
        session.get_one(StudyRow, browser.study.id).name = name


@pytest.mark.parametrize(
    "name", ["🧪" * 50, "‮gnp.tenalp‬ النسخة", "<script>alert(1)</script>", "{{ 7 * 7 }}", "a" * 200, "'\"><b>"]
)
def test_a_name_of_any_kind_is_shown_as_text(browser: Any, name: str) -> None:
    rename(browser, name)
    for path in ("/studio/", f"/studio/studies/{browser.study.id}", f"/studio/studies/{browser.study.id}/round/1"):
        page = browser.page(path)
        assert "<script>alert" not in page
        assert "<b>" not in page.split("</header>")[0]
        assert "{{ 7 * 7 }}" in page or "{{" not in name
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page or "<script" not in name


def test_a_comment_of_a_megabyte_is_cut_and_escaped(browser: Any) -> None:
    browser.study.judge(verdict_result("bad", comment="fine"))
    browser.studio.settle()
    comment = "<b>" + "wide " * 200_000
    with browser.studio.services.database.write() as session:
        session.execute(update(VerdictRow).values(comment=comment, reasons=["<i>", "too strong"]))
    sample = browser.study.samples_of(browser.study.batches()[0])[0]
    page = browser.page(f"/studio/studies/{browser.study.id}/samples/{sample.id}")
    assert len(page) < 40_000
    assert "&lt;b&gt;wide" in page
    gallery = browser.page(f"/studio/studies/{browser.study.id}/round/1?reason=%3Ci%3E")
    assert "&lt;i&gt;" in gallery


def test_a_sample_whose_picture_is_gone_has_a_page_and_a_sentence(browser: Any) -> None:
    sample = browser.study.samples_of(browser.study.batches()[0])[0]
    body = {**sample.body, "image": {**sample.body["image"], "digest": "0" * 64}}
    with browser.studio.services.database.write() as session:
        session.execute(update(SampleRow).where(SampleRow.id == sample.id).values(body=body))
    assert "Image 1" in browser.page(f"/studio/studies/{browser.study.id}/samples/{sample.id}")
    for variant in ("small-outline", "large", "close-0", "full"):
        answer = browser.get(f"/studio/pictures/{browser.study.id}/sample/{sample.id}/{variant}")
        assert answer.status_code == 404
        assert "There is no such picture" in answer.text


def test_a_study_that_was_deleted_while_its_page_was_open_is_a_sentence(browser: Any) -> None:
    paths = [f"/studio/studies/{browser.study.id}", f"/studio/studies/{browser.study.id}/round/1"]
    for path in paths:
        browser.page(path)
    delete_study(browser.studio.services, browser.study.name, "tester", with_projects=True)
    for path in paths:
        answer = browser.get(path)
        assert answer.status_code == 404
        assert "There is no study at this address" in answer.text
        assert "To the studies" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/studio/nothing",
        "/studio/studies/0",
        "/studio/studies/99999999999999999999",
        "/studio/studies/-1",
        "/studio/studies/1/round/99",
        "/studio/studies/1/nothing/1",
        "/studio/studies/1/samples/2147483647",
        "/studio/pictures/1/sample/1/nothing",
        "/studio/pictures/1/sample/1/close-999",
        "/studio/pictures/1/input/9007199254740992/small",
        "/studio/static/nothing.css",
        "/studio/static/..%2Fblueprint.py",
    ],
)
def test_an_address_that_leads_nowhere_is_a_sentence(browser: Any, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code == 404
    assert "<h1>Not here</h1>" in answer.text


@pytest.mark.parametrize(
    "query",
    ["before=x", "before=-1", "before=99999999999999999999", "search=%00", "search=%25", "search=" + "x" * 9000],
)
def test_an_odd_query_is_no_fault(browser: Any, query: str) -> None:
    assert browser.get(f"/studio/?{query}").status_code == 200
    assert (
        browser.get(f"/studio/studies/{browser.study.id}/round/1?{query}&after=x&show=x&judgement=x").status_code == 200
    )


def test_an_unusable_input_has_its_reason_beside_it(browser: Any) -> None:
    with browser.studio.services.database.write() as session:
        session.execute(
            update(InputRow)
            .where(InputRow.study_id == browser.study.id, InputRow.name == "pit-0.png")
            .values(digest=None, problem="the file is truncated <b>")
        )
    page = browser.page(f"/studio/studies/{browser.study.id}/inputs/concept")
    assert "The file is truncated &lt;b&gt;" in page
    assert "5 usable" in page


def test_without_the_database_a_page_says_so(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("select", {}, Exception("the connection is gone"))

    monkeypatch.setattr(type(browser.studio.services.database), "read", away)
    answer = browser.get("/studio/")
    assert answer.status_code == 503
    assert "The database does not answer" in answer.text


def test_without_redis_a_page_says_so(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: Any) -> None:
        raise RedisConnectionError

    monkeypatch.setattr(type(browser.store), "get", away)
    answer = browser.get("/studio/")
    assert answer.status_code == 503
    assert "Redis" in answer.text


def test_a_fault_inside_is_a_sentence_without_a_word_of_it(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("an inner secret")

    monkeypatch.setattr(type(browser.store), "get", broken)
    answer = browser.get("/studio/")
    assert answer.status_code == 500
    assert "secret" not in answer.text


def test_a_filter_that_nothing_matches_says_so(browser: Any) -> None:
    filtered = browser.page(f"/studio/studies/{browser.study.id}/round/1?judgement=bad")
    assert "No image matches the filter" in filtered
