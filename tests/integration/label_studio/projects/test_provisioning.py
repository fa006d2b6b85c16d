"""A study's projects are made once, verified, and mended; a second run changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest

from datagen.domain.inputs import ProjectKind
from datagen.errors import InputProblem
from datagen.label_studio.api.client import LabelStudio
from datagen.label_studio.api.models import Project
from datagen.label_studio.api.webhook_payload import ACTIONS
from datagen.label_studio.mapping.predictions import MODEL_VERSION
from datagen.label_studio.projects import former_settings, project_settings
from datagen.label_studio.projects.label_configs import render, same
from datagen.label_studio.projects.project_templates import TEMPLATES, Tab, preview_tabs, title
from datagen.label_studio.projects.provisioning import (
    BACKEND_TITLE,
    SECRET_HEADER,
    Provisioned,
    ServerAccess,
    ensure_preview_tabs,
    provision,
)
from datagen.label_studio.projects.task_publisher import TaskDraft, ensure_tasks
from receiver import Receiver

pytestmark = pytest.mark.integration

NO_ACCESS = ServerAccess(url="", webhook_secret="", basic_user="", basic_pass="")
LABELS = ["scratch", "dent & <co>"]
GOOD = {"id": "v", "from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["good"]}}
BAD = {**GOOD, "value": {"choices": ["bad"]}}


class Study:
    """Provisions a study of the given name with the test's receiver."""

    def __init__(self, client: LabelStudio, name: str, receiver: Receiver) -> None:
        self.client, self.name, self.receiver = client, name, receiver

    def provision(self, **other: Any) -> Provisioned:
        access = ServerAccess(url=self.receiver.url, webhook_secret="s3cret", basic_user="datagen", basic_pass="pass")
        changed = {name: other.pop(name) for name in ("url", "webhook_secret", "basic_pass") if name in other}
        how = {"password_written": set(ProjectKind), **other}
        return provision(self.client, self.name, LABELS, replace(access, **changed), **how)

    def seen(self, projects: dict[ProjectKind, int]) -> dict[str, Any]:
        """Everything that a second run could have changed."""
        return {
            kind: (
                {
                    k: v
                    for k, v in self.client.project(id_).options.items()
                    if not k.startswith(("queue", "created_by"))
                },
                self.client.webhooks(id_),
                [(backend.id, backend.url, backend.title) for backend in self.client.backends(id_)],
                self.client.views(id_),
            )
            for kind, id_ in projects.items()
        }


@pytest.fixture
def study(client: LabelStudio, study_name: str, receiver: Receiver) -> Study:
    return Study(client, study_name, receiver)


@pytest.fixture
def previews(client: LabelStudio, study_name: str) -> Project:
    """A Previews project alone."""
    options = {**TEMPLATES[ProjectKind.PREVIEWS].options(), "label_config": render(ProjectKind.PREVIEWS, LABELS)}
    return client.create_project(title(study_name, ProjectKind.PREVIEWS), options)


def test_six_projects_have_config_instruction_tabs_webhook_and_connection(study: Study) -> None:
    provisioned = study.provision()
    assert provisioned.problems == []
    assert set(provisioned.projects) == set(ProjectKind)
    for kind, id_ in provisioned.projects.items():
        project = study.client.project(id_)
        assert project.title == title(study.name, kind)
        assert same(project.options["label_config"], render(kind, LABELS))
        assert project.options["expert_instruction"] == TEMPLATES[kind].instruction
        assert project.options["show_instruction"] is True
        assert project.options["show_collab_predictions"] is True
        assert [view.title for view in study.client.views(id_)] == [tab.title for tab in TEMPLATES[kind].tabs]
        (webhook,) = study.client.webhooks(id_)
        assert webhook.id == provisioned.webhooks[kind]
        assert (webhook.url, webhook.is_active) == (f"{study.receiver.url}/webhook", True)
        assert webhook.actions == set(ACTIONS)
        assert [backend.title for backend in study.client.backends(id_)] == (
            [BACKEND_TITLE] if TEMPLATES[kind].connected else []
        )


def test_label_studio_reaches_us_with_the_secret_and_with_basic_auth(study: Study) -> None:
    provisioned = study.provision()
    setup = study.receiver.wait_for(lambda delivery: delivery.path == "/setup")
    assert setup.headers["Authorization"].startswith("Basic ")
    study.client.update_project(provisioned.projects[ProjectKind.DATASET], {"description": "touched"})
    delivery = study.receiver.wait_for(lambda received: received.body.get("action") == "PROJECT_UPDATED")
    assert delivery.headers[SECRET_HEADER] == "s3cret"
    assert delivery.path == "/webhook"


