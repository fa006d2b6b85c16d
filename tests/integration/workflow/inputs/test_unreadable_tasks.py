"""A project that cannot be read is named in the decision task, and does not delay other studies."""

from __future__ import annotations

import html
import json
from dataclasses import replace

import httpx
import pytest
from sqlalchemy import select, update

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.errors import Refused
from datagen.imaging.png_encoder import encode_png
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Task
from datagen.label_studio.api.task_listing import MAX_UNREADABLE
from datagen.operations.diagnostics.finding import CheckFailed
from datagen.operations.diagnostics.label_studio import check_tasks
from datagen.store.tables.base import BatchKind, OutboxKind
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.studies import ProjectRow, StudyRow
from datagen.workflow import decision_points
from datagen.workflow.events.reconciler import reconcile
from datagen.workflow.inputs import input_sync as reading
from datagen.workflow.inputs import unreadable_tasks
from datagen.workflow.inputs.import_files import add_from_project
from datagen.workflow.inputs.input_requests import request_reading
from datagen.workflow.inputs.input_sync import collect, refresh
from datagen.workflow.reviews import verdict_sync
from datagen.workflow.services import UnitOfWork
from datagen.workflow.studies.image_links import mend_links
from datagen.workflow.studies.queries import describe
from studio import ANYWHERE, Studio, Study, plate, polygon, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def post(studio: Studio, path: str, body: object) -> httpx.Response:
    """Send a request as a member to Label Studio's API; JSON escapes a lone surrogate."""
    headers = {"Authorization": f"Token {studio.server.token}", "Content-Type": "application/json"}
    return httpx.post(studio.server.url + path, content=json.dumps(body), headers=headers, timeout=60)


def poison(studio: Studio, study: Study, kind: ProjectKind, many: int = 1) -> int:
    """Import tasks whose keys contain a lone surrogate; return the id of the first."""
    path = f"/api/projects/{study.projects[kind]}/import?return_task_ids=true"
    answer = post(studio, path, [{"data": {"image": "/data/upload/x.png", "datagen_key": "x\ud800y"}}] * many)
    return int(answer.raise_for_status().json()["task_ids"][0])


def spoil(studio: Studio, task: Task) -> None:
    """Write a lone surrogate into a task's data."""
    httpx.patch(
        f"{studio.server.url}/api/tasks/{task.id}/",
        content=json.dumps({"data": {**task.data, "remark": "so \ud800"}}),
        headers={"Authorization": f"Token {studio.server.token}", "Content-Type": "application/json"},
        timeout=60,
    )


def deafen(studio: Studio, study: Study) -> None:
    """Remove the study's webhooks."""
    for project in study.projects.values():
        for webhook in studio.client.webhooks(project):
            studio.client.delete_webhook(webhook.id)


def readable(study: Study, kind: ProjectKind) -> dict[int, Task]:
    """The tasks of a project that Label Studio can send, by their ids."""
    return {task.id: task for task in study.studio.client.tasks(study.projects[kind], unreadable=[])}


@pytest.fixture
def poisoned(studio: Studio) -> tuple[Study, int]:
    """A study with a task among its concepts that Label Studio cannot send."""
    created = studio.open_study()
    studio.settle()
    deafen(studio, created)
    return created, poison(studio, created, ProjectKind.CONCEPTS)


def test_a_poisoned_project_keeps_no_other_study_from_being_looked_at(
    studio: Studio, poisoned: tuple[Study, int]
) -> None:
    other = studio.open_study()
    studio.settle()
    other.review()
    deafen(studio, other)
    other.judge(verdict_result("good"))
    reconcile(studio.services)
    reconcile(studio.services)
    assert [str(row.opinion) for row in other.verdicts()] == ["good"]
    with studio.rows() as session:
        assert unreadable_tasks.problems_of(session, other.id) == []


def test_it_is_named_where_people_look_until_it_is_mended(studio: Studio, poisoned: tuple[Study, int]) -> None:
    study, task = poisoned
    project = study.projects[ProjectKind.CONCEPTS]
    reconcile(studio.services)
    studio.settle()
    sentence = f"task {task} of project {project} (Concepts)"
    remedy = f"datagen discard '{study.name}' {task}"
    [described] = describe(studio.services.database, study.name)
    with pytest.raises(CheckFailed) as refusal:
        check_tasks(studio.settings, study.name)
    for shown in (described["problems"][0], str(refusal.value), html.unescape(study.page())):
        assert sentence in shown
        assert remedy in shown
    with studio.rows() as session:  # the others are used
        assert collect(session, study.row()).count(Role.CONCEPT) == 6

    with pytest.raises(Refused, match="can be read"):
        unreadable_tasks.discard(studio.services, study.name, [study.tasks(ProjectKind.CANVASES)[0].id])
    with pytest.raises(Refused, match=f"no task {2**40}"):
        unreadable_tasks.discard(studio.services, study.name, [2**40])
    assert unreadable_tasks.discard(studio.services, study.name, [task]) == [task]
    reconcile(studio.services)
    studio.settle()
    assert describe(studio.services.database, study.name)[0]["problems"] == []
    assert check_tasks(studio.settings, study.name) == "all could be read"
    assert "Left out" not in study.page()
    assert studio.client.counts([project])[project].tasks == 6


