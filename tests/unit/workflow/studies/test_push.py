"""Pushes into a project of the user's: no task twice, the names of its own label config, refusals before a task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyState
from datagen.errors import InputProblem, LabelStudioUnavailable, NotReady
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from datagen.workflow.studies import push
from datagen.workflow.studies.push import PushOptions, create_target, push_to_project, push_to_storage
from fake_studio import FakeStudio
from studio import Study

CONFIG = (
    '<View><Image name="photo" value="$picture"/><{tag} name="shape" toName="photo"><Label value="pit"/></{tag}></View>'
)


@pytest.fixture
def _prepared(in_state: Callable[[StudyState, Path], Any], tmp_path: Path) -> Any:
    """A study with a finished run."""
    studio, study = in_state(StudyState.ACCEPTED, tmp_path)
    yield studio, study
    studio.services.database.close()


def project_of(studio: FakeStudio, config: str) -> int:
    return studio.client.create_project("mine", {"label_config": config}).id


def tasks(studio: FakeStudio, project_id: int) -> list[Any]:
    return list(studio.client.tasks(project_id))


def test_new_project_gets_each_image_once_however_often_it_is_pushed(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "CHUNK", 2)
    project_id = create_target(studio.services, study.name, "for training")
    samples = study.samples_of(study.batches(BatchKind.RUN)[-1])
    assert len(samples) > 2
    first = push_to_project(studio.services, study.name, project_id)
    again = push_to_project(studio.services, study.name, project_id)
    assert (first.samples, first.new, again.new) == (len(samples), len(samples), 0)
    pushed = tasks(studio, project_id)
    assert sorted(task.data["datagen_key"] for task in pushed) == sorted(row.key for row in samples)
    for task in pushed:
        (prediction,) = studio.client.predictions(task.id)
        assert {region["from_name"] for region in prediction["result"]} == {"label"}
        assert not task.annotations


def test_interrupted_push_is_completed_by_the_next(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(push, "CHUNK", 2)
    project_id = create_target(studio.services, study.name, "for training")
    original, calls = push.ensure_tasks, iter(range(100))

    def failing(*arguments: Any, **options: Any) -> Any:
        if next(calls) == 1:
            raise LabelStudioUnavailable("Label Studio is away.")
        return original(*arguments, **options)

    monkeypatch.setattr(push, "ensure_tasks", failing)
    with pytest.raises(LabelStudioUnavailable):
        push_to_project(studio.services, study.name, project_id)
    samples = study.samples_of(study.batches(BatchKind.RUN)[-1])
    assert 0 < len(tasks(studio, project_id)) < len(samples)
    push_to_project(studio.services, study.name, project_id)
    assert sorted(task.data["datagen_key"] for task in tasks(studio, project_id)) == sorted(row.key for row in samples)


@pytest.mark.parametrize(
    ("tag", "kind"),
    [("PolygonLabels", "polygonlabels"), ("BrushLabels", "brushlabels"), ("RectangleLabels", "rectanglelabels")],
)
def test_labels_have_the_names_and_the_kind_of_the_project(
    studio: FakeStudio, study: Study, tag: str, kind: str
) -> None:
    project_id = project_of(studio, CONFIG.format(tag=tag))
    push_to_project(studio.services, study.name, project_id, PushOptions(annotations=True, images_at="s3://b/set/"))
    for task in tasks(studio, project_id):
        assert task.data["picture"] == f"s3://b/set/images/{task.data['file']}"
        (annotation,) = task.annotations
        for region in annotation.result:
            assert (region["from_name"], region["to_name"], region["type"]) == ("shape", "photo", kind)
            assert region["value"][kind] == ["pit"]
        assert studio.client.predictions(task.id) == []


def test_missing_label_is_refused_before_a_task_is_created(studio: FakeStudio, study: Study) -> None:
    project_id = project_of(studio, CONFIG.format(tag="PolygonLabels").replace("pit", "scratch"))
    with pytest.raises(InputProblem, match="lacks 1 label of the study: pit; add it to its labeling interface"):
        push_to_project(studio.services, study.name, project_id)
    assert tasks(studio, project_id) == []


def test_project_of_a_study_is_refused(studio: FakeStudio, study: Study) -> None:
    with pytest.raises(InputProblem, match=f"belongs to the study '{study.name}'; name a project of your own"):
        push_to_project(studio.services, study.name, study.projects[ProjectKind.DATASET])


def test_second_project_of_a_title_is_refused(studio: FakeStudio, study: Study) -> None:
    project_id = create_target(studio.services, study.name, "for training")
    with pytest.raises(InputProblem, match=f"already; push into it with --project {project_id}, or choose another"):
        create_target(studio.services, study.name, "for training")


def test_unknown_run_is_refused(studio: FakeStudio, study: Study) -> None:
    project_id = create_target(studio.services, study.name, "for training")
    with pytest.raises(NotReady, match="has no run 9"):
        push_to_project(studio.services, study.name, project_id, PushOptions(runs=(9,)))


class TestStorage:
    """Files that Label Studio reads once, and which therefore never change."""

    def test_each_image_is_a_line_and_equal_files_are_not_written_again(
        self, studio: FakeStudio, study: Study, tmp_path: Path
    ) -> None:
        first = push_to_storage(studio.services, study.name, str(tmp_path / "tasks"))
        (file,) = (tmp_path / "tasks").iterdir()
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        samples = study.samples_of(study.batches(BatchKind.RUN)[-1])
        assert [line["data"]["datagen_key"] for line in lines] == [row.key for row in samples]
        assert all(line["predictions"] for line in lines)
        before = file.stat().st_mtime_ns
        again = push_to_storage(studio.services, study.name, str(tmp_path / "tasks"))
        assert (first.new, again.new, file.stat().st_mtime_ns) == (1, 0, before)

    def test_file_that_label_studio_may_have_read_is_not_changed(
        self, studio: FakeStudio, study: Study, tmp_path: Path
    ) -> None:
        push_to_storage(studio.services, study.name, str(tmp_path))
        with pytest.raises(InputProblem, match="holds these samples with other options, and Label Studio reads a file"):
            push_to_storage(studio.services, study.name, str(tmp_path), PushOptions(annotations=True))

    def test_run_that_goes_on_is_refused(self, studio: FakeStudio, study: Study, tmp_path: Path) -> None:
        with studio.services.database.write() as session:
            run = session.get_one(BatchRow, study.batches(BatchKind.RUN)[-1].id)
            run.count += 1
        with pytest.raises(NotReady, match="Label Studio reads a storage file once: wait until the run is complete"):
            push_to_storage(studio.services, study.name, str(tmp_path))
        assert list(tmp_path.glob("*.jsonl")) == []