def test_a_second_run_changes_nothing(study: Study) -> None:
    first = study.provision()
    before = study.seen(first.projects)
    second = study.provision()
    assert (second.created, second.mended, second.problems) == ([], [], [])
    assert second.projects == first.projects
    assert second.webhooks == first.webhooks
    assert study.seen(first.projects) == before


def test_missing_or_changed_settings_are_restored_and_nothing_else_is_changed(study: Study) -> None:
    client = study.client
    first = study.provision()
    ids = first.projects
    client.delete_webhook(first.webhooks[ProjectKind.CANVASES])
    client.update_webhook(
        first.webhooks[ProjectKind.PREVIEWS], "http://127.0.0.1:9/old", {SECRET_HEADER: "old"}, ACTIONS[:2]
    )
    client.update_project(
        ids[ProjectKind.BACKGROUNDS], {"label_config": "<View><Image name='image' value='$image'/></View>"}
    )
    client.update_project(ids[ProjectKind.PREVIEWS], {"show_collab_predictions": False})
    client.update_project(ids[ProjectKind.CONCEPTS], {"expert_instruction": "our own words"})
    client.delete_backend(client.backends(ids[ProjectKind.CANVASES])[0].id)
    client.delete_project(ids[ProjectKind.DATASET])

    second = study.provision()

    assert second.problems == []
    assert {kind for kind in ProjectKind if second.projects[kind] != ids[kind]} == {ProjectKind.DATASET}
    assert second.webhooks[ProjectKind.PREVIEWS] == first.webhooks[ProjectKind.PREVIEWS]
    for id_ in second.projects.values():
        (webhook,) = client.webhooks(id_)
        assert (webhook.headers, webhook.actions) == ({SECRET_HEADER: "s3cret"}, set(ACTIONS))
    assert same(
        client.project(ids[ProjectKind.BACKGROUNDS]).options["label_config"], render(ProjectKind.BACKGROUNDS, LABELS)
    )
    assert client.project(ids[ProjectKind.PREVIEWS]).options["show_collab_predictions"] is True
    assert client.project(ids[ProjectKind.CONCEPTS]).options["expert_instruction"] == "our own words"
    assert len(client.backends(ids[ProjectKind.CANVASES])) == 1
    third = study.provision()
    assert (third.created, third.mended) == ([], [])


def test_a_new_secret_takes_the_place_of_the_old_one(study: Study) -> None:
    first = study.provision()
    second = study.provision(webhook_secret="another")
    assert second.webhooks == first.webhooks
    for id_ in second.projects.values():
        assert [hook.headers for hook in study.client.webhooks(id_)] == [{SECRET_HEADER: "another"}]


def test_a_new_password_is_written_into_a_connection_that_answers_with_the_old_one(study: Study) -> None:
    """Provisioning compared only address, user and state, so a connection kept the old password."""
    first = study.provision()
    study.receiver.deliveries.clear()
    second = study.provision(basic_pass="another", password_written={ProjectKind.CANVASES})
    assert second.created == []
    assert second.connected == first.connected == {kind for kind in ProjectKind if TEMPLATES[kind].connected}
    written = {
        kind for kind in ProjectKind if any(line.startswith(f"{kind}: address and log-in") for line in second.mended)
    }
    assert written == first.connected - {ProjectKind.CANVASES}
    for kind, password in ((ProjectKind.CONCEPTS, "another"), (ProjectKind.CANVASES, "pass")):
        study.receiver.deliveries.clear()
        assert [backend.state for backend in study.client.backends(first.projects[kind])] == ["CO"]
        [sent] = {delivery.headers["Authorization"] for delivery in study.receiver.deliveries}
        assert sent == httpx.BasicAuth("datagen", password)._auth_header


def test_the_webhook_that_comes_with_a_backend_and_has_no_secret_is_removed(study: Study) -> None:
    first = study.provision()
    id_ = first.projects[ProjectKind.CONCEPTS]
    study.client.create_webhook(id_, f"{study.receiver.url}/webhook", {}, ACTIONS)
    foreign = study.client.create_webhook(id_, "http://127.0.0.1:9/theirs", {}, ACTIONS)
    study.provision()
    assert [hook.id for hook in study.client.webhooks(id_)] == [first.webhooks[ProjectKind.CONCEPTS], foreign.id]


def test_projects_of_a_study_with_a_similar_name_are_not_mistaken(study: Study) -> None:
    names = (f"{study.name} 2", f"{study.name} · Concepts", study.name.upper(), f"my {study.name}")
    others = {study.client.create_project(title(name, ProjectKind.CONCEPTS), {}).id for name in names}
    try:
        assert not others & set(study.provision().projects.values())
        assert {study.client.project(id_).options["label_config"] for id_ in others} == {"<View></View>"}
    finally:
        for id_ in others:
            study.client.delete_project(id_)


