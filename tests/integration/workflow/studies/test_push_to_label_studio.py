"""A push into projects of a real Label Studio: tasks with labels as they are, by its API and by its storage's sync."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from datagen.domain.lifecycle import StudyEvent
from datagen.export.selection import Selection
from datagen.store.tables.base import BatchKind
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.studies.export import export_study
from datagen.workflow.studies.push import PushOptions, create_target, push_to_project, push_to_storage
from studio import Studio, Study

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]

IMAGES = 3


@pytest.fixture
def finished(studio: Studio, study: Study) -> Study:
    """A study with a finished run."""
    study.review()
    study.act(StudyEvent.APPROVE, count=IMAGES)
    studio.settle()
    return study


@pytest.fixture
def run(finished: Study) -> int:
    """The number of its newest run; tests share the study."""
    return finished.batches(BatchKind.RUN)[-1].number


@pytest.fixture
def api(studio: Studio) -> Any:
    headers = {"Authorization": f"Token {studio.server.token}"}
    with httpx.Client(base_url=studio.server.url, headers=headers, timeout=60) as client:
        yield client


@pytest.fixture
def label_studio_files(studio: Studio) -> Path:
    """The folder whose files Label Studio serves."""
    folder = studio.server.kept_token.parent / "files"
    if not folder.is_dir():
        pytest.skip("the running Label Studio serves another folder's files")
    return folder


def test_predictions_are_pushed_once_and_their_images_are_served(
    studio: Studio, finished: Study, api: httpx.Client, run: int
) -> None:
    options = PushOptions(runs=(run,))
    project_id = create_target(studio.services, finished.name, f"{finished.name} pushed")
    assert push_to_project(studio.services, finished.name, project_id, options).new == IMAGES
    assert push_to_project(studio.services, finished.name, project_id, options).new == 0
    tasks = list(studio.client.tasks(project_id))
    samples = {row.key: sample_of(row) for row in finished.samples_of(finished.batches(BatchKind.RUN)[-1])}
    assert {task.data["datagen_key"] for task in tasks} == set(samples)
    for task in tasks:
        sample = samples[task.data["datagen_key"]]
        (prediction,) = studio.client.predictions(task.id)
        assert [region["value"]["polygonlabels"] for region in prediction["result"]] == [
            [instance.label] for instance in sample.instances
        ]
        image = httpx.get(task.data["image"], timeout=30).raise_for_status().content
        assert image == studio.services.images.get(sample.image.digest)
    api.delete(f"/api/projects/{project_id}/").raise_for_status()


def test_annotations_are_pushed_into_an_existing_project(
    studio: Studio, finished: Study, api: httpx.Client, run: int
) -> None:
    options = PushOptions(runs=(run,), annotations=True)
    labels = "".join(f'<Label value="{label}"/>' for label in ("other", *finished_labels(studio, finished)))
    config = f'<View><Image name="i" value="$url"/><BrushLabels name="b" toName="i">{labels}</BrushLabels></View>'
    project = studio.client.create_project(f"{finished.name} own", {"label_config": config})
    push_to_project(studio.services, finished.name, project.id, options)
    push_to_project(studio.services, finished.name, project.id, options)
    tasks = list(studio.client.tasks(project.id))
    assert [len(task.annotations) for task in tasks] == [1] * IMAGES
    assert {region["type"] for task in tasks for region in task.annotations[0].result} == {"brushlabels"}
    api.delete(f"/api/projects/{project.id}/").raise_for_status()


def test_storage_file_is_synced_once(
    studio: Studio, finished: Study, api: httpx.Client, run: int, label_studio_files: Path
) -> None:
    project_id = create_target(studio.services, finished.name, f"{finished.name} synced")
    folder = label_studio_files / finished.name.replace(" ", "-")
    images = f"/data/local-files/?d={folder.name}/set"
    options = PushOptions(runs=(run,), images_at=images)
    export_study(studio.services, finished.name, folder / "set", selection=Selection(runs=(run,)))
    push_to_storage(studio.services, finished.name, str(folder / "tasks"), options)
    storage = (
        api.post(
            "/api/storages/localfiles/",
            json={"project": project_id, "path": str(folder / "tasks"), "use_blob_urls": False, "title": "tasks"},
        )
        .raise_for_status()
        .json()
    )
    served = {"project": project_id, "path": str(folder / "set" / "images"), "use_blob_urls": True, "title": "images"}
    api.post("/api/storages/localfiles/", json=served).raise_for_status()
    for _ in range(2):
        api.post(f"/api/storages/localfiles/{storage['id']}/sync").raise_for_status()
        push_to_storage(studio.services, finished.name, str(folder / "tasks"), options)
    tasks = list(studio.client.tasks(project_id))
    assert len(tasks) == IMAGES
    for task in tasks:
        (prediction,) = studio.client.predictions(task.id)
        assert {region["from_name"] for region in prediction["result"]} <= {"label"}
        image = api.get(task.data["image"]).raise_for_status().content
        assert image == (folder / "set" / "images" / task.data["file"]).read_bytes()
    api.delete(f"/api/projects/{project_id}/").raise_for_status()


def finished_labels(studio: Studio, study: Study) -> tuple[str, ...]:
    samples = [sample_of(row) for row in study.samples_of(study.batches(BatchKind.RUN)[-1])]
    return tuple(sorted({instance.label for sample in samples for instance in sample.instances}))
