"""The task publisher creates each task once, whatever fails."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator

import httpx
import pytest

from datagen.errors import LabelStudioMissing, LabelStudioUnavailable
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project
from datagen.label_studio.projects.task_publisher import TaskDraft, ensure_tasks
from stage.label_studio_server import LabelStudio as Server

pytestmark = pytest.mark.integration

GOOD = {"id": "v", "from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["good"]}}
PREDICTION = {"model_version": "datagen", "result": [GOOD]}


def drafts(count: int, batch: str = "b") -> list[TaskDraft]:
    return [TaskDraft(key=f"{batch}-{n}", data={"image": f"/{n}.png"}, predictions=[PREDICTION]) for n in range(count)]


def keys(client: LabelStudio, project: Project) -> list[str]:
    return [task.data["datagen_key"] for task in client.tasks(project.id)]


def without_predictions(request: httpx.Request) -> httpx.Request:
    """Return the import without predictions and annotations, as Label Studio repeats it after a locked database."""
    tasks = [{"data": task["data"]} for task in json.loads(request.content)]
    headers = {name: value for name, value in request.headers.items() if name != "content-length"}
    return httpx.Request(request.method, request.url, headers=headers, json=tasks)


class Faulty(httpx.BaseTransport):
    """The real network, with a fault before or after one import."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.real = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        fault = self.fault if request.url.path.endswith("/import") else ""
        if fault:
            self.fault = ""
        if fault == "lost request":
            raise httpx.ConnectError("lost", request=request)
        if fault.endswith("predictions"):
            request = without_predictions(request)
        response = self.real.handle_request(request)
        if fault.startswith("lost answer"):
            response.close()
            raise httpx.ReadTimeout("lost", request=request)
        if fault == "run twice":  # what Label Studio's lock retry does on SQLite
            response.close()
            return self.real.handle_request(request)
        return response

    def close(self) -> None:
        self.real.close()