def test_of_two_projects_with_the_same_title_the_older_is_used_and_the_other_named(study: Study) -> None:
    first = study.provision()
    twin = study.client.create_project(f"{study.name} · {ProjectKind.CANVASES}", {}).id
    again = study.provision()
    assert again.projects == first.projects
    [sentence] = [problem for problem in again.problems if str(twin) in problem]
    assert "Canvases" in sentence
    assert "delete it if it is empty" in sentence


def test_without_the_web_process_the_rest_is_provisioned_and_the_sentence_names_what_to_start(study: Study) -> None:
    provisioned = study.provision(url="http://127.0.0.1:1")
    assert len(provisioned.problems) == sum(plan.connected for plan in TEMPLATES.values())
    assert "datagen up" in provisioned.problems[0]
    assert len(provisioned.webhooks) == len(ProjectKind)
    assert study.provision().problems == []


@pytest.mark.parametrize("name", ["", "x" * 37])
def test_a_name_whose_titles_do_not_fit_is_refused_before_anything_is_made(study: Study, name: str) -> None:
    with pytest.raises(InputProblem, match="1 to 36"):
        provision(study.client, name, LABELS, NO_ACCESS)


def test_previews_show_the_predictions_that_came_with_them_also_while_we_are_down(study: Study) -> None:
    provisioned = study.provision()
    id_ = provisioned.projects[ProjectKind.PREVIEWS]
    data = {"image": "/x.png", "study": study.name, "version": "1", "round": "1", "index": "0"}
    ensure_tasks(
        study.client,
        id_,
        "b",
        [TaskDraft(key="a", data=data, predictions=[{"model_version": MODEL_VERSION, "result": [GOOD]}])],
    )
    assert study.client.project(id_).options["model_version"] == MODEL_VERSION
    before = study.seen(provisioned.projects)
    study.provision()
    assert study.seen(provisioned.projects) == before


def test_projects_are_listed_in_the_order_of_work_with_instructions(study: Study) -> None:
    provisioned = study.provision()
    newest_first = sorted(provisioned.projects, key=lambda kind: provisioned.projects[kind], reverse=True)
    assert newest_first == list(ProjectKind)
    for number, kind in enumerate(newest_first, 1):
        message = study.client.project(provisioned.projects[kind]).options["description"]
        assert message.startswith(f"Step {number} of 6. ")
    study.client.update_project(
        provisioned.projects[ProjectKind.CONCEPTS], {"description": f"Concepts of the study {study.name}"}
    )
    study.client.update_project(provisioned.projects[ProjectKind.CANVASES], {"description": "our own words"})
    study.provision()
    described = [
        study.client.project(provisioned.projects[kind]).options["description"] for kind in list(ProjectKind)[:2]
    ]
    assert described[0].startswith("Step 1 of 6. ")
    assert described[1] == "our own words"


