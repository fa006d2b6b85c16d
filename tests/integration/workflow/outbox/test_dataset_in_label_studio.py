"""The Dataset project: Label Studio's own export, with the file names of Datagen's export."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import httpx
import numpy as np
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.domain.lifecycle import StudyEvent
from datagen.export.selection import Selection
from datagen.store.tables.base import BatchKind
from datagen.store.tables.studies import StudyRow
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.studies.export import export_study
from studio import Studio, Study

pytestmark = pytest.mark.integration
pytest_plugins = ["studio_fixtures"]

IMAGES = 2


@pytest.fixture
def finished(studio: Studio, study: Study) -> Study:
    """A study with a finished run."""
    study.review()
    study.act(StudyEvent.APPROVE, count=IMAGES, name="spring")
    studio.settle()
    return study


def own_export(studio: Studio, study: Study, kind: str) -> bytes:
    """Return Label Studio's own export of the newest run's tasks."""
    number = str(study.batches(BatchKind.RUN)[-1].number)
    ids = [task.id for task in study.tasks(ProjectKind.DATASET) if task.data["run"] == number]
    url = f"{studio.server.url}/api/projects/{study.projects[ProjectKind.DATASET]}/export"
    headers = {"Authorization": f"Token {studio.server.token}"}
    answer = httpx.get(url, params={"exportType": kind, "ids[]": ids}, headers=headers, timeout=60)
    return answer.raise_for_status().content


def test_label_studios_own_exports_hold_each_object_once(studio: Studio, finished: Study) -> None:
    run = finished.batches(BatchKind.RUN)[-1]
    samples = [sample_of(row) for row in finished.samples_of(run)]
    boxes = sorted(
        [instance.box.x, instance.box.y, instance.box.width, instance.box.height]
        for sample in samples
        for instance in sample.instances
    )
    assert boxes
    tasks = json.loads(own_export(studio, finished, "JSON"))
    regions = [region for task in tasks for annotation in task["annotations"] for region in annotation["result"]]
    assert len(tasks) == IMAGES
    assert [region["type"] for region in regions] == ["polygonlabels"] * len(boxes)
    with zipfile.ZipFile(io.BytesIO(own_export(studio, finished, "COCO"))) as archive:
        coco = json.loads(archive.read("result.json"))
    assert len(coco["images"]) == IMAGES
    assert [len(annotation["segmentation"]) for annotation in coco["annotations"]] == [1] * len(boxes)
    np.testing.assert_allclose(sorted(annotation["bbox"] for annotation in coco["annotations"]), boxes, atol=1)
    with zipfile.ZipFile(io.BytesIO(own_export(studio, finished, "YOLO"))) as archive:
        labels = [name for name in archive.namelist() if name.startswith("labels/") and name.endswith(".txt")]
        lines = [line.split() for name in labels for line in archive.read(name).decode().splitlines()]
    assert len(labels) == IMAGES
    assert len(lines) == len(boxes)
    assert all(len(line) > 5 and len(line) % 2 for line in lines)  # polygons, no box among them


def test_pascal_voc_which_has_no_polygons_is_not_offered(studio: Studio, finished: Study) -> None:
    url = f"{studio.server.url}/api/projects/{finished.projects[ProjectKind.DATASET]}/export/formats"
    headers = {"Authorization": f"Token {studio.server.token}"}
    formats = httpx.get(url, headers=headers, timeout=60).raise_for_status().json()
    offered = {offer["name"] for offer in formats if not offer.get("disabled")}
    assert {"COCO", "YOLO"} <= offered
    assert "VOC" not in offered


def test_a_study_may_leave_the_annotations_out(studio: Studio, study: Study) -> None:
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).annotate_up_to = 0
    study.review()
    study.act(StudyEvent.APPROVE, count=IMAGES)
    studio.settle()
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).annotate_up_to = None
    number = str(study.batches(BatchKind.RUN)[-1].number)
    tasks = [task for task in study.tasks(ProjectKind.DATASET) if task.data["run"] == number]
    assert [len(task.annotations) for task in tasks] == [0] * IMAGES
    assert all(studio.client.predictions(task.id) for task in tasks)


def test_file_names_and_run_in_the_list_are_those_of_the_export(
    studio: Studio, finished: Study, tmp_path: Path
) -> None:
    run = finished.batches(BatchKind.RUN)[-1]
    out = tmp_path / "dataset.zip"
    export_study(studio.services, finished.name, out, selection=Selection(runs=(run.number,)))
    with zipfile.ZipFile(out) as archive:
        exported = {name.removeprefix("images/") for name in archive.namelist() if name.startswith("images/")}
    listed = [task.data for task in finished.tasks(ProjectKind.DATASET) if task.data["run"] == str(run.number)]
    assert {row["file"] for row in listed} == exported
    assert {row["run_name"] for row in listed} == {"spring"}
