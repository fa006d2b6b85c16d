"""The settings of a study: its name, description, archive and deletion; and its history."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.errors import InputProblem, LabelStudioUnavailable, NotReady, Refused, StoreUnavailable
from datagen.store.tables.installation import AuditRow
from datagen.store.tables.studies import StudyRow
from datagen.web.pages import study_settings
from datagen.workflow import services as workflow_services
from datagen.workflow.studies import editing
from datagen.workflow.studies.audit import audit_lines
from datagen.workflow.studies.editing import archive_study, edit_study
from datagen.workflow.studies.maintenance import delete_study
from datagen.workflow.studies.open import open_study
from fake_studio import ACCESS

EMOJI = "\N{GRINNING FACE}" * 50
RIGHT_TO_LEFT = "\N{HEBREW LETTER ALEF}\N{HEBREW LETTER BET}\N{HEBREW LETTER GIMEL} \N{ARABIC LETTER BEH}"


def root(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}"


def send(browser: Any, action: str, **form: str) -> Any:
    return browser.act(f"{root(browser)}/{action}", f"{root(browser)}/settings", **form)


def study_row(browser: Any) -> StudyRow | None:
    with browser.studio.services.database.read() as session:
        return session.get(StudyRow, browser.study.id)


def wait_for_page_work() -> None:
    for thread in threading.enumerate():
        if thread.name == "page-work":
            thread.join(30)


@pytest.mark.parametrize(
    "name", [EMOJI, RIGHT_TO_LEFT, "abc", "Plates <b>& more</b>"], ids=["emoji", "right to left", "short", "markup"]
)
def test_a_study_gets_any_name_and_a_description(browser: Any, name: str) -> None:
    send(browser, "edit", name=name, description=RIGHT_TO_LEFT * 10)
    row = study_row(browser)
    assert (row.name, row.description) == (name, RIGHT_TO_LEFT * 10)
    for path in (root(browser), "/studio/", f"{root(browser)}/settings", f"{root(browser)}/history"):
        page = browser.page(path)
        assert name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;") in page
        assert "<b>& more" not in page


@pytest.mark.parametrize("name", ["", "ab", "x" * 51, "turned \u202e text", "bell \x07"], ids=range(5))
def test_a_name_that_cannot_be_used_is_refused_and_the_old_one_stays(browser: Any, name: str) -> None:
    send(browser, "edit", name=name, description="new")
    row = study_row(browser)
    assert (row.name, row.description) == (browser.study.name, "")
    assert 'class="note bad"' in browser.page(f"{root(browser)}/settings")


def test_a_description_of_201_characters_is_refused(browser: Any) -> None:
    send(browser, "edit", name=browser.study.name, description="x" * 201)
    assert study_row(browser).description == ""


def test_a_short_name_of_before_stays_valid(browser: Any) -> None:
    with browser.studio.services.database.write() as session:
        session.get_one(StudyRow, browser.study.id).name = "ab"
    send(browser, "edit", name="ab", description="scratches")
    row = study_row(browser)
    assert (row.name, row.description) == ("ab", "scratches")


def test_the_name_of_another_study_is_refused(browser: Any) -> None:
    other = browser.studio.open_study(inputs=False)
    send(browser, "edit", name=other.name, description="")
    assert study_row(browser).name == browser.study.name


def test_projects_of_label_studio_follow_the_name_unless_a_person_named_them(browser: Any) -> None:
    client, projects = browser.studio.client, browser.study.projects
    client.update_project(projects[ProjectKind.CANVASES], {"title": "Where"})
    send(browser, "edit", name="Brushed plates", description="")
    assert client.project(projects[ProjectKind.CONCEPTS]).title == f"Brushed plates · {ProjectKind.CONCEPTS}"
    assert client.project(projects[ProjectKind.CANVASES]).title == "Where"


def test_a_name_whose_projects_others_have_in_label_studio_is_refused(browser: Any) -> None:
    browser.studio.client.create_project(f"Brushed plates · {ProjectKind.DATASET}", {})
    with pytest.raises(Refused, match="Label Studio has a project “Brushed plates · "):
        edit_study(browser.studio.services, browser.study.id, "ann", name="Brushed plates")


def test_a_name_that_was_half_written_to_label_studio_is_completed_by_the_next_try(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    services, client = browser.studio.services, browser.studio.client
    update, calls = client.update_project, []

    def fail_at_the_second(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise LabelStudioUnavailable("no answer")
        return update(*given)

    monkeypatch.setattr(client, "update_project", fail_at_the_second)
    with pytest.raises(LabelStudioUnavailable):
        edit_study(services, browser.study.id, "ann", name="Brushed plates")
    assert study_row(browser).name == browser.study.name
    edit_study(services, browser.study.id, "ann", name="Brushed plates")
    titles = {client.project(project).title for project in browser.study.projects.values()}
    assert titles == {f"Brushed plates · {kind}" for kind in ProjectKind}


def test_an_edit_of_nothing_writes_no_line(browser: Any) -> None:
    with browser.studio.services.database.read() as session:
        before = len(session.scalars(select(AuditRow)).all())
    edit_study(browser.studio.services, browser.study.id, "ann", name=browser.study.name, description="")
    with browser.studio.services.database.read() as session:
        assert len(session.scalars(select(AuditRow)).all()) == before


def test_the_history_has_each_line_with_who_and_goes_on_page_by_page(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datagen.workflow.study_pages.history_view.LINES_A_PAGE", 2)
    send(browser, "edit", name="Brushed plates", description="of <b>steel</b>")
    page = browser.page(f"{root(browser)}/history")
    assert "ann@example.com" in page
    assert "described as “of &lt;b&gt;steel&lt;/b&gt;”" in page
    assert f"renamed from “{browser.study.name}”" in page
    assert "opened with the labels" not in page
    older = page.split('">Older lines</a>')[0].rsplit('href="', 1)[1]
    lines = browser.page(older)
    while ">Older lines<" in lines:
        lines = browser.page(lines.split('">Older lines</a>')[0].rsplit('href="', 1)[1])
    assert "opened with the labels pit" in lines, "the lines of before have the new name, too"


def test_the_history_of_a_deleted_study_goes_to_no_other_one_of_its_name(browser: Any) -> None:
    services, name = browser.studio.services, browser.study.name
    with services.unit() as unit:
        unit.note(unit.lock_study(browser.study.id), "bo", "a secret of the deleted study")
    other = browser.studio.open_study(inputs=False)
    delete_study(services, name, "ann", with_projects=True)
    with pytest.raises(Refused, match="a deleted study was named"):
        edit_study(services, other.id, "eve", name=name)
    open_study(services, name, ["pit"], ACCESS, engine="composite", preview_size=3)
    with services.database.read() as session:
        study_id = session.scalars(select(StudyRow.id).where(StudyRow.name == name)).one()
    shown = browser.page(f"/studio/studies/{study_id}/history")
    assert "opened with the labels pit" in shown
    assert "a secret of the deleted study" not in shown
    edit_study(services, study_id, "eve", name="Brushed plates")
    kept = [line["what"] for line in audit_lines(services.database, name)]
    assert kept[-2:] == ["a secret of the deleted study", "deleted with its Label Studio projects"]


def test_an_archived_study_is_on_the_home_page_of_the_archive_alone(browser: Any) -> None:
    send(browser, "archive", archived="yes")
    assert browser.study.name not in browser.page("/studio/")
    assert "1 archived" in browser.page("/studio/")
    assert browser.study.name in browser.page("/studio/?archived=yes")
    assert "archived" in browser.page(root(browser))
    send(browser, "archive", archived="no")
    assert browser.study.name in browser.page("/studio/")


def test_the_page_lists_what_a_deletion_deletes(browser: Any) -> None:
    page = browser.page(f"{root(browser)}/settings")
    for line in ("18 photos", "1 version", "3 images of 1 preview round, 0 audits and 0 runs", "0 verdicts"):
        assert line in page, line
    for project in browser.study.projects.values():
        assert f"/projects/{project}/data" in page


def test_a_study_is_deleted_and_its_projects_stay(browser: Any) -> None:
    assert send(browser, "delete").location == "/studio/"
    wait_for_page_work()
    assert study_row(browser) is None
    assert browser.studio.client.project(browser.study.projects[ProjectKind.CONCEPTS])
    assert "is being deleted." in browser.page("/studio/")
    assert browser.get(root(browser)).status_code == 404


def test_a_study_is_deleted_with_its_projects_if_that_is_ticked(browser: Any) -> None:
    send(browser, "delete", projects="yes")
    wait_for_page_work()
    assert browser.studio.client.find_projects(browser.study.name) == []


def test_a_study_with_work_under_way_is_not_deleted(browser_in: Callable[[StudyState], Any]) -> None:
    browser = browser_in(StudyState.GENERATING)
    browser.log_in()
    assert ">cancel it first<" in browser.page(f"{root(browser)}/settings")
    send(browser, "delete")
    wait_for_page_work()
    assert study_row(browser).archived_at is None


def test_a_deletion_on_an_outdated_page_is_refused(browser: Any) -> None:
    shown = browser.page(f"{root(browser)}/settings")
    browser.study.act(StudyEvent.STOP)
    browser.send(f"{root(browser)}/delete", shown)
    wait_for_page_work()
    assert study_row(browser) is not None


def test_a_deletion_of_a_study_that_was_renamed_meanwhile_deletes_no_other_one_of_its_name(
    browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, services = browser.study.name, browser.studio.services
    other = browser.studio.open_study(inputs=False)

    def archive_late(*given: Any, **options: Any) -> None:
        archive_study(*given, **options)
        edit_study(services, browser.study.id, "bo", name="Renamed")
        edit_study(services, other.id, "bo", name=name)

    monkeypatch.setattr(study_settings, "archive_study", archive_late)
    send(browser, "delete")
    wait_for_page_work()
    row = study_row(browser)
    assert row is not None
    assert row.name == "Renamed"
    with services.database.read() as session:
        assert session.get_one(StudyRow, other.id).name == name
    assert "another one has the name" in browser.page(f"{root(browser)}/history")


def test_a_deletion_does_not_end_with_the_time_of_a_page(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[Any] = []
    monkeypatch.setattr(study_settings, "delete_study", lambda services, *_, **__: used.append(services.database))
    send(browser, "delete")
    wait_for_page_work()
    [database] = used
    pages = browser.studio.services.database
    assert database is not pages
    assert database.url == pages.url


def test_a_deletion_that_stops_says_why_in_the_history(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("s3://bucket does not answer", "no answer")

    monkeypatch.setattr(study_settings, "delete_study", unavailable)
    send(browser, "delete")
    wait_for_page_work()
    assert study_row(browser).archived_at is not None
    history = browser.page(f"{root(browser)}/history")
    assert "the deletion stopped, and can be begun again: The image store does not answer" in history
    assert "s3://" not in history


def test_a_study_with_a_long_name_is_mended_by_provisioning(browser: Any) -> None:
    edit_study(browser.studio.services, browser.study.id, "ann", name=EMOJI)
    opened = open_study(browser.studio.services, EMOJI, [], ACCESS, engine=None, preview_size=3)
    assert opened.projects == browser.study.projects
    with pytest.raises(InputProblem):
        open_study(browser.studio.services, "x" * 50, ["pit"], ACCESS, engine="composite", preview_size=3)


def test_of_two_studies_that_get_one_name_at_once_one_is_refused(browser: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    services, other = browser.studio.services, browser.studio.open_study(inputs=False)
    real, refusals = editing._rename_projects, []

    def rename_projects(*args: Any) -> Any:
        if not refusals:  # while the first one is being renamed
            with pytest.raises(NotReady, match="being created or renamed") as refusal:
                edit_study(services, other.id, "eve", name="Brushed plates")
            refusals.append(refusal)
        return real(*args)

    monkeypatch.setattr(editing, "_rename_projects", rename_projects)
    monkeypatch.setattr(workflow_services, "NAMES_WAIT_SECONDS", 0)
    edit_study(services, browser.study.id, "ann", name="Brushed plates")
    with pytest.raises(Refused, match="there is another study named"):
        edit_study(services, other.id, "eve", name="Brushed plates")