def test_texts_and_tabs_of_an_earlier_version_are_brought_up_to_date_and_people_s_own_stay(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an upgrade, existing projects kept the old instructions for ever."""
    client, first = study.client, study.provision()
    ids = first.projects
    assert (first.mended, first.kept) == ([], [])
    former = "<h3>Canvases, as before</h3>"
    former_tab = Tab(title="All", ordering="-tasks:id").data()
    monkeypatch.setattr(former_settings, "TEXTS", former_settings.TEXTS | {project_settings.digest(former)})
    monkeypatch.setattr(former_settings, "TABS", former_settings.TABS | {project_settings.tab_digest(former_tab)})
    client.update_project(ids[ProjectKind.CANVASES], {"expert_instruction": former})
    client.update_project(ids[ProjectKind.CONCEPTS], {"expert_instruction": "our own words"})
    [all_canvases, *_] = client.views(ids[ProjectKind.CANVASES])
    client.update_view(all_canvases.id, ids[ProjectKind.CANVASES], former_tab)
    [all_concepts, *_] = client.views(ids[ProjectKind.CONCEPTS])
    client.update_view(all_concepts.id, ids[ProjectKind.CONCEPTS], {**all_concepts.data, "ordering": ["-tasks:id"]})

    second = study.provision()

    canvases, concepts = ids[ProjectKind.CANVASES], ids[ProjectKind.CONCEPTS]
    assert second.mended == [f"Canvases: instructions, tab “All” of project {canvases}"]
    assert second.kept == [f"Concepts: instructions, tab “All” of project {concepts}"]
    assert client.project(canvases).options["expert_instruction"] == TEMPLATES[ProjectKind.CANVASES].instruction
    assert client.project(concepts).options["expert_instruction"] == "our own words"
    ordering = [view.data["ordering"] for id_ in (canvases, concepts) for view in client.views(id_)[:1]]
    assert ordering == [["tasks:id"], ["-tasks:id"]]
    assert study.provision().mended == []


def test_a_project_that_a_person_renamed_is_used_on(study: Study) -> None:
    first = study.provision()
    client, concepts = study.client, first.projects[ProjectKind.CONCEPTS]
    client.update_project(concepts, {"title": f"{study.name}: draw here"})
    second = study.provision(known_projects=first.projects)
    assert second.projects == first.projects
    assert (second.created, second.problems) == ([], [])
    assert client.project(concepts).title == f"{study.name}: draw here"
    client.delete_project(concepts)


def test_a_foreign_project_with_a_known_number_is_left_alone(study: Study) -> None:
    """After a restore of Label Studio alone, the ids of lost projects are given to new ones."""
    other = study.client.create_project(f"{study.name}, theirs", {"description": "theirs"})
    try:
        provisioned = study.provision(known_projects={ProjectKind.CONCEPTS: other.id, ProjectKind.CANVASES: 2**30})
        assert other.id not in provisioned.projects.values()
        assert study.client.project(other.id).options["description"] == "theirs"
    finally:
        study.client.delete_project(other.id)


def test_the_tabs_of_a_round_show_its_tasks_by_their_verdict(client: LabelStudio, previews: Project) -> None:
    id_ = previews.id

    def draft(round_: int, n: int) -> TaskDraft:
        data = {"image": "/x.png", "study": "s", "version": "1", "round": str(round_), "index": str(n)}
        return TaskDraft(key=f"{round_}-{n}", data=data)

    task_ids = ensure_tasks(client, id_, "b", [draft(1, n) for n in range(4)] + [draft(11, 0)])
    ensure_preview_tabs(client, id_, 1)
    ensure_preview_tabs(client, id_, 1)
    comment = {"id": "c", "from_name": "comment", "to_name": "image", "type": "textarea"}
    client.annotate(task_ids["1-0"], [GOOD])
    client.annotate(task_ids["1-1"], [BAD, {**comment, "value": {"text": ['not "choices": ["good"] at all']}}])
    client.annotate(task_ids["1-2"], [], was_cancelled=True)
    views = {view.title: view.id for view in client.views(id_)}
    assert list(views) == ["To review now", "This round: good", "This round: bad", "All rounds"]

    def shown(tab: str) -> list[str]:
        return [task.data["datagen_key"] for task in client.tasks(id_, view_id=views[tab])]

    assert shown("To review now") == ["1-2", "1-3"]  # a skipped one has no verdict yet
    assert shown("This round: good") == ["1-0"]
    assert shown("This round: bad") == ["1-1"]
    assert set(shown("All rounds")) == {"1-0", "1-1", "1-2", "1-3", "11-0"}


def test_the_tabs_stay_the_same_few_and_show_the_newest_round(client: LabelStudio, previews: Project) -> None:
    id_ = previews.id
    for former in ("To review", "Good", "Round 1 · to review", "Round 1 · good"):
        client.create_view(id_, Tab(title=former).data())
    client.create_view(id_, Tab(title="My own tab").data())
    data = {"image": "/x.png", "study": "s", "version": "1", "index": "0"}
    drafts = [TaskDraft(key=f"round {number}", data={**data, "round": str(number)}) for number in (1, 2, 3)]
    ensure_tasks(client, id_, "b", drafts)
    for number in (1, 2, 3):
        ensure_preview_tabs(client, id_, number)
        views = {view.title: view.id for view in client.views(id_)}
        assert sorted(views) == sorted(["My own tab", *(tab.title for tab in preview_tabs(number))])
        now = [task.data["datagen_key"] for task in client.tasks(id_, view_id=views["To review now"])]
        assert now == [f"round {number}"]


def test_tabs_that_label_studio_deleted_with_the_last_task_come_back(client: LabelStudio, previews: Project) -> None:
    id_ = previews.id
    data = {"image": "/x.png", "study": "s", "version": "1", "round": "1", "index": "0"}
    task_ids = ensure_tasks(client, id_, "b", [TaskDraft(key="a", data=data)])
    ensure_preview_tabs(client, id_, 1)
    client.delete_tasks(id_, list(task_ids.values()))
    assert client.views(id_) == []
    ensure_preview_tabs(client, id_, 2)
    assert [view.title for view in client.views(id_)] == [tab.title for tab in preview_tabs()]
