"""Downloads and pushes on a run's page: the form, the file and its ranges, who may have it, and the live parts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from datagen.domain.lifecycle import StudyState
from datagen.errors import LabelStudioUnavailable
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.handovers import HandoverRow
from datagen.web import download_sending
from datagen.web.pages import live_views
from datagen.workflow.generation.sample_table import TableFilter
from datagen.workflow.handovers.requests import request_download
from datagen.workflow.handovers.wishes import DownloadWish

ANN, BO = "ann@example.com", "bo@example.com"


@pytest.fixture
def browser(browser_in: Callable[[StudyState], Any]) -> Any:
    """Ann, on a studio whose study has a run of three images."""
    browser = browser_in(StudyState.ACCEPTED)
    browser.log_in()
    return browser


def run_page(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}/run/1"


def download_of(browser: Any) -> tuple[str, bytes]:
    """Make a download; return the address of its file, and the whole of it."""
    handover_id = request_download(browser.studio.services, browser.study.id, DownloadWish(run=1), ANN)
    browser.studio.settle()
    address = f"/studio/downloads/{browser.study.id}/{handover_id}"
    answer = browser.get(address)
    assert answer.status_code == 200
    return address, answer.data


def newest(browser: Any) -> HandoverRow:
    with browser.studio.rows() as session:
        row = session.query(HandoverRow).order_by(HandoverRow.id.desc()).first()
        assert row is not None
        return row


def test_a_download_is_chosen_in_a_form_made_and_linked_until_it_expires(browser: Any) -> None:
    page = run_page(browser)
    answer = browser.act(f"{page}/download", page, which="all", format=["coco", "voc"], split="", images="png")
    assert (answer.status_code, answer.location) == (303, f"{page}#handovers")
    waiting = browser.page(page)
    assert "The download is being made." in waiting
    assert "It waits for a worker." in waiting
    browser.studio.settle()
    ready = browser.page(page)
    link = f"/studio/downloads/{browser.study.id}/{newest(browser).id}"
    assert f'href="{link}"' in ready
    answer = browser.get(link)
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert zipfile.ZipFile(io.BytesIO(answer.data)).testzip() is None


def test_images_ticked_in_the_table_are_downloaded_alone(browser: Any) -> None:
    page = run_page(browser)
    index = browser.study.samples_of(browser.study.batches(BatchKind.RUN)[0])[1].index
    assert f'name="index" value="{index}" form="download-form"' in browser.page(page)
    browser.act(f"{page}/download", page, which="chosen", index=str(index), format="coco")
    browser.studio.settle()
    assert newest(browser).done == 1


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"which": "chosen", "format": "coco"}, "No image is chosen"),
        ({"which": "all"}, "Choose one format or more"),
        ({"which": "all", "format": "coco", "quality": "best"}, "is no quality"),
        ({"which": "all", "format": "coco", "split": "1,2,3,4"}, "no split"),
    ],
)
def test_a_wrong_value_is_refused_with_a_sentence(browser: Any, form: dict[str, str], sentence: str) -> None:
    page = run_page(browser)
    browser.act(f"{page}/download", page, **form)
    assert sentence in browser.page(page)
    assert not browser.studio.queue.waiting


def test_a_download_goes_on_where_it_was_interrupted(browser: Any) -> None:
    address, whole = download_of(browser)
    first = browser.client.get(address, headers={"Range": "bytes=0-99"}, buffered=True)
    assert (first.status_code, first.data) == (206, whole[:100])
    assert first.headers["Content-Range"] == f"bytes 0-99/{len(whole)}"
    rest = browser.client.get(
        address, headers={"Range": "bytes=100-", "If-Range": first.headers["ETag"]}, buffered=True
    )
    assert (rest.status_code, rest.data) == (206, whole[100:])
    last = browser.client.get(address, headers={"Range": "bytes=-10"}, buffered=True)
    assert last.data == whole[-10:]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Range": "bytes=999999999-"}, 416),
        ({"Range": "bytes=0-1,4-5"}, 200),
        ({"Range": "lines=1-2"}, 200),
        ({"Range": "bytes=x"}, 200),
        ({"Range": "bytes=0-9", "If-Range": '"another file"'}, 200),
        ({"Range": "bytes=0-9", "If-Range": '"a"b"'}, 200),
    ],
)
def test_ranges_that_cannot_be_sent_alone(browser: Any, headers: dict[str, str], status: int) -> None:
    address, whole = download_of(browser)
    answer = browser.client.get(address, headers=headers, buffered=True)
    assert answer.status_code == status
    if status == 200:
        assert answer.data == whole
    else:
        assert answer.headers["Content-Range"] == f"bytes */{len(whole)}"


def test_a_file_is_sent_to_nobody_who_may_not_see_the_study(browser: Any) -> None:
    address, _ = download_of(browser)
    other = browser.studio.open_study(inputs=False)
    assert browser.get(address.replace(f"/{browser.study.id}/", f"/{other.id}/")).status_code == 404
    browser.client.delete_cookie("datagen_session", path="/studio")
    assert browser.get(address).status_code == 303
    browser.accounts.restricted[BO] = frozenset()
    browser.log_in(BO)
    assert browser.get(address).status_code == 404


def test_an_expired_file_has_a_sentence_in_its_place(browser: Any) -> None:
    address, _ = download_of(browser)
    browser.studio.services.download_files.remove(newest(browser).file)
    answer = browser.get(address)
    assert answer.status_code == 404
    assert "not kept any more" in answer.text


def test_few_files_and_tables_are_sent_to_a_person_at_a_time(browser: Any) -> None:
    address, _ = download_of(browser)
    table = f"/studio/downloads/{browser.study.id}/run/1/images.csv"
    sent = [address, table, address, table][: download_sending.MAX_SENT_TO_ACCOUNT]
    open_answers = [browser.client.get(path, buffered=False) for path in sent]
    for path in (address, table):
        refused = browser.get(path)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "30")
        assert "are being sent to you" in refused.text
    for answer in open_answers:
        answer.close()
    assert browser.get(address).status_code == 200
    assert browser.get(table).status_code == 200


def test_few_files_of_a_study_are_sent_at_a_time() -> None:
    slots = download_sending.SendingSlots()
    accounts = range(download_sending.MAX_SENT_OF_STUDY)
    assert all(slots.take(1, account) for account in accounts)
    assert not slots.take(1, 99)
    assert slots.take(2, 99), "another study has its own"
    slots.release(1, 0)
    assert slots.take(1, 99)


def test_a_file_that_could_not_be_sent_takes_no_place(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address, _ = download_of(browser)

    def broken(*_args: Any) -> Any:
        raise ValueError

    with monkeypatch.context() as patch:
        patch.setattr(download_sending, "_ranged", broken)
        for _ in range(download_sending.MAX_SENT_OF_STUDY):
            assert browser.get(address).status_code == 500
    assert browser.get(address).status_code == 200


def test_a_handover_under_way_is_cancelled_by_its_form(browser: Any) -> None:
    page = run_page(browser)
    handover_id = request_download(browser.studio.services, browser.study.id, DownloadWish(run=1), ANN)
    browser.act(f"{page}/handovers/{handover_id}/cancel", page)
    assert newest(browser).state is WorkState.CANCELLED
    assert ">cancelled<" in browser.page(page)


def test_images_are_pushed_into_a_project_of_the_list(browser: Any) -> None:
    page = f"{run_page(browser)}/push"
    project = browser.studio.client.create_project("Mine", {})
    form = browser.page(page)
    assert f'<option value="{project.id}">Mine' in form
    assert not any(f'<option value="{own}">' in form for own in browser.study.projects.values())
    browser.act(page, page, project="", title="New one")
    browser.studio.settle()
    row = newest(browser)
    assert (row.state, row.done) == (WorkState.DONE, 3)
    assert f"Open project {row.wish['project_id']}" in browser.page(run_page(browser))


def test_what_is_stored_of_a_form_is_text_that_every_database_can_read(browser: Any) -> None:
    page = run_page(browser)
    browser.act(f"{page}/push", page, project="", title="New\x00one")
    assert newest(browser).wish["title"] == "New?one"
    table = TableFilter.of({"background": "a\x00b", "min_size": "\x00"})
    assert (table.background, table.min_size) == ("a?b", "?")


def test_a_person_who_does_not_see_every_project_cannot_push(browser: Any) -> None:
    page = f"{run_page(browser)}/push"
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.accounts.restricted[BO] = frozenset(browser.study.projects.values())
    browser.log_in(BO)
    assert "does not show you every project" in browser.page(page)
    token = browser.form_token(browser.page(run_page(browser)))
    browser.client.post(page, data={"form_token": token, "title": "New one"})
    assert browser.studio.client.find_projects("New one") == []
    assert not browser.studio.queue.waiting


def test_without_label_studio_the_form_says_why_there_are_no_projects(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(_part: str) -> None:
        raise LabelStudioUnavailable("Label Studio cannot be reached")

    monkeypatch.setattr(browser.studio.client, "find_projects", away)
    assert "Label Studio does not answer" in browser.page(f"{run_page(browser)}/push")


def test_the_live_parts_are_those_of_the_page(browser: Any) -> None:
    page = run_page(browser)
    request_download(browser.studio.services, browser.study.id, DownloadWish(run=1), ANN)
    state = json.loads(browser.page(f"{page}/live"))
    assert state["live"] is True
    whole = browser.page(page)
    for name, part in state["parts"].items():
        assert f'data-part="{name}"' in whole
        assert part.strip() in whole
    assert 'http-equiv="refresh"' in whole


def test_a_stream_tells_each_change_and_ends_when_nothing_is_expected(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    request_download(browser.studio.services, browser.study.id, DownloadWish(run=1), ANN)
    monkeypatch.setattr(live_views.time, "sleep", lambda _seconds: browser.studio.settle())
    answer = browser.get(f"/studio/streams/{browser.study.id}/run/1")
    assert answer.mimetype == "text/event-stream"
    states = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert [state["live"] for state in states] == [True, False]
    assert "ready" in states[-1]["parts"]["run_handovers"]


def test_a_run_under_way_says_how_far_its_shards_are(browser_in: Callable[[StudyState], Any]) -> None:
    browser = browser_in(StudyState.GENERATING)
    browser.log_in()
    page = browser.page(run_page(browser))
    assert "0 shards of" in page
    assert "no worker renders one at this moment" in page


@pytest.mark.parametrize(
    ("state", "action", "end"),
    [
        (StudyState.GENERATING, "cancel", StudyState.ACCEPTED),
        (StudyState.GENERATING, "pause", StudyState.PAUSED),
        (StudyState.PAUSED, "go on", StudyState.GENERATING),
    ],
)
def test_a_run_under_way_is_cancelled_and_a_paused_one_goes_on(
    browser_in: Callable[[StudyState], Any], state: StudyState, action: str, end: StudyState
) -> None:
    browser = browser_in(state)
    browser.log_in()
    page = run_page(browser)
    assert f'name="action" value="{action}"' in browser.page(page)
    browser.act(f"/studio/studies/{browser.study.id}/decide", page, action=action)
    assert browser.study.row().state is end