@pytest.fixture
def faulty(label_studio: Server) -> Iterator[Callable[[str], LabelStudio]]:
    clients: list[LabelStudio] = []

    def make(fault: str) -> LabelStudio:
        clients.append(LabelStudio(label_studio.url, label_studio.token, transport=Faulty(fault)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_run_again_it_makes_nothing_and_answers_the_same(client: LabelStudio, project: Project) -> None:
    first = ensure_tasks(client, project.id, "b", drafts(5))
    assert ensure_tasks(client, project.id, "b", drafts(5)) == first
    assert keys(client, project) == list(first)


def test_only_missing_tasks_are_created(client: LabelStudio, project: Project) -> None:
    first = ensure_tasks(client, project.id, "b", drafts(5))
    client.delete_tasks(project.id, [first["b-2"]])
    second = ensure_tasks(client, project.id, "b", drafts(7))
    assert sorted(keys(client, project)) == [f"b-{n}" for n in range(7)]
    assert {key: second[key] for key in ("b-0", "b-4")} == {key: first[key] for key in ("b-0", "b-4")}


def test_batches_do_not_touch_each_other(client: LabelStudio, project: Project) -> None:
    first = ensure_tasks(client, project.id, "b", drafts(2))
    ensure_tasks(client, project.id, "c", drafts(3, "c"))
    assert ensure_tasks(client, project.id, "b", drafts(2)) == first
    assert len(keys(client, project)) == 5


def test_more_than_one_import_holds(client: LabelStudio, project: Project) -> None:
    bare = [TaskDraft(key=f"k{n}", data={"image": "/x.png"}) for n in range(1100)]
    task_ids = ensure_tasks(client, project.id, "b", bare)
    assert len(set(task_ids.values())) == 1100


@pytest.mark.parametrize("fault", ["lost request", "lost answer"])
def test_a_failed_import_run_again_leaves_no_hole_and_no_twin(
    client: LabelStudio, project: Project, faulty: Callable[[str], LabelStudio], fault: str
) -> None:
    with pytest.raises(LabelStudioUnavailable):
        ensure_tasks(faulty(fault), project.id, "b", drafts(5))
    task_ids = ensure_tasks(client, project.id, "b", drafts(5))
    assert keys(client, project) == list(task_ids)


def test_an_import_that_the_server_ran_twice_is_cleared_of_its_twins(
    client: LabelStudio, project: Project, faulty: Callable[[str], LabelStudio]
) -> None:
    task_ids = ensure_tasks(faulty("run twice"), project.id, "b", drafts(5))
    assert sorted(keys(client, project)) == sorted(task_ids)


@pytest.mark.parametrize("again", [False, True], ids=["at once", "when it is run again"])
def test_predictions_and_annotations_that_an_import_lost_are_given_to_its_tasks(
    client: LabelStudio, project: Project, faulty: Callable[[str], LabelStudio], again: bool
) -> None:
    """Label Studio on SQLite loses them where it runs an import again that met a locked database."""
    wanted = [
        TaskDraft(key="b-0", data={"image": "/0.png"}, predictions=[PREDICTION], annotations=[{"result": [GOOD]}])
    ]
    if again:
        with pytest.raises(LabelStudioUnavailable):
            ensure_tasks(faulty("lost answer, and predictions"), project.id, "b", wanted)
        task_ids = ensure_tasks(client, project.id, "b", wanted)
    else:
        task_ids = ensure_tasks(faulty("lost predictions"), project.id, "b", wanted)
        assert len(client.task(task_ids["b-0"], project.id).annotations) == 1
    [prediction] = client.predictions(task_ids["b-0"])
    assert [region["value"] for region in prediction["result"]] == [GOOD["value"]]


def test_of_twins_the_annotated_one_is_kept(client: LabelStudio, project: Project) -> None:
    data = {"image": "/0.png", "datagen_key": "b-0", "batch": "b"}
    first, second = client.import_tasks(project.id, [{"data": data}] * 2)
    client.annotate(second, [GOOD])
    assert ensure_tasks(client, project.id, "b", drafts(1)) == {"b-0": second}
    with pytest.raises(LabelStudioMissing):
        client.task(first)


def test_twins_that_were_both_annotated_are_both_kept_because_an_answer_is_never_lost(
    client: LabelStudio, project: Project
) -> None:
    data = {"image": "/0.png", "datagen_key": "b-0", "batch": "b"}
    first, second = client.import_tasks(project.id, [{"data": data}] * 2)
    client.annotate(first, [GOOD])
    client.annotate(second, [GOOD])
    assert ensure_tasks(client, project.id, "b", drafts(1)) == {"b-0": first}
    assert len(keys(client, project)) == 2


def test_of_twins_that_have_only_the_annotations_of_their_draft_one_is_kept(
    client: LabelStudio, project: Project
) -> None:
    """A late request makes a second task with the same annotations, which no annotator submitted."""
    draft = TaskDraft(key="b-0", data={"image": "/0.png"}, annotations=[{"result": [GOOD]}])
    task_ids = ensure_tasks(client, project.id, "b", [draft])
    client.import_tasks(
        project.id,
        [{"data": {**draft.data, "datagen_key": "b-0", "batch": "b"}, "annotations": [{"result": [GOOD]}]}],
    )
    assert len(keys(client, project)) == 2
    assert ensure_tasks(client, project.id, "b", [draft]) == task_ids
    assert len(keys(client, project)) == 1


def test_duplicate_key_in_one_call_is_an_error_of_the_caller(client: LabelStudio, project: Project) -> None:
    with pytest.raises(ValueError, match="same key"):
        ensure_tasks(client, project.id, "b", [*drafts(1), *drafts(1)])


def test_annotations_of_a_draft_come_with_it(client: LabelStudio, project: Project) -> None:
    draft = TaskDraft(key="b-0", data={"image": "/0.png"}, annotations=[{"result": [GOOD]}])
    task_ids = ensure_tasks(client, project.id, "b", [draft])
    assert client.task(task_ids["b-0"], project.id).annotations[0].result[0]["value"] == {"choices": ["good"]}


def test_data_is_replaced_but_the_key_stays(client: LabelStudio, project: Project) -> None:
    task_ids = ensure_tasks(client, project.id, "b", drafts(1))
    ensure_tasks(client, project.id, "b", [TaskDraft(key="b-0", data={"image": "/new.png"})], with_data=True)
    assert client.task(task_ids["b-0"], project.id).data == {"image": "/new.png", "datagen_key": "b-0", "batch": "b"}


def test_unchanged_values_are_not_written_again(client: LabelStudio, project: Project) -> None:
    task_ids = ensure_tasks(client, project.id, "b", drafts(1))
    before = client.task(task_ids["b-0"], project.id)
    ensure_tasks(client, project.id, "b", drafts(1), with_data=True)
    assert client.task(task_ids["b-0"], project.id) == before  # its time of update too
