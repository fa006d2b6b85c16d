"""The button of an image's page that renders it again."""

from __future__ import annotations

import subprocess
import threading
from typing import Any

import pytest
from sqlalchemy import select

from datagen.errors import Refused
from datagen.store.tables.batches import SampleRow
from datagen.web.pages import reproductions
from datagen.web.pages.background import MOST_WAITING, BackgroundWork
from datagen.web.pages.reproductions import Reproduced, Reproductions, render_in_process


def sample_page(browser: Any) -> str:
    with browser.studio.services.database.read() as session:
        sample_id = session.scalars(select(SampleRow.id).order_by(SampleRow.id).limit(1)).one()
    return f"/studio/studies/{browser.study.id}/samples/{sample_id}"


def wait_for_page_work() -> None:
    for thread in threading.enumerate():
        if thread.name == "page-work":
            thread.join(30)


def test_an_image_is_rendered_again_with_the_same_bytes(browser: Any) -> None:
    path = sample_page(browser)
    assert ">Render it again<" in browser.page(path)
    assert browser.act(f"{path}/reproduce", path).location == f"{path}#again"
    wait_for_page_work()
    page = browser.page(path)
    assert "Image: the same bytes<br>Mask: the same bytes" in page
    assert ">Render it once more<" in page


def test_an_image_with_other_bytes_is_said_to_differ(browser: Any) -> None:
    path = sample_page(browser)
    with browser.studio.services.database.write() as session:
        rows = session.scalars(select(SampleRow).order_by(SampleRow.id).limit(2)).all()
        rows[0].body = {**rows[0].body, "image": rows[1].body["image"]}
    browser.act(f"{path}/reproduce", path)
    wait_for_page_work()
    assert "Image: other pixels (" in browser.page(path)


def test_an_image_whose_inputs_are_gone_is_not_rendered_and_the_page_says_why(browser: Any) -> None:
    path = sample_page(browser)
    with browser.studio.services.database.read() as session:
        body = session.scalars(select(SampleRow).order_by(SampleRow.id).limit(1)).one().body
    browser.studio.services.images.delete(body["provenance"]["background"]["digest"])
    browser.act(f"{path}/reproduce", path)
    wait_for_page_work()
    assert "It could not be rendered again: " in browser.page(path)


def test_a_sample_of_another_study_is_not_rendered(browser: Any) -> None:
    other = browser.studio.open_study(inputs=False)
    path = sample_page(browser)
    foreign = path.replace(f"/studies/{browser.study.id}/", f"/studies/{other.id}/")
    browser.act(f"{foreign}/reproduce", path)
    wait_for_page_work()
    assert ">Render it again<" in browser.page(path)


def test_an_image_is_rendered_once_at_a_time() -> None:
    begun, may_end, rendered = threading.Event(), threading.Event(), []

    def render(key: str) -> Reproduced:
        rendered.append(key)
        begun.set()
        may_end.wait(30)
        return Reproduced(is_same=True)

    work = Reproductions(BackgroundWork(), render)
    assert work.start("a")
    assert begun.wait(30)
    assert not work.start("a")
    assert work.is_running("a")
    for number in range(MOST_WAITING - 1):
        assert work.start(f"b{number}")
    with pytest.raises(Refused, match="Too many tasks are under way"):
        work.start("c")
    assert rendered == ["a"], "the others wait for their turn"
    may_end.set()
    wait_for_page_work()
    assert not work.is_running("a")
    assert work.result("a") == Reproduced(is_same=True)


def test_work_that_fails_may_be_started_again() -> None:
    work = BackgroundWork()
    assert work.start("a", lambda: 1 / 0)
    wait_for_page_work()
    assert work.start("a", lambda: None)


def test_a_rendering_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_slow(*_: Any, **__: Any) -> Any:
        raise subprocess.TimeoutExpired("datagen", 600)

    monkeypatch.setattr(reproductions.subprocess, "run", too_slow)
    assert "more than 10 minutes" in render_in_process("a").problem


@pytest.mark.parametrize("printed", [b"", b"no JSON\n"])
def test_a_rendering_without_a_result_is_a_problem(monkeypatch: pytest.MonkeyPatch, printed: bytes) -> None:
    ended = subprocess.CompletedProcess([], 1, printed, b"killed")
    monkeypatch.setattr(reproductions.subprocess, "run", lambda *_, **__: ended)
    assert "ended without a result" in render_in_process("a").problem


def test_work_whose_thread_cannot_be_started_may_be_started_later(monkeypatch: pytest.MonkeyPatch) -> None:
    work, done = BackgroundWork(), threading.Event()

    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_thread)
        with pytest.raises(Refused, match="no room for another task"):
            work.start("a", done.set)
    assert not work.has("a")
    assert work.start("a", done.set)
    assert done.wait(30)
