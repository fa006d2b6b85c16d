"""Counts of used inputs when inputs are added, and unusable paths, on the in-memory Label Studio."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer

from datagen.cli import studies
from datagen.domain.inputs import ProjectKind, Role
from datagen.errors import InputProblem
from datagen.workflow.inputs.import_files import Added, add_files
from datagen.workflow.inputs.input_sync import collect, refresh
from datagen.workflow.services import IMPORT_LOCK
from fake_studio import FakeStudio
from import_files_made import file, picture, rectangle, task
from studio import Study


@pytest.fixture
def empty(studio: FakeStudio) -> Study:
    return studio.open_study(inputs=False, labels=("pit",))


@pytest.fixture
def add(empty: Study, tmp_path: Path) -> Callable[..., Added]:
    """Adds tasks as a JSON export to the concepts; the picture a.png lies beside it."""
    file(tmp_path / "photos", "a.png", picture(1))

    def add(*tasks: dict[str, Any]) -> Added:
        path = file(tmp_path / "photos", "list.json", list(tasks))
        return add_files(empty.studio.services, empty.name, Role.CONCEPT, path)

    return add


def test_known_picture_whose_only_drawing_cannot_be_used_is_nothing_used(add: Callable[..., Added]) -> None:
    unknown = task("a.png", rectangle(10, label="scratch"))
    assert add(unknown).usable == 1  # the picture is new
    again = add(unknown)
    assert (again.new, again.known, again.regions, again.usable) == (0, 1, 0, 0)
    assert any("scratch" in problem for problem in again.problems)


def test_known_picture_whose_drawing_was_used_before_is_used(add: Callable[..., Added]) -> None:
    drawn = task("a.png", rectangle(10, label="pit"))
    add(drawn)
    assert (add(drawn).known, add(drawn).usable) == (1, 1)
    with_another = task("a.png", rectangle(10, label="pit"), rectangle(50, label="scratch"))
    assert add(with_another).usable == 1


def test_add_exits_with_1_when_nothing_is_used(empty: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(studies, "services", lambda: empty.studio.services)
    file(tmp_path / "photos", "a.png", picture(1))
    path = file(tmp_path / "photos", "list.json", [task("a.png", rectangle(10, label="scratch"))])
    studies.add(empty.name, Role.CONCEPT, path)  # the picture is new
    with pytest.raises(typer.Exit) as ended:
        studies.add(empty.name, Role.CONCEPT, path)
    assert ended.value.exit_code == 1


def test_tight_box_added_inside_a_loose_one_by_hand_is_no_second_example(
    studio: FakeStudio, empty: Study, add: Callable[..., Added]
) -> None:
    add(task("a.png", rectangle(80, 80, 5, 5, label="pit")))
    [drawn] = studio.client.tasks(empty.projects[ProjectKind.CONCEPTS])
    loose = {"x": 5, "y": 5, "width": 60, "height": 60, "rotation": 0, "rectanglelabels": ["pit"]}
    region = {"id": "r", "from_name": "concept", "to_name": "image", "type": "rectanglelabels", "value": loose}
    studio.client.annotate(drawn.id, [region])  # the newest annotation counts
    assert add(task("a.png", rectangle(10, label="pit"))).regions == 1
    refresh(studio.services, empty.id, force=True)
    with studio.rows() as session:
        inputs = collect(session, empty.row())
    [concept] = inputs.concepts
    assert len(concept.regions) == 1
    assert ["the same object has a tighter box inside it" in str(problem) for problem in inputs.problems] == [True]


def test_inputs_are_imported_in_turn_with_other_imports(studio: FakeStudio, add: Callable[..., Added]) -> None:
    turns: list[bool] = []

    def try_another(name: str) -> bool:
        if name == "import_tasks":
            with studio.services.database.one_at_a_time(IMPORT_LOCK, 0.0) as is_alone:
                turns.append(is_alone)
        return False

    studio.client.after_request = try_another
    add(task("a.png", rectangle(10, label="pit")))
    assert turns == [False]


def test_path_that_does_not_exist_is_said_not_to_exist(studio: FakeStudio, empty: Study, tmp_path: Path) -> None:
    """“/nonexistent is neither a folder nor a Label Studio JSON file, nor a zip of one” sent people to the format."""
    missing = tmp_path / "photos"
    with pytest.raises(InputProblem, match=f"^{missing} does not exist; give a folder of images, an export, or a zip"):
        add_files(studio.services, empty.name, Role.CONCEPT, missing)
