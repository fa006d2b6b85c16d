"""Imports into a study's project: each item once and complete, in any order and any number of repetitions."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from datagen.domain.inputs import Inputs, ProjectKind, Role
from datagen.errors import LabelStudioUnavailable
from datagen.label_studio.api.client import LabelStudio
from datagen.workflow.inputs.import_files import Added, add_files, add_from_project
from datagen.workflow.inputs.importing import task_import
from datagen.workflow.inputs.importing.task_import import TaskImport
from datagen.workflow.inputs.input_sync import collect, refresh
from import_files_made import file, picture, rectangle, task
from studio import Studio, Study

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def own(_of_this_module: Studio) -> Study:
    return _of_this_module.open_study(inputs=False, labels=("scratch", "dent"))


@pytest.fixture
def empty(own: Study) -> Iterator[Study]:
    yield own
    for kind in (ProjectKind.CONCEPTS, ProjectKind.CANVASES):
        own.studio.client.delete_tasks(own.projects[kind], [listed.id for listed in own.tasks(kind)])


@pytest.fixture
def add(empty: Study, tmp_path: Path) -> Callable[..., Added]:
    """Adds tasks as a JSON export, or the folder's pictures; the pictures a.png, b.png, c.png lie there."""
    for seed, name in enumerate(("a.png", "b.png", "c.png"), 1):
        file(tmp_path / "photos", name, picture(seed))

    def add(*tasks: dict[str, Any], **more: Any) -> Added:
        path = file(tmp_path / "photos", "list.json", list(tasks)) if tasks else tmp_path / "photos"
        added = add_files(empty.studio.services, empty.name, Role.CONCEPT, path, **more)
        (tmp_path / "photos" / "list.json").unlink(missing_ok=True)
        return added

    return add


def read(study: Study) -> Inputs:
    refresh(study.studio.services, study.id, force=True)
    with study.studio.rows() as session:
        return collect(session, study.row())


def places(study: Study) -> dict[str, list[tuple[int, int]]]:
    """Return the top left corners of the boxes, by picture."""
    return {
        concept.image.name: sorted((round(region.box.x), round(region.box.y)) for region in concept.regions)
        for concept in read(study).concepts
    }


def test_the_same_again_changes_nothing(empty: Study, add: Callable[..., Added]) -> None:
    first = add(task("a.png"), task("b.png", rectangle(50)))
    assert (first.new, first.known, first.regions) == (2, 0, 2)
    before = [(listed.id, listed.annotations) for listed in empty.tasks(ProjectKind.CONCEPTS)]
    again = add(task("a.png"), task("b.png", rectangle(50)))
    assert (again.new, again.known, again.completed, again.regions) == (0, 2, 0, 0)
    assert [(listed.id, listed.annotations) for listed in empty.tasks(ProjectKind.CONCEPTS)] == before


def test_pictures_are_imported_first_and_annotations_later(empty: Study, add: Callable[..., Added]) -> None:
    assert add().new == 3
    added = add(task("a.png"), task("c.png", rectangle(50)))
    assert (added.new, added.known, added.completed, added.regions) == (0, 0, 2, 2)
    assert places(empty) == {"a.png": [(20, 20)], "c.png": [(100, 20)]}


def test_annotations_are_added_to_pictures_uploaded_by_hand(empty: Study, add: Callable[..., Added]) -> None:
    project = empty.projects[ProjectKind.CONCEPTS]
    [address] = empty.studio.client.upload(project, [("plate.png", picture(1))])
    empty.studio.client.import_tasks(project, [{"data": {"image": address}}])
    added = add(task("a.png"))
    assert (added.new, added.completed) == (0, 1)
    assert places(empty) == {"plate.png": [(20, 20)]}


