"""Choosing backgrounds among the tasks of a project of Label Studio."""

from __future__ import annotations

import re
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind, Role
from datagen.errors import InputProblem
from datagen.web.pages import background_search
from datagen.workflow.inputs import task_search
from datagen.workflow.inputs.task_search import Operator, TaskCondition, find_tasks
from renaming import rename_before
from studio import good_inputs


def page_of(browser: Any) -> str:
    return f"/studio/studies/{browser.study.id}/inputs/background"


@pytest.fixture
def shelf(browser: Any) -> int:
    """A project of Label Studio with three photos, of the lines 1, 2 and 3."""
    client = browser.studio.client
    project = client.create_project("Shelf", {"label_config": '<View><Image name="image" value="$image"/></View>'})
    files = [(name, data) for name, data, _ in good_inputs()[Role.BACKGROUND][:3]]
    paths = client.upload(project.id, [(f"shelf {name}", data + b"%d" % i) for i, (name, data) in enumerate(files)])
    drafts = [{"data": {"image": path, "line": i + 1, "at": f"Hall {'ABA'[i]}"}} for i, path in enumerate(paths)]
    client.import_tasks(project.id, drafts)
    return int(project.id)


def search(browser: Any, project: int, column: str, operator: str, value: str) -> Any:
    form = {"project": str(project), "column": column, "operator": operator, "value": value}
    path = f"/studio/studies/{browser.study.id}/search-backgrounds"
    return browser.act(path, page_of(browser), **form)


@pytest.mark.parametrize(
    ("column", "operator", "value", "lines"),
    [
        ("at", "contains", "hall a", [1, 3]),
        ("at", "does not contain", "b", [1, 3]),
        ("at", "is", "HALL B", [2]),
        ("at", "is not", "Hall B", [1, 3]),
        ("line", "is less than", "2.5", [1, 2]),
        ("line", "is more than", "1", [2, 3]),
        ("line", "is empty", "", []),
    ],
)
def test_each_operator_finds_its_tasks(
    browser: Any, shelf: int, column: str, operator: str, value: str, lines: list[int]
) -> None:
    condition = TaskCondition(column=column, operator=Operator(operator), value=value)
    matches = find_tasks(browser.studio.client, shelf, condition)
    assert [int(task.data["line"]) for task in matches.tasks] == lines
    assert (matches.read, matches.next_after) == (3, None)


def test_a_search_ends_at_its_limits(browser: Any, shelf: int, monkeypatch: pytest.MonkeyPatch) -> None:
    condition = TaskCondition(column="line", operator=Operator.MORE, value="0")
    monkeypatch.setattr(task_search, "MOST_READ", 2)
    matches = find_tasks(browser.studio.client, shelf, condition)
    assert [int(task.data["line"]) for task in matches.tasks] == [1, 2]
    rest = find_tasks(browser.studio.client, shelf, condition, matches.next_after or 0)
    assert [int(task.data["line"]) for task in rest.tasks] == [3]
    assert rest.next_after is None


@pytest.mark.parametrize(("column", "operator"), [("colour", Operator.IS), ("line", Operator.LESS)])
def test_an_unknown_column_and_no_number_are_refused(browser: Any, shelf: int, column: str, operator: Operator) -> None:
    with pytest.raises(InputProblem, match=r"has a column “colour”; there are: image, line, at|is no number"):
        find_tasks(browser.studio.client, shelf, TaskCondition(column=column, operator=operator, value="many"))


def test_matches_are_shown_first_and_the_ticked_ones_become_backgrounds(browser: Any, shelf: int) -> None:
    page = search(browser, shelf, "at", "contains", "hall a").text
    assert "<h1>2 matches</h1>" in page
    ids = re.findall(r'name="task" value="(\d+)"', page)
    before = len(browser.study.tasks(ProjectKind.BACKGROUNDS))
    assert len(ids) == 2
    path = f"/studio/studies/{browser.study.id}/add-backgrounds"
    browser.send(path, page, project=str(shelf), task=ids[0])
    assert "1 background added." in browser.page(page_of(browser))
    assert len(browser.study.tasks(ProjectKind.BACKGROUNDS)) == before + 1
    browser.send(path, page, project=str(shelf), task=ids[0])
    assert len(browser.study.tasks(ProjectKind.BACKGROUNDS)) == before + 1, "the same task is added once"
    assert "ann@example.com" in browser.page(f"/studio/studies/{browser.study.id}/history")


@pytest.mark.parametrize("project", ["", "many", "99999"])
def test_a_project_that_is_not_there_is_refused(browser: Any, project: str) -> None:
    form = {"project": project, "column": "image", "operator": "contains", "value": ""}
    browser.act(f"/studio/studies/{browser.study.id}/search-backgrounds", page_of(browser), **form)
    assert 'class="note bad"' in browser.page(page_of(browser))


def test_a_project_that_the_person_does_not_see_is_refused(browser: Any, shelf: int) -> None:
    browser.accounts.restricted["bo@example.com"] = frozenset(browser.study.projects.values())
    browser.client.delete_cookie("datagen_session", path="/studio")
    browser.log_in("bo@example.com")
    assert search(browser, shelf, "at", "contains", "hall").status_code == 303
    assert f"There is no project {shelf} in Label Studio, or you may not see it." in browser.page(page_of(browser))
    own = browser.study.projects[ProjectKind.CONCEPTS]
    assert search(browser, own, "image", "contains", "").status_code == 200


def test_backgrounds_go_to_the_study_of_the_page_though_another_takes_its_name(
    browser: Any, shelf: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = browser.studio.open_study(inputs=False)
    page = search(browser, shelf, "line", "is", "1").text
    task = re.findall(r'name="task" value="(\d+)"', page)[0]
    database = browser.studio.services.database
    rename_before(monkeypatch, background_search, "add_from_project", database, browser.study.id, other.id)
    before = len(browser.study.tasks(ProjectKind.BACKGROUNDS))
    browser.send(f"/studio/studies/{browser.study.id}/add-backgrounds", page, project=str(shelf), task=task)
    assert len(browser.study.tasks(ProjectKind.BACKGROUNDS)) == before + 1
    assert other.tasks(ProjectKind.BACKGROUNDS) == []