class Noting(httpx.HTTPTransport):
    """The real network; ``asked`` has the addresses of all requests."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[httpx.URL] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        return super().handle_request(request)


def test_a_project_full_of_such_tasks_is_left_alone_for_a_while_and_read_once_they_are_deleted(
    studio: Studio, poisoned: tuple[Study, int]
) -> None:
    study, _ = poisoned
    project = study.projects[ProjectKind.BACKGROUNDS]
    first = poison(studio, study, ProjectKind.BACKGROUNDS, many=MAX_UNREADABLE + 1)
    reconcile(studio.services)
    studio.settle()
    assert f"Label Studio cannot send more than {MAX_UNREADABLE} tasks of project {project}" in study.page()

    network = Noting()
    client = LabelStudio(studio.server.url, studio.server.token, transport=network)
    for _ in range(2):
        reconcile(replace(studio.services, label_studio=client))
    client.close()
    listed = [url for url in network.asked if url.path == "/api/tasks/"]
    assert listed
    assert str(project) not in {url.params["project"] for url in listed}

    studio.client.delete_tasks(project, list(range(first, first + MAX_UNREADABLE + 1)))
    study.give(Role.BACKGROUND, [("late.png", encode_png(plate(779)), [])])
    reconcile(studio.services)
    studio.settle()
    assert "cannot send more than" not in study.page()
    with studio.rows() as session:
        assert collect(session, study.row()).count(Role.BACKGROUND) == 7


def test_inputs_given_beside_it_are_used(studio: Studio, poisoned: tuple[Study, int]) -> None:
    study, _ = poisoned
    bad = poison(studio, study, ProjectKind.CANVASES)
    study.give(Role.CANVAS, [("late.png", encode_png(plate(777)), [polygon(ANYWHERE)])])
    reconcile(studio.services)
    studio.settle()
    with studio.rows() as session:
        assert collect(session, study.row()).count(Role.CANVAS) == 7
    assert str(bad) in study.page()


def test_comment_that_cannot_be_sent_removes_no_verdict(studio: Studio, study: Study) -> None:
    study.review()
    study.judge(verdict_result("good"), verdict_result("bad", "too small"))
    studio.settle()
    poisoned = study.round_tasks()[0].id
    answer = post(studio, f"/api/tasks/{poisoned}/annotations/", {"result": verdict_result("bad", comment="so \ud800")})
    assert answer.status_code == 500  # it is kept all the same
    verdict_sync.sync_round(studio.services, study.batches(BatchKind.ROUND)[-1].id)
    studio.settle()
    assert [str(row.opinion) for row in study.verdicts()] == ["good", "bad"]
    assert study.counts() == {"good": 1, "bad": 1, "still to review": 1}
    assert f"task {poisoned} of project" in study.page()

    unreadable_tasks.discard(studio.services, study.name, [poisoned])
    studio.settle()
    reconcile(studio.services)
    studio.settle()
    assert [str(row.opinion) for row in study.verdicts()] == ["bad"]
    assert "Left out" not in study.page()


def test_a_review_task_that_cannot_be_sent_keeps_no_other_from_being_closed_or_signed_anew(
    studio: Studio, study: Study
) -> None:
    study.review()
    spoiled, *others = study.round_tasks()
    spoil(studio, spoiled)
    left = readable(study, ProjectKind.PREVIEWS)
    assert spoiled.id not in left
    assert mend_links(studio.services, study.name).looked_at == len(left)
    study.act(StudyEvent.REFINE)
    studio.settle()
    tasks = readable(study, ProjectKind.PREVIEWS)
    for task in others:
        assert tasks[task.id].is_finished
    assert [row.error for row in study.outbox() if row.error] == []
    assert f"task {spoiled.id} of project" in study.page()
    unreadable_tasks.discard(studio.services, study.name, [spoiled.id])


def test_review_tasks_are_published_once_though_one_of_them_cannot_be_sent(studio: Studio, study: Study) -> None:
    study.review()
    spoiled, *_ = study.round_tasks()
    spoil(studio, spoiled)
    preview_round = study.batches(BatchKind.ROUND)[-1]
    before = [row.task_id for row in study.samples_of(preview_round)]
    count = studio.client.counts([study.projects[ProjectKind.PREVIEWS]])[study.projects[ProjectKind.PREVIEWS]].tasks
    with studio.services.unit() as unit:
        shard = unit.session.scalars(select(ShardRow).where(ShardRow.batch_id == preview_round.id)).one()
        unit.add_to_outbox(study.id, OutboxKind.SAMPLES, shard.id)
    studio.settle()
    assert [row.task_id for row in study.samples_of(preview_round)] == before
    assert (
        studio.client.counts([study.projects[ProjectKind.PREVIEWS]])[study.projects[ProjectKind.PREVIEWS]].tasks
        == count
    )
    assert [row.error for row in study.outbox() if row.error] == []
    unreadable_tasks.discard(studio.services, study.name, [spoiled.id])


def republish_decision(studio: Studio, study: Study) -> Task:
    """Publish the open decision task again; return it without its annotations."""
    with studio.services.unit() as unit:
        decision_points.republish_open_decision(unit, study.id)
    studio.settle()
    assert [row.error for row in study.outbox() if row.error] == []
    return list(studio.client.tasks(study.projects[ProjectKind.DECISIONS], annotations=False))[-1]


def test_a_decision_task_whose_data_cannot_be_sent_gets_its_data_back(studio: Studio, study: Study) -> None:
    study.review()
    decision = study.tasks(ProjectKind.DECISIONS)[-1]
    spoil(studio, decision)
    assert decision.id not in readable(study, ProjectKind.DECISIONS)
    assert republish_decision(studio, study).data["datagen_key"] == decision.data["datagen_key"]
    assert decision.id in readable(study, ProjectKind.DECISIONS)


def test_a_decision_task_with_an_answer_that_cannot_be_sent_goes_on_showing_its_round(
    studio: Studio, study: Study
) -> None:
    """Its publication was given up after eight attempts."""
    study.review()
    decision = study.tasks(ProjectKind.DECISIONS)[-1]
    note = {"from_name": "note", "to_name": "summary", "type": "textarea", "value": {"text": ["so \ud800"]}}
    assert post(studio, f"/api/tasks/{decision.id}/annotations/", {"result": [note]}).status_code == 500
    studio.settle()
    reconcile(studio.services)
    study.judge(verdict_result("good"))
    studio.settle()
    shown = republish_decision(studio, study)
    assert shown.id == decision.id
    assert f"task {decision.id} of project" in str(shown.data)
    unreadable_tasks.discard(studio.services, study.name, [decision.id])


def test_an_input_whose_task_cannot_be_sent_any_more_stays_as_it_was_last_read(
    studio: Studio, poisoned: tuple[Study, int]
) -> None:
    study, _ = poisoned
    task = study.tasks(ProjectKind.CANVASES)[0]
    drawn = polygon(ANYWHERE)
    drawn["value"]["polygonlabels"] = ["area\ud800"]
    assert post(studio, f"/api/tasks/{task.id}/annotations/", {"result": [drawn]}).status_code == 500
    inputs = refresh(studio.services, study.id, force=True)
    assert (inputs.count(Role.CANVAS), inputs.count(Role.CONCEPT)) == (6, 6)
    with studio.rows() as session:
        assert collect(session, study.row()) == inputs
    unreadable_tasks.discard(studio.services, study.name, [task.id])
    assert refresh(studio.services, study.id, force=True).count(Role.CANVAS) == 5


def test_a_reading_ends_though_a_project_at_fault_has_inputs_that_were_not_read_yet(
    studio: Studio, poisoned: tuple[Study, int]
) -> None:
    study, _ = poisoned
    poison(studio, study, ProjectKind.BACKGROUNDS, many=MAX_UNREADABLE + 1)
    with studio.services.database.write() as session:
        row = session.scalars(
            select(InputRow).where(InputRow.study_id == study.id, InputRow.role == Role.BACKGROUND).limit(1)
        ).one()
        row.digest, row.parsed, row.problem = None, None, reading._UNREAD
        request_reading(UnitOfWork(session=session), session.get_one(StudyRow, study.id))
    assert refresh(studio.services, study.id).unread == 1
    assert study.row().inputs_read == study.row().inputs_changed


def test_internal_error_in_one_project_is_named_and_the_others_are_read(studio: Studio) -> None:
    broken, other = studio.open_study(), studio.open_study()
    studio.settle()
    other.review()
    for affected in (broken, other):
        deafen(studio, affected)
    reconcile(studio.services)
    with studio.services.database.write() as session:  # what no version of ours writes
        project = broken.projects[ProjectKind.CONCEPTS]
        session.execute(
            update(ProjectRow).where(ProjectRow.project_id == project).values(seen_until="yesterday", counted="")
        )
    other.judge(verdict_result("good"))
    reconcile(studio.services)
    assert [str(row.opinion) for row in other.verdicts()] == ["good"]
    studio.settle()
    assert f"Project {project} (Concepts) could not be read for a reason of ours (ValueError)" in broken.page()
    with studio.services.database.write() as session:
        session.execute(update(ProjectRow).where(ProjectRow.project_id == project).values(seen_until="", counted=""))
    reconcile(studio.services)
    studio.settle()
    assert "for a reason of ours" not in broken.page()


def test_inputs_of_another_project_are_taken_without_it_and_it_is_named(studio: Studio) -> None:
    source = studio.open_study(inputs=False)
    source.give(Role.BACKGROUND, [("plain.png", encode_png(plate(778)), [])])
    bad = poison(studio, source, ProjectKind.BACKGROUNDS)
    study = studio.open_study(inputs=False)
    added = add_from_project(studio.services, study.name, Role.BACKGROUND, source.projects[ProjectKind.BACKGROUNDS])
    assert added.new == 1
    assert added.problems == (
        f"task {bad}: Label Studio cannot send it (it holds half a character); delete or mend it",
    )
