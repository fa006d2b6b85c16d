"""Cloning a study on its page: a form, a page with the consequences, and the clone in the background."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.lifecycle import StudyState
from datagen.errors import LabelStudioUnavailable
from datagen.store.tables.studies import StudyRow
from datagen.workflow.studies import clone
from datagen.workflow.studies.audit import audit_lines


def root(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}"


def send(browser: Any, **form: str) -> Any:
    return browser.act(f"{root(browser)}/clone", root(browser), **form)


def confirm(browser: Any, **form: str) -> Any:
    """Send the form, and that of the page that asks."""
    asked = send(browser, **form)
    assert asked.status_code == 200, asked.text
    given = dict(re.findall(r'<input type="hidden" name="(name|version|confirmed)" value="([^"]*)">', asked.text))
    answer = browser.send(f"{root(browser)}/clone", asked.text, **given)
    for thread in threading.enumerate():
        if thread.name == "page-work":
            thread.join(30)
    return answer


def clone_row(browser: Any, name: str) -> StudyRow | None:
    with browser.studio.rows() as session:
        return session.scalar(select(StudyRow).where(StudyRow.name == name))


def test_the_form_offers_every_version_and_the_newest_first(browser: Any) -> None:
    page = browser.page(root(browser))
    assert f'value="{browser.study.name} copy"' in page
    assert re.findall(r'<option value="(\d*)">', page.split('id="clone"')[1]) == ["1", ""]
    assert f'href="{root(browser)}#clone"' in browser.page(f"{root(browser)}/settings")


def test_a_study_without_a_version_offers_none(browser_in: Callable[[StudyState], Any]) -> None:
    browser = browser_in(StudyState.COLLECTING)
    browser.log_in()
    assert 'name="version"' not in browser.page(root(browser))
    assert "begins with the settings of the installation" in send(browser, name="Line 4").text


def test_the_consequences_are_asked_first_and_nothing_is_created(browser: Any) -> None:
    page = send(browser, name="Plates <b>4</b>", version="1").text
    assert 'Clone as “<span dir="auto">Plates &lt;b&gt;4&lt;/b&gt;</span>”?' in page
    for line in (
        "Six new projects are created",
        "6 concept photos, 6 canvas photos and 6 backgrounds become inputs",
        "begins with the settings of version 1",
        "verdicts and runs are not copied",
    ):
        assert line in page, line
    assert clone_row(browser, "Plates <b>4</b>") is None
    assert browser.studio.client.find_projects("Plates") == []


def test_a_confirmed_clone_is_created_with_its_inputs_and_the_settings(browser: Any) -> None:
    assert confirm(browser, name="Line 4", version="1").location == "/studio/"
    assert "“Line 4” is being created from" in browser.page("/studio/")
    browser.studio.settle()
    row = clone_row(browser, "Line 4")
    assert row is not None
    assert row.starting_point["origin"] == f"“{browser.study.name}”, version 1"
    page = browser.page(f"/studio/studies/{row.id}")
    assert "<b>6</b>" in page
    [line] = [each for each in audit_lines(browser.studio.services.database, "Line 4") if "cloned" in each["what"]]
    assert (line["who"], line["what"]) == ("ann@example.com", f"cloned from “{browser.study.name}”, version 1")


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"name": "ab"}, "give 3 to 50 characters"),
        ({"name": "Line 4", "version": "7"}, "has no version 7"),
        ({"name": "Line 4", "version": "newest"}, "Give the version as a number"),
    ],
)
def test_what_cannot_be_cloned_is_refused(browser: Any, form: dict[str, str], sentence: str) -> None:
    assert send(browser, **form).status_code == 303
    assert sentence in browser.page(root(browser))


def test_a_name_that_is_taken_is_refused(browser: Any) -> None:
    other = browser.studio.open_study(inputs=False)
    send(browser, name=other.name)
    assert f"There is another study named “{other.name}”" in browser.page(root(browser))


def test_a_person_who_does_not_see_every_project_may_not_clone(browser: Any) -> None:
    browser.accounts.restricted["bo@example.com"] = frozenset(browser.study.projects.values())
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in("bo@example.com")
    send(browser, name="Line 4", confirmed="yes")
    assert "so you may not create a study" in browser.page(root(browser))
    assert clone_row(browser, "Line 4") is None


def test_a_person_who_lacks_a_project_of_the_study_learns_nothing_of_it(browser: Any) -> None:
    shown = browser.page(root(browser))
    browser.accounts.restricted["bo@example.com"] = frozenset()
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in("bo@example.com")
    token = browser.form_token(browser.page("/studio/"))
    assert browser.study.name in shown
    answer = browser.client.post(f"{root(browser)}/clone", data={"form_token": token, "name": "Line 4"})
    assert answer.status_code == 303
    assert "There is no study at this address" in browser.page("/studio/")


def test_a_forged_form_clones_nothing(browser: Any) -> None:
    answer = browser.client.post(
        f"{root(browser)}/clone", data={"form_token": "x", "name": "Line 4", "confirmed": "yes"}
    )
    assert answer.status_code == 400


def test_a_clone_that_stops_says_why_and_is_completed_by_another(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: Any, **__: Any) -> None:
        raise LabelStudioUnavailable("http://10.0.0.1 does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(clone, "add_from_project", unavailable)
        confirm(browser, name="Line 4", version="1")
    history = browser.page(f"{root(browser)}/history")
    assert "cloning as “Line 4” stopped, and can be begun again: Label Studio does not answer." in history
    assert "10.0.0.1" not in history
    assert "what it lacks is added" in send(browser, name="Line 4", version="1").text
    confirm(browser, name="Line 4", version="1")
    browser.studio.settle()
    row = clone_row(browser, "Line 4")
    assert row is not None
    assert "<b>6</b>" in browser.page(f"/studio/studies/{row.id}")
