"""Reading inputs from tasks: the newest annotation, the picture's given name, from any project."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project
from datagen.label_studio.mapping.task_inputs import read_tasks
from drawn import choice

GOOD, BAD = choice("verdict", "good"), choice("verdict", "bad")


def named(client: LabelStudio, project: Project, **data: Any) -> str:
    client.import_tasks(project.id, [{"data": {"image": "", **data}}])
    return list(read_tasks(client.tasks(project.id)))[-1].name


@pytest.mark.integration
def test_the_newest_answer_counts_and_a_task_only_skipped_is_left_out(client: LabelStudio, project: Project) -> None:
    ids = client.import_tasks(project.id, [{"data": {"image": f"/{n}.png"}} for n in range(4)])
    client.annotate(ids[0], [GOOD])
    newest = client.annotate(ids[0], [GOOD])
    client.update_annotation(newest, [BAD])
    client.annotate(ids[1], [], was_cancelled=True)
    client.annotate(ids[2], [GOOD])
    client.annotate(ids[2], [], was_cancelled=True)
    by_task = {raw.task_id: raw for raw in read_tasks(client.tasks(project.id))}
    assert sorted(by_task) == [ids[0], ids[2], ids[3]]
    assert [region["value"] for region in by_task[ids[0]].result or ()] == [{"choices": ["bad"]}]
    assert [region["value"] for region in by_task[ids[2]].result or ()] == [{"choices": ["good"]}]
    assert by_task[ids[3]].result is None


@pytest.mark.integration
def test_an_upload_is_known_by_the_name_it_was_given(client: LabelStudio, project: Project) -> None:
    (path,) = client.upload(project.id, [("plate-7.png", b"x")])
    assert named(client, project, image=path) == "plate-7.png"


@pytest.mark.integration
@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("/data/local-files/?d=line%204/plate.png", "plate.png"),
        ("http://host/a/b%20c.png?size=1", "b c.png"),
        (f"/tasks/1/resolve/?fileuri={base64.urlsafe_b64encode(b's3://bucket/k/plate.png').decode()}", "plate.png"),
    ],
)
def test_other_addresses_are_known_by_their_file(
    client: LabelStudio, project: Project, address: str, name: str
) -> None:
    assert named(client, project, image=address) == name


@pytest.mark.integration
@pytest.mark.parametrize("address", ["", "http://[", "/tasks/1/resolve/?fileuri=%FF"])
def test_a_task_without_a_file_is_known_by_its_number(client: LabelStudio, project: Project, address: str) -> None:
    assert named(client, project, image=address).startswith("task ")


@pytest.mark.integration
def test_a_name_in_the_task_wins(client: LabelStudio, project: Project) -> None:
    assert named(client, project, image="/x.png", name="plate 7") == "plate 7"
