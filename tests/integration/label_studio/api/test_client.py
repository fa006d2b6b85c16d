"""The client and a real Label Studio: written values are read back, and listings neither miss nor repeat tasks."""

from __future__ import annotations

from contextlib import closing

import httpx
import pytest

from datagen.errors import LabelStudioError, LabelStudioMissing
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project
from stage.label_studio_server import LabelStudio as Server

pytestmark = pytest.mark.integration

GOOD = {"id": "v", "from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["good"]}}
BAD = {**GOOD, "value": {"choices": ["bad"]}}


def drafts(count: int, batch: str = "b") -> list[dict[str, object]]:
    return [{"data": {"image": "/x.png", "datagen_key": f"{batch}-{n}", "batch": batch}} for n in range(count)]


def test_version_is_the_release_of_the_running_server(client: LabelStudio, label_studio: Server) -> None:
    packages = httpx.get(f"{label_studio.url}/api/version").json()
    assert client.version() == packages["label-studio-os-package"]["version"]


def test_projects_are_found_by_a_part_of_their_title_beyond_one_page(client: LabelStudio, study_name: str) -> None:
    made = [client.create_project(f"{study_name} {n}", {}).id for n in range(3)]
    assert [one.id for one in client.find_projects(study_name)] == made
    assert [one.id for one in client.find_projects(f"{study_name} 1")] == made[1:2]


def test_a_deleted_project_is_missing_and_deleting_it_again_is_no_error(client: LabelStudio, project: Project) -> None:
    client.delete_project(project.id)
    client.delete_project(project.id)
    with pytest.raises(LabelStudioMissing):
        client.project(project.id)
    with pytest.raises(LabelStudioMissing):
        list(client.tasks(project.id))


def test_imported_tasks_are_listed_once_each_in_order_whatever_the_page(client: LabelStudio, project: Project) -> None:
    ids = client.import_tasks(project.id, drafts(25))
    for page_size in (7, 25, 100):
        assert [task.id for task in client.tasks(project.id, page_size=page_size)] == ids


def test_a_task_made_or_deleted_while_the_list_is_read_hides_no_other(client: LabelStudio, project: Project) -> None:
    ids = client.import_tasks(project.id, drafts(20))
    listing = client.tasks(project.id, page_size=5)
    seen = [next(listing).id for _ in range(5)]
    client.delete_tasks(project.id, ids[:3])
    late = client.import_tasks(project.id, drafts(1, "late"))
    seen += [task.id for task in listing]
    assert seen == ids + late


def test_more_ids_than_an_address_may_hold_are_asked_for_in_portions(client: LabelStudio, project: Project) -> None:
    """A web server refuses an address of more than 8 to 64 KB; so many ids come with one bulk action."""
    ids = client.import_tasks(project.id, drafts(3))
    gone = range(10**9, 10**9 + 7000)
    assert [task.id for task in client.tasks(project.id, ids=[*gone, *ids])] == ids


def test_a_batch_is_found_by_its_name_alone(client: LabelStudio, project: Project) -> None:
    client.import_tasks(project.id, drafts(3, "round-1") + drafts(2, "round-10"))
    assert [task.data["batch"] for task in client.tasks(project.id, batch="round-1")] == ["round-1"] * 3


def test_an_annotation_submitted_updated_and_deleted_touches_its_task(client: LabelStudio, project: Project) -> None:
    first, second = client.import_tasks(project.id, drafts(2))
    since = client.task(second, project.id).updated_at

    def touched() -> list[int]:
        return [task.id for task in client.tasks(project.id, updated_since=since) if task.updated_at > since]

    assert touched() == []
    annotation = client.annotate(first, [GOOD])
    assert touched() == [first]
    since = client.task(first, project.id).updated_at
    client.update_annotation(annotation, [BAD])
    assert touched() == [first]
    task = client.task(first, project.id)
    assert task.newest is not None
    assert task.newest.result[0]["value"] == {"choices": ["bad"]}
    since = task.updated_at
    client.delete_annotation(annotation)
    client.delete_annotation(annotation)
    assert touched() == [first]
    assert client.task(first, project.id).annotations == ()


def test_a_time_without_microseconds_is_a_time_too(client: LabelStudio, project: Project) -> None:
    ids = client.import_tasks(project.id, drafts(2))
    assert [task.id for task in client.tasks(project.id, updated_since="2020-01-01T00:00:00Z")] == ids


def test_a_skip_is_listed_as_one(client: LabelStudio, project: Project) -> None:
    (id_,) = client.import_tasks(project.id, drafts(1))
    client.annotate(id_, [], was_cancelled=True)
    for task in (client.task(id_), client.task(id_, project.id)):
        assert [one.was_cancelled for one in task.annotations] == [True]
        assert task.newest is None


def test_a_task_reads_the_same_by_either_way_and_names_who_annotated(
    client: LabelStudio, project: Project, label_studio: Server
) -> None:
    (id_,) = client.import_tasks(project.id, drafts(1))
    client.annotate(id_, [GOOD])
    assert client.task(id_) == client.task(id_, project.id)
    assert client.task(id_).annotations[0].completed_by == label_studio.email


def test_a_task_of_another_project_is_missing_here(client: LabelStudio, project: Project, study_name: str) -> None:
    (id_,) = client.import_tasks(project.id, drafts(1))
    other = client.create_project(f"{study_name} two", {})
    with pytest.raises(LabelStudioMissing, match=str(id_)):
        client.task(id_, other.id)


def test_the_tasks_of_a_tab_are_those_it_shows(client: LabelStudio, project: Project) -> None:
    ids = client.import_tasks(project.id, drafts(5, "one") + drafts(4, "two"))
    batch = {"filter": "filter:tasks:data.batch", "operator": "equal", "type": "String", "value": "two"}
    data = {"title": "Two", "filters": {"conjunction": "and", "items": [batch]}, "ordering": ["-tasks:id"]}
    view = client.create_view(project.id, data)
    assert [one.title for one in client.views(project.id)] == ["Two"]
    assert [task.id for task in client.tasks(project.id, view_id=view.id, page_size=3)] == ids[:4:-1]


def test_predictions_are_replaced_and_none_of_the_old_is_left(client: LabelStudio, project: Project) -> None:
    (id_,) = client.import_tasks(project.id, drafts(1))
    client.replace_predictions(id_, [{"model_version": "old", "result": [GOOD]}])
    client.replace_predictions(id_, [{"model_version": "new", "result": [BAD], "score": 0.5}])
    assert [(one["model_version"], one["score"]) for one in client.predictions(id_)] == [("new", 0.5)]


def test_a_webhook_keeps_its_actions_when_its_address_changes(client: LabelStudio, project: Project) -> None:
    made = client.create_webhook(project.id, "http://127.0.0.1:9/a", {"X-Secret": "s"}, ["TASKS_CREATED"])
    client.update_webhook(made.id, "http://127.0.0.1:9/b", {"X-Secret": "t"}, ["TASKS_CREATED"])
    (listed,) = client.webhooks(project.id)
    assert (listed.url, listed.headers, listed.actions) == (
        "http://127.0.0.1:9/b",
        {"X-Secret": "t"},
        {"TASKS_CREATED"},
    )
    client.delete_webhook(made.id)
    client.delete_webhook(made.id)
    assert client.webhooks(project.id) == []


def test_a_backend_that_does_not_answer_is_refused_with_the_reason(client: LabelStudio, project: Project) -> None:
    with pytest.raises(LabelStudioError, match="Can't connect to ML backend"):
        client.create_backend(project.id, "http://127.0.0.1:1", "none", "u", "p")


def test_uploads_beyond_one_request_come_back_in_order(client: LabelStudio, project: Project) -> None:
    files = [(f"file {n}.png", b"\x89PNG" + bytes([n])) for n in range(103)]
    paths = client.upload(project.id, files)
    assert len(set(paths)) == 103
    assert [client.fetch(paths[n], max_bytes=10) for n in (0, 57, 100, 102)] == [files[n][1] for n in (0, 57, 100, 102)]
    assert list(client.tasks(project.id)) == []


def test_a_kind_of_file_that_label_studio_refuses_is_named(client: LabelStudio, project: Project) -> None:
    with pytest.raises(LabelStudioError, match=r"plate\.tif"):
        client.upload(project.id, [("plate.tif", b"II*\0")])


def test_everything_works_with_a_personal_access_token_too(label_studio: Server, study_name: str) -> None:
    with closing(LabelStudio(label_studio.url, label_studio.personal_token())) as client:
        project = client.create_project(f"{study_name} pat", {})
        (id_,) = client.import_tasks(project.id, drafts(1))
        (path,) = client.upload(project.id, [("a.png", b"bytes")])
        assert client.task(id_, project.id).data["batch"] == "b"
        assert client.fetch(path, max_bytes=10) == b"bytes"
