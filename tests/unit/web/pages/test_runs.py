"""The list of runs, and a run's images as a table: filters, orders, pages, figures and the CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from benches.page_rows import CONCEPTS, add_batch, digest_of
from datagen.domain.lifecycle import StudyState
from datagen.domain.verdict import Opinion
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, SampleFactsRow, SampleRow, SpecRow
from datagen.store.tables.reviews import VerdictRow
from datagen.workflow.generation.sample_table import ORDERS
from datagen.workflow.study_pages.run_view import IMAGES_A_PAGE, orientation_of
from datagen.workflow.study_pages.runs_view import RUNS_A_PAGE

#: Number of images of the large run.
COUNT = 150


@pytest.fixture
def browser(browser_in: Callable[[StudyState], Any]) -> Any:
    """Ann, on a studio whose study has a second run of 150 images, two of which were judged in spot checks."""
    browser = browser_in(StudyState.ACCEPTED)
    browser.log_in()
    with browser.studio.services.database.write() as session:
        spec = session.get_one(SpecRow, browser.study.batches(BatchKind.RUN)[0].spec_id)
        spec.body = {
            **spec.body,
            "concepts": [{**spec.body["concepts"][0], "image": photo("c", "c.jpg")}, *spec.body["concepts"]],
        }
        add_batch(session, spec, BatchKind.RUN, 2, COUNT)
        checks = add_batch(session, spec, BatchKind.SPOT, 2, COUNT)
        for index, opinion in ((3, Opinion.GOOD), (4, Opinion.BAD)):
            sample = session.query(SampleRow).filter_by(batch_id=checks.id, index=index).one()
            session.add(
                VerdictRow(
                    annotation_id=index, sample_id=sample.id, opinion=opinion, reasons=[], reviewer="bo", updated_at="x"
                )
            )
    return browser


def photo(text: str, name: str) -> dict[str, Any]:
    return {"digest": digest_of(text), "name": name, "width": 640, "height": 480}


def path(browser: Any, **query: object) -> str:
    return f"/studio/studies/{browser.study.id}/run/2?" + "&".join(f"{name}={value}" for name, value in query.items())


def indices(page: str) -> list[int]:
    return [int(index) for index in re.findall(r'name="index" value="(\d+)"', page)]


def all_indices(browser: Any, **query: object) -> list[int]:
    """The indices on all pages, in order."""
    all_found: list[int] = []
    address: str | None = path(browser, **query)
    while address is not None:
        page = browser.page(address)
        all_found += indices(page)
        more = re.search(r'href="([^"]+)">Next images', page)
        address = more[1].replace("&amp;", "&") if more else None
    return all_found


def rows(browser: Any) -> list[SampleFactsRow]:
    run = browser.study.batches(BatchKind.RUN)[-1]
    with browser.studio.rows() as session:
        return session.query(SampleFactsRow).filter_by(batch_id=run.id).order_by(SampleFactsRow.index).all()


@pytest.mark.parametrize("order", ORDERS)
def test_pages_in_each_order_hold_every_image_once(browser: Any, order: str) -> None:
    name = order.removeprefix("-")
    expected = sorted(rows(browser), key=lambda row: row.index)
    expected.sort(key=lambda row: getattr(row, name), reverse=order.startswith("-"))
    assert len(indices(browser.page(path(browser, sort=order)))) == IMAGES_A_PAGE
    assert all_indices(browser, sort=order) == [row.index for row in expected]


def test_filters_leave_what_matches_all_of_them(browser: Any) -> None:
    run_rows = rows(browser)
    chosen = all_indices(browser, min_size=30, max_size=40, place="top-left", sort="size")
    assert chosen
    assert set(chosen) == {row.index for row in run_rows if 30 <= row.size <= 40 and row.places & 1}
    assert all_indices(browser, label="scratch") == list(range(COUNT))
    assert all_indices(browser, label="Scratch") == []
    assert set(all_indices(browser, background="background 7.jpg")) == {7, 57, 107}


def test_images_are_filtered_by_the_photo_of_their_concept(browser: Any) -> None:
    assert f'<option value="{digest_of("c")[:12]}">c.jpg' in browser.page(path(browser))
    assert all_indices(browser, concept=digest_of("c")[:12]) == list(range(COUNT))
    assert CONCEPTS
    assert all_indices(browser, concept="0" * 12) == []


@pytest.mark.parametrize(("verdict", "expected"), [("good", [3]), ("bad", [4])])
def test_images_are_filtered_by_the_verdicts_of_spot_checks(browser: Any, verdict: str, expected: list[int]) -> None:
    assert all_indices(browser, verdict=verdict) == expected
    assert expected[0] not in all_indices(browser, verdict="unjudged")
    assert f"<td>{verdict}</td>" in browser.page(path(browser, verdict=verdict))


@pytest.mark.parametrize(
    "query", [{"min_size": "big"}, {"place": "here"}, {"verdict": "great"}, {"max_size": "9" * 30}]
)
def test_a_value_that_cannot_be_compared_has_a_sentence_and_hides_nothing(browser: Any, query: dict[str, str]) -> None:
    page = browser.page(path(browser, **query))
    assert 'role="alert"' in page
    assert len(indices(page)) == IMAGES_A_PAGE


def test_a_page_after_an_image_that_is_gone_begins_anew(browser: Any) -> None:
    assert indices(browser.page(path(browser, after=10**9)))[0] == 0
    assert indices(browser.page(path(browser, after="x", sort="nonsense")))[0] == 0


def test_a_download_of_what_the_filter_matches_holds_that_alone(browser: Any) -> None:
    page = f"/studio/studies/{browser.study.id}/run/1?min_size=1"
    form = browser.page(page)
    assert 'name="filter_min_size" value="1"' in form
    action = f"/studio/studies/{browser.study.id}/run/1/download"
    browser.act(action, page, which="matching", filter_min_size="1", format="coco")
    browser.studio.settle()
    assert "Download 3 images" in browser.page(page)
    browser.act(action, page, which="matching", filter_min_size="9999", format="coco")
    assert "No image of the run matches" in browser.page(page)


def test_the_table_is_saved_as_csv_with_its_filter_and_order(browser: Any) -> None:
    answer = browser.get(f"/studio/downloads/{browser.study.id}/run/2/images.csv?min_size=40&sort=-size")
    assert answer.mimetype == "text/csv"
    saved = list(csv.DictReader(io.StringIO(answer.text)))
    assert [int(row["index"]) for row in saved] == all_indices(browser, min_size=40, sort="-size")
    assert {"image", "labels", "size_px", "background", "verdict", "task"} <= set(saved[0])
    assert browser.get(f"/studio/downloads/{browser.study.id}/run/2/images.csv?min_size=x").status_code == 400


@pytest.mark.parametrize("beginning", ["=", "\n=", "\uff1d"])
def test_a_name_in_the_csv_is_no_formula(browser: Any, beginning: str) -> None:
    with browser.studio.services.database.write() as session:
        for row in session.query(SampleFactsRow):
            row.background = f"{beginning}HYPERLINK(1)"
    answer = browser.get(f"/studio/downloads/{browser.study.id}/run/2/images.csv")
    names = {row["background"] for row in csv.DictReader(io.StringIO(answer.text, newline=""))}
    assert names == {f"'{beginning}HYPERLINK(1)"}


def test_figures_are_those_of_the_chosen_label(browser: Any) -> None:
    page = browser.page(path(browser))
    for title in ("Orientation, degrees from the horizontal", "Instances an image", "Longer side of the boxes"):
        assert title in page
    assert f"{COUNT} instances in {COUNT} images" in page


@pytest.mark.parametrize(
    ("points", "degrees"),
    [
        ([(0, 0), (100, 0), (100, 4), (0, 4)], 0),
        ([(0, 0), (4, 0), (4, 100), (0, 100)], 90),
        ([(0, 100), (4, 100), (104, 0), (100, 0)], 45),
        ([(0, 0), (100, 100), (96, 100), (0, 4)], 135),
        ([(0, 0), (50, 0), (50, 50), (0, 50)], None),
        ([(0, 0), (1, 1)], None),
    ],
)
def test_the_orientation_is_that_of_the_longest_extent(points: list[tuple[int, int]], degrees: int | None) -> None:
    orientation = orientation_of([{"points": points}])
    assert (
        orientation is None
        if degrees is None
        else orientation == pytest.approx(degrees, abs=2) or orientation == pytest.approx(180 + degrees, abs=2)
    )


def test_runs_are_listed_with_filters_the_newest_first(browser: Any) -> None:
    with browser.studio.services.database.write() as session:
        spec = session.query(SpecRow).first()
        for number in range(3, 3 + RUNS_A_PAGE):
            run = add_batch(session, spec, BatchKind.RUN, number, 1)
            run.state, run.requested_by = WorkState.FAILED, "bo@example.com"
    page = browser.page("/studio/runs")
    assert page.count("<tr>") == RUNS_A_PAGE + 1
    more = re.search(r'href="([^"]+)">Older runs', page)
    assert more is not None
    assert f'/studies/{browser.study.id}/run/2"' in browser.page(more[1])
    assert browser.page("/studio/runs?state=done").count("<tr>") == 3
    assert browser.page("/studio/runs?who=BO@").count("<tr>") == RUNS_A_PAGE + 1
    assert "No run matches" in browser.page("/studio/runs?who=nobody")
    assert "No run matches" in browser.page("/studio/runs?study=999")
    assert 'href="/studio/runs"' in browser.page("/studio/")


def test_runs_of_hidden_studies_are_not_listed(browser: Any) -> None:
    browser.accounts.restricted["bo@example.com"] = frozenset()
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in("bo@example.com")
    page = browser.page("/studio/runs")
    assert "There is no run yet" in page
    assert browser.study.name not in page
    assert browser.get(path(browser)).status_code == 404
    assert browser.get(f"/studio/downloads/{browser.study.id}/run/2/images.csv").status_code == 404


def test_a_run_that_was_rendered_has_the_facts_of_each_image(browser: Any) -> None:
    with browser.studio.rows() as session:
        run = session.query(BatchRow).filter_by(kind=BatchKind.RUN, number=1).one()
        facts = session.query(SampleFactsRow).filter_by(batch_id=run.id).all()
        samples = {row.index: row for row in session.query(SampleRow).filter_by(batch_id=run.id)}
    assert {row.index for row in facts} == set(samples)
    for row in facts:
        body = samples[row.index].body
        assert row.instances == len(body["instances"])
        assert row.background == body["provenance"]["background"]["name"]
        assert all(f"\n{instance['label']}\n" in row.labels for instance in body["instances"])


@pytest.mark.parametrize("order", ORDERS)
def test_a_filter_and_an_order_together_hold_what_matches_in_that_order(browser: Any, order: str) -> None:
    name = order.removeprefix("-")
    matching = [row for row in rows(browser) if row.size >= 25 and row.labels == "\nscratch\n"]
    expected = sorted(matching, key=lambda row: row.index)
    expected.sort(key=lambda row: getattr(row, name), reverse=order.startswith("-"))
    assert len(expected) > IMAGES_A_PAGE
    assert all_indices(browser, sort=order, min_size=25, label="scratch") == [row.index for row in expected]