def test_an_import_that_was_interrupted_is_completed_by_the_next(
    empty: Study, add: Callable[..., Added], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Label Studio made the tasks and lost their annotations, and the connection broke before they were given again."""
    import_tasks = LabelStudio.import_tasks

    def without_annotations(self: LabelStudio, project_id: int, drafts: Any) -> list[int]:
        import_tasks(self, project_id, [{"data": draft["data"]} for draft in drafts])
        raise LabelStudioUnavailable("the connection broke")

    with monkeypatch.context() as broken:
        broken.setattr(LabelStudio, "import_tasks", without_annotations)
        with pytest.raises(LabelStudioUnavailable):
            add(task("a.png"), task("b.png", rectangle(50)))
    assert len(empty.tasks(ProjectKind.CONCEPTS)) == 2
    added = add(task("a.png"), task("b.png", rectangle(50)))
    assert (added.new, added.completed) == (0, 2)
    assert places(empty) == {"a.png": [(20, 20)], "b.png": [(100, 20)]}


def test_picture_in_two_entries_gets_the_regions_of_both(empty: Study, add: Callable[..., Added]) -> None:
    added = add(task("a.png"), task("./a.png", rectangle(60, label="dent")), task("a.png"))
    assert (added.new, added.regions) == (1, 2)
    assert added.notes == (
        "list.json, task 1, list.json, task 2, list.json, task 3 name the same picture: "
        "what is drawn on it is together in one task",
    )
    assert places(empty) == {"a.png": [(20, 20), (120, 20)]}


def test_drawings_that_a_later_export_has_in_addition_are_added_to_those_there(
    empty: Study, add: Callable[..., Added]
) -> None:
    add(task("a.png"))
    added = add(task("a.png", rectangle(), rectangle(60, label="dent")))
    assert (added.new, added.completed, added.regions) == (0, 1, 1)
    assert "held other drawings already; regions added to them: 1" in added.notes[0]
    assert places(empty) == {"a.png": [(20, 20), (120, 20)]}
    assert add(task("a.png", rectangle(), rectangle(60, label="dent"))).completed == 0


def test_changed_or_deleted_items_are_not_imported_again(empty: Study, add: Callable[..., Added]) -> None:
    drawn = task("a.png", rectangle(), rectangle(60, label="dent"))
    add(drawn)
    [listed] = empty.tasks(ProjectKind.CONCEPTS)
    assert listed.newest is not None
    moved = json.loads(json.dumps(listed.newest.result[0]))
    moved["value"]["x"] += 3
    empty.studio.client.update_annotation(listed.newest.id, [moved])
    again = add(drawn)
    assert (again.known, again.regions) == (1, 0)
    assert places(empty) == {"a.png": [(26, 20)]}


def test_a_thing_drawn_by_hand_is_not_drawn_a_second_time(empty: Study, add: Callable[..., Added]) -> None:
    add()
    first = next(listed for listed in empty.tasks(ProjectKind.CONCEPTS) if listed.data["name"] == "a.png")
    by_hand = {**rectangle(11, 21), "from_name": "concept", "to_name": "image"}
    empty.studio.client.annotate(first.id, [by_hand])
    assert (added := add(task("a.png"))).known == 1
    assert (added.completed, places(empty)) == (0, {"a.png": [(22, 21)]})


def test_a_region_in_any_form_is_imported_in_the_form_that_the_project_shows(
    empty: Study, add: Callable[..., Added]
) -> None:
    shape = {"type": "ellipselabels", "value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 10}}
    shape["value"]["ellipselabels"] = ["dent"]
    added = add(task("a.png", rectangle(40, 60, -30, -40, label="SCRATCH"), shape), aliases={"bruise": "dent"})
    assert (added.new, added.problems) == (1, ())
    [listed] = empty.tasks(ProjectKind.CONCEPTS)
    assert listed.newest is not None
    kinds = [(region["from_name"], region["type"]) for region in listed.newest.result]
    assert kinds == [("concept", "rectanglelabels"), ("outline", "polygonlabels")]
    value = listed.newest.result[0]["value"]
    assert (value["x"], value["width"], value["rectanglelabels"]) == (10, 30, ["scratch"])


def test_foreign_label_is_mapped_to_a_label_of_the_study(empty: Study, add: Callable[..., Added]) -> None:
    added = add(task("a.png", rectangle(label="crack")), aliases={"crack": "scratch"})
    assert (added.regions, added.problems) == (1, ())


def test_pictures_in_label_studio_itself_are_found_and_not_uploaded_again(
    empty: Study, add: Callable[..., Added], tmp_path: Path
) -> None:
    client, project = empty.studio.client, empty.projects[ProjectKind.CANVASES]
    [address] = client.upload(project, [("there.png", picture(40))])
    added = add(
        task(address),
        task(f"{client.url}{address}", rectangle(50)),
        task("/data/upload/1/0a1b2c3d-gone.png"),
        task("https://elsewhere.example/x.png"),
        task("nowhere/x.png"),
    )
    assert (added.new, added.regions) == (1, 2)
    reasons = [reason for reason, _ in added.grouped]
    assert any("neither beside the file nor in Label Studio" in reason for reason in reasons)
    assert any("on another server; download it and lay it beside the file" in reason for reason in reasons)
    assert any("its picture is missing; lay it beside the file, or name its folder with --images" in r for r in reasons)
    assert empty.tasks(ProjectKind.CONCEPTS)[0].data["image"] == address


def test_pictures_in_a_folder_of_their_own_are_found(empty: Study, tmp_path: Path) -> None:
    export = file(tmp_path / "given", "export.json", [task("s3://bucket/key/a.png")])
    file(tmp_path / "elsewhere", "deep/a.png", picture(1))
    alone = add_files(empty.studio.services, empty.name, Role.CONCEPT, export)
    assert (alone.usable, len(alone.problems)) == (0, 1)
    added = add_files(empty.studio.services, empty.name, Role.CONCEPT, export, images=tmp_path / "elsewhere")
    assert (added.new, added.problems) == (1, ())


CONFIG = """<View><Image name="pic" value="$photo"/><Image name="other" value="$second"/>
<RectangleLabels name="bbox" toName="pic"><Label value="scratch"/></RectangleLabels>
<EllipseLabels name="round" toName="other"><Label value="dent"/></EllipseLabels>
<KeyPointLabels name="spot" toName="pic"><Label value="dent"/></KeyPointLabels></View>"""


def test_a_project_with_other_controls_and_pictures_is_read_as_its_export_is(
    empty: Study, tmp_path: Path, studio: Studio
) -> None:
    client = studio.client
    project = client.create_project("foreign controls", {"label_config": CONFIG})
    try:
        first, second = client.upload(
            empty.projects[ProjectKind.BACKGROUNDS], [("one.png", picture(51)), ("two.png", picture(52))]
        )
        box = {**rectangle(), "to_name": "pic"}
        ellipse = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "rotation": 0, "ellipselabels": ["dent"]}
        spot = {"x": 5, "y": 5, "width": 1, "keypointlabels": ["dent"]}
        drawn = [
            box,
            {"id": "e", "from_name": "round", "to_name": "other", "type": "ellipselabels", "value": ellipse},
            {"id": "k", "from_name": "spot", "to_name": "pic", "type": "keypointlabels", "value": spot},
        ]
        [task_id] = client.import_tasks(project.id, [{"data": {"photo": first, "second": second}}])
        client.annotate(task_id, drawn)
        added = add_from_project(studio.services, empty.name, Role.CONCEPT, project.id)
        assert (added.new, added.regions) == (2, 2)
        [problem] = added.problems
        assert "a keypoint has no area; draw a box or a polygon round the object" in problem
        assert places(empty) == {"one.png": [(20, 20)], "two.png": [(80, 30)]}
        again = add_from_project(studio.services, empty.name, Role.CONCEPT, project.id)
        assert (again.new, again.known, again.regions) == (0, 2, 0)

        exported = httpx.get(
            f"{client.url}/api/projects/{project.id}/export",
            params={"exportType": "JSON"},
            headers={"Authorization": f"Token {studio.server.token}"},
            timeout=60,
        ).json()
        by_file = add_files(studio.services, empty.name, Role.CONCEPT, file(tmp_path, "export.json", exported))
        assert (by_file.new, by_file.known) == (0, 2)
    finally:
        client.delete_project(project.id)


def test_unreadable_values_of_a_project_are_reported(empty: Study, studio: Studio) -> None:
    """Label Studio's import takes nested lists and what is no region; half a character ends each of its listings."""
    client = studio.client
    project = client.create_project("odd values", {"label_config": '<View><Image name="pic" value="$photo"/></View>'})
    try:
        odd = [("odd.png", picture(61)), ("odd2.png", picture(62)), ("odd3.png", picture(63))]
        first, second, third = client.upload(empty.projects[ProjectKind.BACKGROUNDS], odd)
        null = {**rectangle(None), "to_name": "pic"}
        drafts = [
            {"data": {"photo": first}, "annotations": [{"result": [[rectangle()]]}]},
            {"data": {"photo": second}, "annotations": [{"result": [null, 7, rectangle(50)]}]},
            {"data": {"photo": third}, "annotations": [{"result": [rectangle(label="ru\ud83dst")]}]},
        ]
        # pure ASCII: the client itself would refuse to send half a character
        httpx.post(
            f"{client.url}/api/projects/{project.id}/import",
            content=json.dumps(drafts),
            headers={"Authorization": f"Token {studio.server.token}", "Content-Type": "application/json"},
            timeout=30,
        ).raise_for_status()
        added = add_from_project(studio.services, empty.name, Role.CONCEPT, project.id)
        assert (added.new, added.regions) == (2, 2)
        assert sorted(reason.partition(";")[0] for reason, _ in added.grouped) == [
            "Label Studio cannot send it (it holds half a character)",
            "it is no region but text",
            "its x is not a number",
        ]
        assert places(empty) == {"odd.png": [(20, 20)], "odd2.png": [(100, 20)]}
    finally:
        client.delete_project(project.id)


def test_rectangles_and_ellipses_are_areas_of_a_canvas(empty: Study, tmp_path: Path) -> None:
    file(tmp_path, "a.png", picture(70))
    path = file(tmp_path, "canvas.json", [task("a.png", rectangle(label="area"))])
    added = add_files(empty.studio.services, empty.name, Role.CANVAS, path)
    assert (added.new, added.regions) == (1, 1)
    [canvas] = read(empty).canvases
    bounds = canvas.areas[0].polygon.bounds
    assert (bounds.x, bounds.y, bounds.width, bounds.height) == pytest.approx((20, 20, 60, 40))


@pytest.mark.parametrize("bound", ["BATCH", "BATCH_BYTES"])
def test_a_batch_that_holds_a_picture_twice_over_two_batches_is_one_task(
    bound: str, empty: Study, add: Callable[..., Added], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_import, bound, 1)
    batches = []
    batch = TaskImport._batch

    def counted(self: TaskImport, *given: Any) -> int:
        batches.append(batch(self, *given))
        return batches[-1]

    monkeypatch.setattr(TaskImport, "_batch", counted)
    added = add(task("a.png"), task("b.png"), task("a.png", rectangle(60)))
    assert batches == [1, 1, 1]
    assert (added.new, added.completed, added.regions) == (2, 1, 3)
    assert places(empty) == {"a.png": [(20, 20), (120, 20)], "b.png": [(20, 20)]}
