"""Contract of the Label Studio port: one suite of tests for the in-memory fake and for a real server.

A test module derives a class from ``PortContract``, and provides the fixture ``world``."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from datagen.errors import (
    AddressRefused,
    InputProblem,
    LabelStudioError,
    LabelStudioFault,
    LabelStudioMissing,
    LabelStudioUnavailable,
)
from datagen.label_studio.api.auth import TokenKind
from datagen.label_studio.api.authorship import marked
from datagen.label_studio.api.models import Annotation, Project
from datagen.label_studio.api.port import LabelStudioPort
from datagen.label_studio.api.task_listing import MAX_UNREADABLE, PAGE
from datagen.label_studio.api.webhook_payload import ACTIONS, START_TRAINING, WebhookEvent

CONFIG = (
    '<View><Image name="image" value="$image"/><Choices name="verdict" toName="image"><Choice value="good"/>'
    '<Choice value="bad"/></Choices></View>'
)
GOOD = {"id": "v", "from_name": "verdict", "to_name": "image", "type": "choices", "value": {"choices": ["good"]}}
BAD = {**GOOD, "value": {"choices": ["bad"]}}
#: An id that no object has.
NOWHERE = 10**9
PNG = b"\x89PNG"
#: Half of a surrogate pair. JSON can escape it, but UTF-8 cannot encode it.
HALF = "\ud800"


class World(ABC):
    """A Label Studio, its client, a receiver of its webhooks, and the actions of people in it."""

    client: LabelStudioPort
    #: the e-mail address of the client's user
    email: str
    #: address of the receiver
    receiver_url: str
    #: an address without a server
    closed_url: str
    #: beginning of the titles of this test's projects
    prefix: str

    @property
    @abstractmethod
    def events(self) -> list[tuple[Mapping[str, str], Mapping[str, Any]]]:
        """The headers and bodies of the webhook requests that were received so far."""

    @abstractmethod
    def import_json(self, project_id: int, text: str) -> list[int]:
        """Import the tasks of a JSON text, as another program does; return their ids."""

    @abstractmethod
    def edit_annotation(self, annotation_id: int, *, was_cancelled: bool) -> None:
        """Make an annotation a skip, or make it an annotation again."""

    @abstractmethod
    def colleague(self) -> tuple[int, str]:
        """The id and the e-mail address of another user."""

    @abstractmethod
    def export_tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The tasks, with their annotations, in the form of Label Studio's JSON export."""

    @abstractmethod
    def start_training(self, project_id: int) -> None:
        """Choose “Start Training” in the menu of a project."""

    @abstractmethod
    def stranger(self, kind: TokenKind) -> LabelStudioPort:
        """A client whose token the server does not accept; ``kind`` is the token's kind."""

    @abstractmethod
    def unreachable(self) -> LabelStudioPort:
        """A client of a server that does not run."""

    @abstractmethod
    def refusing(self) -> tuple[LabelStudioPort, str]:
        """A client of a server that refuses a certain address, and this address."""

    def new_project(self, title: str = "one", **options: Any) -> Project:
        return self.client.create_project(f"{self.prefix} {title}", {"label_config": CONFIG, **options})

    def received(self) -> list[WebhookEvent]:
        return [WebhookEvent.parse(body) for _, body in self.events]


def drafts(count: int, batch: str = "b") -> list[dict[str, Any]]:
    return [{"data": {"image": "/x.png", "datagen_key": f"{batch}-{n}", "batch": batch}} for n in range(count)]


def poison(**data: str) -> str:
    """Return the JSON of a task that Label Studio accepts, but cannot send."""
    return json.dumps([{"data": {"image": "/x.png", "remark": f"so {HALF}", **data}}])


def ids_of(client: LabelStudioPort, project: Project, **which: Any) -> list[int]:
    return [task.id for task in client.tasks(project.id, **which)]


class PortContract:
    """The tests of the contract."""

    @pytest.fixture
    def port(self, world: World) -> LabelStudioPort:
        return world.client

    @pytest.fixture
    def project(self, world: World) -> Project:
        return world.new_project()

    @pytest.fixture
    def hooked(self, world: World, port: LabelStudioPort, project: Project) -> Project:
        """A project with a registered webhook like Datagen's."""
        port.create_webhook(project.id, f"{world.receiver_url}/webhook", {"X-Secret": "s"}, ACTIONS)
        return project

    # -- the server and the token

    def test_release_and_user_are_named(self, world: World, port: LabelStudioPort) -> None:
        assert port.version().startswith("1.23")
        assert port.whoami() == world.email
        assert port.token_kind is TokenKind.LEGACY

    @pytest.mark.parametrize(
        ("kind", "sentence"),
        [
            (TokenKind.LEGACY, "Label Studio does not know the token .* set LABEL_STUDIO_API_KEY"),
            (TokenKind.PERSONAL, "refuses the personal access token: it was revoked, .* set LABEL_STUDIO_API_KEY"),
        ],
    )
    def test_token_that_is_not_accepted_is_refused_with_the_remedy(
        self, world: World, kind: TokenKind, sentence: str
    ) -> None:
        stranger = world.stranger(kind)
        for request in (stranger.whoami, lambda: stranger.create_project("x", {}), lambda: stranger.counts([1])):
            with pytest.raises(LabelStudioError, match=sentence) as refusal:
                request()
            assert not isinstance(refusal.value, LabelStudioUnavailable)

    def test_server_that_is_off_is_unavailable_for_reads_and_writes(self, world: World) -> None:
        port = world.unreachable()
        for request in (
            port.whoami,
            lambda: list(port.tasks(1)),
            lambda: port.import_tasks(1, drafts(1)),
            lambda: port.annotate(1, [GOOD]),
            lambda: port.fetch("/data/upload/1/x.png", max_bytes=9),
        ):
            with pytest.raises(LabelStudioUnavailable, match=r"cannot be reached .* see that it runs"):
                request()

    def test_refused_address_is_named_with_the_setting(self, world: World) -> None:
        port, address = world.refusing()
        with pytest.raises(AddressRefused, match=r"SSRF protection refuses the address .* SSRF_PROTECTION_ENABLED"):
            port.check_addresses(address)

    def test_accepted_address_creates_nothing(self, world: World, port: LabelStudioPort, project: Project) -> None:
        port.check_addresses(world.receiver_url)
        assert (port.webhooks(project.id), port.backends(project.id)) == ([], [])

    # -- projects

    def test_project_has_the_options_it_was_created_with(self, port: LabelStudioPort, world: World) -> None:
        created = world.new_project("with options", description="what to do here", show_collab_predictions=False)
        read = port.project(created.id)
        assert (read.id, read.title) == (created.id, f"{world.prefix} with options")
        assert read.options["label_config"] == CONFIG
        assert read.options["description"] == "what to do here"
        assert read.options["show_collab_predictions"] is False

    def test_projects_are_found_by_a_part_of_their_title_oldest_first(
        self, port: LabelStudioPort, world: World
    ) -> None:
        created = [world.new_project(f"Number {n}") for n in range(3)]
        assert port.find_projects(world.prefix) == [
            Project(id=project.id, title=project.title, options={"id": project.id, "title": project.title})
            for project in created
        ]
        assert [project.id for project in port.find_projects(f"{world.prefix} nUMBER 1")] == [created[1].id]

    def test_title_that_is_too_long_is_refused(self, port: LabelStudioPort) -> None:
        with pytest.raises(LabelStudioError, match="no more than 50 characters"):
            port.create_project("x" * 51, {})

    def test_update_of_a_project_changes_the_given_options_only(self, port: LabelStudioPort, world: World) -> None:
        project = world.new_project(description="before")
        updated = port.update_project(project.id, {"description": "after"})
        assert (updated.options["description"], updated.options["label_config"]) == ("after", CONFIG)

    def test_deleted_project_is_missing_in_every_request(self, port: LabelStudioPort, project: Project) -> None:
        [path] = port.upload(project.id, [("a.png", PNG)])
        [task_id] = port.import_tasks(project.id, drafts(1))
        port.delete_project(project.id)
        port.delete_project(project.id)
        for request in (
            lambda: port.project(project.id),
            lambda: port.update_project(project.id, {"description": ""}),
            lambda: list(port.tasks(project.id)),
            lambda: port.stamps(project.id),
            lambda: port.task(task_id),
            lambda: port.task(task_id, project.id),
            lambda: port.predictions(task_id),
            lambda: port.import_tasks(project.id, drafts(1)),
            lambda: port.upload(project.id, [("a.png", PNG)]),
            lambda: port.delete_tasks(project.id, [task_id]),
            lambda: port.webhooks(project.id),
            lambda: port.backends(project.id),
            lambda: port.views(project.id),
            lambda: port.fetch(path, max_bytes=10),
        ):
            with pytest.raises(LabelStudioMissing):
                request()

    def test_nothing_can_be_added_to_a_missing_project(self, port: LabelStudioPort, world: World) -> None:
        for request in (
            lambda: port.create_webhook(NOWHERE, world.receiver_url, {}, ACTIONS),
            lambda: port.create_backend(NOWHERE, world.receiver_url, "x", "u", "p"),
            lambda: port.create_view(NOWHERE, {"title": "x"}),
        ):
            with pytest.raises(LabelStudioError, match="object does not exist"):
                request()

    def test_counts_change_with_objects_and_not_with_edits(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        other = world.new_project("two")
        first, second, _ = port.import_tasks(project.id, drafts(3))
        annotation = port.annotate(first, [GOOD])
        port.annotate(second, [], was_cancelled=True)
        counts = port.counts([project.id, NOWHERE, other.id])
        assert {id_: str(count) for id_, count in counts.items()} == {
            project.id: "3 tasks, 1 annotations, 1 skips",
            other.id: "0 tasks, 0 annotations, 0 skips",
        }
        port.update_annotation(annotation, [BAD])
        assert port.counts([project.id])[project.id] == counts[project.id]
        port.delete_annotation(annotation)
        assert str(port.counts([project.id])[project.id]) == "3 tasks, 0 annotations, 1 skips"

    def test_model_version_is_one_of_a_prediction_or_a_backend(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        with pytest.raises(LabelStudioError, match="Model version doesn't exist"):
            port.update_project(project.id, {"model_version": "m"})
        port.import_tasks(project.id, [{**drafts(1)[0], "predictions": [{"model_version": "m", "result": [GOOD]}]}])
        assert port.project(project.id).options["model_version"] == "m"
        port.import_tasks(project.id, [{**drafts(1)[0], "predictions": [{"model_version": "n", "result": [GOOD]}]}])
        assert port.project(project.id).options["model_version"] == "m"
        assert port.project(project.id).options["total_predictions_number"] == 2
        port.create_backend(project.id, world.receiver_url, "Live", "u", "p")
        for version in ("n", "Live", ""):
            assert port.update_project(project.id, {"model_version": version}).options["model_version"] == version

    # -- import and listing

    def test_imported_tasks_are_listed_once_each_in_order_over_several_pages(
        self, port: LabelStudioPort, project: Project
    ) -> None:
        ids = port.import_tasks(project.id, drafts(2 * PAGE + 7))
        assert ids == sorted(set(ids))
        assert ids_of(port, project) == ids
        assert [task.data["datagen_key"] for task in port.tasks(project.id, ids=ids[:2])] == ["b-0", "b-1"]

    def test_task_created_or_deleted_while_the_list_is_read_hides_no_other(
        self, port: LabelStudioPort, project: Project
    ) -> None:
        ids = port.import_tasks(project.id, drafts(PAGE + 20))
        listing = port.tasks(project.id)
        seen = [next(listing).id for _ in range(PAGE)]
        port.delete_tasks(project.id, ids[:3])
        late = port.import_tasks(project.id, drafts(1, "late"))
        seen += [task.id for task in listing]
        assert seen == ids + late

    def test_import_is_not_idempotent(self, port: LabelStudioPort, project: Project) -> None:
        first = port.import_tasks(project.id, drafts(2))
        second = port.import_tasks(project.id, drafts(2))
        assert ids_of(port, project) == first + second
        assert port.import_tasks(project.id, []) == []

    def test_import_without_what_the_label_config_shows_is_refused_as_a_whole(
        self, port: LabelStudioPort, project: Project
    ) -> None:
        with pytest.raises(LabelStudioError, match='"image" key is expected in task data'):
            port.import_tasks(project.id, [*drafts(1), {"data": {"text": "no image"}}])
        assert ids_of(port, project) == []

    def test_tasks_are_selected_by_id_in_ascending_order(self, port: LabelStudioPort, project: Project) -> None:
        ids = port.import_tasks(project.id, drafts(4))
        assert ids_of(port, project, ids=[NOWHERE, ids[3], ids[1], ids[1]]) == [ids[1], ids[3]]
        assert ids_of(port, project, ids=[]) == []

    def test_batch_is_selected_by_its_exact_text(self, port: LabelStudioPort, project: Project) -> None:
        ids = port.import_tasks(project.id, drafts(3, "round-1") + drafts(2, "round-10"))
        port.import_tasks(project.id, [{"data": {"image": "/x.png", "batch": 1}}, {"data": {"image": "/x.png"}}])
        assert ids_of(port, project, batch="round-1") == ids[:3]
        assert ids_of(port, project, batch="1") == []

    def test_tasks_behind_an_id_are_listed(self, port: LabelStudioPort, project: Project) -> None:
        first, second, third = sorted(port.import_tasks(project.id, drafts(3)))
        assert ids_of(port, project, after=first) == [second, third]
        assert ids_of(port, project, after=third) == []

    def test_updated_since_includes_the_time_itself(self, port: LabelStudioPort, project: Project) -> None:
        first, second = (port.import_tasks(project.id, drafts(1))[0] for _ in range(2))
        since = port.task(second, project.id).updated_at
        assert ids_of(port, project, updated_since=since) == [second]
        assert ids_of(port, project, updated_since="2020-01-01T00:00:00Z") == [first, second]
        assert ids_of(port, project, updated_since="2020-01-01T00:00:00Z", ids=[first]) == [first]

    def test_listing_without_annotations_counts_them(self, port: LabelStudioPort, project: Project) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        port.annotate(task_id, [GOOD])
        port.annotate(task_id, [], was_cancelled=True)
        [task] = port.tasks(project.id, annotations=False)
        assert (task.annotations, task.total_annotations) == ((), 2)

    def test_stamps_are_the_ids_and_update_times_of_the_tasks(self, port: LabelStudioPort, project: Project) -> None:
        port.import_tasks(project.id, drafts(3))
        tasks = list(port.tasks(project.id))
        assert port.stamps(project.id) == [(task.id, task.updated_at) for task in tasks]
        assert port.stamps(project.id, key="b-1") == [(tasks[1].id, tasks[1].updated_at)]
        assert port.stamps(project.id, key="b-9") == []
        port.annotate(tasks[0].id, [GOOD])
        since = port.task(tasks[0].id, project.id).updated_at
        assert port.stamps(project.id, updated_since=since) == [(tasks[0].id, since)]

    def test_task_reads_the_same_with_and_without_its_project(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        port.annotate(task_id, [GOOD])
        assert port.task(task_id) == port.task(task_id, project.id)
        other = world.new_project("two")
        with pytest.raises(LabelStudioMissing, match=f"task {task_id} in project {other.id}"):
            port.task(task_id, other.id)

    def test_missing_task_is_named(self, port: LabelStudioPort, project: Project) -> None:
        for request in (
            lambda: port.task(NOWHERE),
            lambda: port.task(NOWHERE, project.id),
            lambda: port.update_task_data(NOWHERE, {}),
            lambda: port.set_finished(NOWHERE, True),
            lambda: port.annotate(NOWHERE, [GOOD]),
            lambda: port.predictions(NOWHERE),
            lambda: port.replace_predictions(NOWHERE, []),
        ):
            with pytest.raises(LabelStudioMissing, match=f"task {NOWHERE}"):
                request()

    # -- changes of tasks

    def test_every_change_of_a_task_updates_its_time(self, port: LabelStudioPort, project: Project) -> None:
        task_id, other = port.import_tasks(project.id, drafts(2))
        annotation = 0

        def annotate() -> None:
            nonlocal annotation
            annotation = port.annotate(task_id, [GOOD])

        for change in (
            annotate,
            lambda: port.update_annotation(annotation, [BAD]),
            lambda: port.update_annotation(annotation, [BAD]),  # even one that changes nothing
            lambda: port.delete_annotation(annotation),
            lambda: port.annotate(task_id, [], was_cancelled=True),
            lambda: port.update_task_data(task_id, {"image": "/y.png"}),
            lambda: port.replace_predictions(task_id, [{"model_version": "m", "result": [GOOD]}]),
            lambda: port.replace_predictions(task_id, []),
        ):
            before = max(task.updated_at for task in port.tasks(project.id))
            change()
            touched = [task for task in port.tasks(project.id, updated_since=before) if task.updated_at > before]
            assert [task.id for task in touched] == [task_id]
        assert port.task(other, project.id).annotations == ()

    def test_update_of_task_data_replaces_all_of_it(self, port: LabelStudioPort, project: Project) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        port.update_task_data(task_id, {"image": "/y.png", "nested": {"n": [1, 2.5, None, True, "ü"]}})
        assert port.task(task_id).data == {"image": "/y.png", "nested": {"n": [1, 2.5, None, True, "ü"]}}

    def test_task_is_finished_when_it_is_set_or_annotated(self, port: LabelStudioPort, project: Project) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))

        def is_finished() -> bool:
            [task] = port.tasks(project.id, annotations=False)
            assert task.is_finished == next(port.tasks(project.id)).is_finished
            return task.is_finished

        assert not is_finished()
        port.set_finished(task_id, True)
        assert is_finished()
        port.update_task_data(task_id, {"image": "/y.png"})
        assert is_finished()
        skip = port.annotate(task_id, [], was_cancelled=True)
        assert not is_finished()
        port.delete_annotation(skip)
        annotation = port.annotate(task_id, [])
        assert is_finished()
        port.delete_annotation(annotation)
        assert not is_finished()
        port.set_finished(task_id, True)
        port.set_finished(task_id, False)
        assert not is_finished()
        port.update_task_data(task_id, {"image": "/z.png"}, finished=True)
        assert is_finished()
        assert port.task(task_id, project.id).data == {"image": "/z.png"}
        port.update_task_data(task_id, {"image": "/z.png"}, finished=False)
        assert not is_finished()

    def test_values_read_are_copies(self, port: LabelStudioPort, project: Project) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        port.task(task_id).data["image"] = "/changed.png"
        assert port.task(task_id).data["image"] == "/x.png"

    def test_deleted_tasks_are_gone_and_deleting_them_again_is_no_error(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        other = world.new_project("two")
        [elsewhere] = port.import_tasks(other.id, drafts(1))
        ids = port.import_tasks(project.id, drafts(3))
        for _ in range(2):
            port.delete_tasks(project.id, [ids[0], ids[2], NOWHERE, elsewhere])
            assert ids_of(port, project) == [ids[1]]
        assert ids_of(port, other) == [elsewhere]
        with pytest.raises(LabelStudioMissing):
            port.task(ids[0])

    def test_tabs_are_deleted_with_the_last_task(self, port: LabelStudioPort, project: Project) -> None:
        first, second = port.import_tasks(project.id, drafts(2))
        port.create_view(project.id, {"title": "mine"})
        port.delete_tasks(project.id, [first])
        assert [view.title for view in port.views(project.id)] == ["mine"]
        port.delete_tasks(project.id, [second])
        assert port.views(project.id) == []

    def test_text_that_json_cannot_carry_is_refused_before_it_is_sent(
        self, port: LabelStudioPort, project: Project
    ) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        for request in (
            lambda: port.update_task_data(task_id, {"image": HALF}),
            lambda: port.annotate(task_id, [{**GOOD, "value": {"choices": [float("nan")]}}]),
            lambda: port.import_tasks(project.id, [{"data": {"image": HALF}}]),
        ):
            with pytest.raises(ValueError, match=r"surrogate|JSON"):
                request()
        assert [(task.id, task.data["image"]) for task in port.tasks(project.id)] == [(task_id, "/x.png")]

    # -- annotations

    def test_newest_annotation_is_the_one_updated_last(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        first = port.annotate(task_id, [GOOD])
        second = port.annotate(task_id, [BAD])
        assert _newest(port, task_id).id == second
        port.update_annotation(first, [BAD, GOOD])
        task = port.task(task_id)
        assert [annotation.id for annotation in task.annotations] == [first, second]
        newest = _newest(port, task_id)
        assert (newest.id, newest.completed_by, newest.copied_from) == (first, world.email, None)
        assert [entry["value"]["choices"] for entry in newest.result] == [["bad"], ["good"]]

    def test_skip_is_an_annotation_that_is_never_the_newest(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        skip = port.annotate(task_id, [GOOD], was_cancelled=True)
        task = port.task(task_id)
        assert ([annotation.was_cancelled for annotation in task.annotations], task.newest) == ([True], None)
        assert port.task(task_id, project.id) == task
        assert task.total_annotations == 1
        world.edit_annotation(skip, was_cancelled=False)
        assert _newest(port, task_id).id == skip
        world.edit_annotation(skip, was_cancelled=True)
        assert port.task(task_id).newest is None

    def test_deleting_an_annotation_again_is_no_error_and_updating_it_is(
        self, port: LabelStudioPort, project: Project
    ) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        annotation = port.annotate(task_id, [GOOD])
        port.delete_annotation(annotation)
        port.delete_annotation(annotation)
        assert port.task(task_id).annotations == ()
        with pytest.raises(LabelStudioMissing, match=f"annotation {annotation}"):
            port.update_annotation(annotation, [GOOD])

    def test_annotation_in_the_name_of_another_user_is_that_users(
        self, port: LabelStudioPort, hooked: Project, world: World
    ) -> None:
        [task_id] = port.import_tasks(hooked.id, drafts(1))
        user_id, email = world.colleague()
        annotation = port.annotate(task_id, marked([GOOD], user_id), completed_by=user_id)
        newest = _newest(port, task_id)
        assert (newest.id, newest.submitted_by, newest.completed_by) == (annotation, user_id, email)
        assert "ANNOTATION_CREATED" in [body["action"] for _, body in world.events]
        port.update_annotation(annotation, marked([BAD], user_id))
        newest = _newest(port, task_id)
        assert (newest.submitted_by, newest.completed_by) == (user_id, email)
        assert newest.result[0]["value"] == BAD["value"]
        port.update_annotation(annotation, [GOOD])  # a change in Label Studio by the token's user
        newest = _newest(port, task_id)
        assert newest.submitted_by == user_id
        assert newest.completed_by.startswith("user ")

    def test_annotation_in_the_name_of_nobody_is_refused(self, port: LabelStudioPort, project: Project) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        with pytest.raises(LabelStudioError, match="completed_by") as refusal:
            port.annotate(task_id, [GOOD], completed_by=NOWHERE)
        assert not isinstance(refusal.value, LabelStudioUnavailable)
        assert port.task(task_id).annotations == ()

    def test_annotations_of_an_import_name_their_originals_until_an_update(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        original = port.annotate(task_id, [GOOD])
        port.annotate(task_id, [], was_cancelled=True)
        [exported] = world.export_tasks(project.id, [task_id])
        [copy] = port.import_tasks(project.id, [{name: exported[name] for name in ("data", "annotations")}])
        task = port.task(copy)
        assert task.data == port.task(task_id).data
        submitted, skipped = task.annotations
        assert (submitted.copied_from, submitted.was_cancelled, submitted.completed_by) == (
            original,
            False,
            world.email,
        )
        assert skipped.was_cancelled
        assert submitted.id > original
        port.update_annotation(submitted.id, [BAD])
        assert [
            annotation.copied_from for annotation in port.task(copy).annotations if not annotation.was_cancelled
        ] == [None]

    # -- predictions

    def test_predictions_come_with_an_import_or_later_in_order(self, port: LabelStudioPort, project: Project) -> None:
        given = [{"model_version": "m", "result": [GOOD], "score": 0.5}, {"model_version": "n", "result": [BAD]}]
        [task_id] = port.import_tasks(project.id, [{**drafts(1)[0], "predictions": given}])
        assert port.task(task_id, project.id).total_predictions == 2
        for _ in range(2):
            predictions = [
                (prediction["model_version"], prediction["score"], prediction["result"])
                for prediction in port.predictions(task_id)
            ]
            assert predictions == [("m", 0.5, [GOOD]), ("n", None, [BAD])]
            port.replace_predictions(task_id, given)

    def test_replaced_predictions_leave_none_of_the_old(self, port: LabelStudioPort, project: Project) -> None:
        [task_id] = port.import_tasks(project.id, drafts(1))
        port.replace_predictions(task_id, [{"model_version": "old", "result": [GOOD]}])
        port.replace_predictions(task_id, [{"model_version": "new", "result": [BAD], "score": 0.5}])
        assert [(prediction["model_version"], prediction["score"]) for prediction in port.predictions(task_id)] == [
            ("new", 0.5)
        ]
        port.replace_predictions(task_id, [])
        assert port.predictions(task_id) == []

    # -- tasks that cannot be sent

    @pytest.fixture
    def mixed(self, port: LabelStudioPort, project: Project, world: World) -> tuple[list[int], list[int]]:
        """The ids of the project's readable tasks, and those of its unreadable tasks."""
        first = port.import_tasks(project.id, drafts(7))
        bad = world.import_json(project.id, poison(datagen_key="bad-1", batch="b"))
        return first + port.import_tasks(project.id, drafts(4)), bad

    def test_tasks_beside_one_that_cannot_be_sent_are_read(
        self, port: LabelStudioPort, project: Project, mixed: tuple[list[int], list[int]]
    ) -> None:
        good, bad = mixed
        for which in ({}, {"batch": "b", "annotations": False}):
            unreadable: list[int] = []
            assert ids_of(port, project, unreadable=unreadable, **which) == good
            assert unreadable == bad
        assert [task_id for task_id, _ in port.stamps(project.id)] == sorted(good + bad)
        assert [task_id for task_id, _ in port.stamps(project.id, key="bad-1")] == bad
        assert port.counts([project.id])[project.id].tasks == len(good + bad)

    def test_tab_is_read_around_it_in_its_own_order(
        self, port: LabelStudioPort, project: Project, mixed: tuple[list[int], list[int]]
    ) -> None:
        good, bad = mixed
        view = port.create_view(project.id, {"title": "backwards", "ordering": ["-tasks:id"]})
        unreadable: list[int] = []
        assert ids_of(port, project, view_id=view.id, unreadable=unreadable) == good[::-1]
        assert unreadable == bad

    def test_unexpected_one_is_named(
        self, port: LabelStudioPort, project: Project, mixed: tuple[list[int], list[int]]
    ) -> None:
        _, [bad] = mixed
        for request in (
            lambda: list(port.tasks(project.id)),
            lambda: port.task(bad, project.id),
            lambda: port.task(bad),
        ):
            with pytest.raises(LabelStudioFault, match=f"task {bad}"):
                request()

    def test_one_that_is_deleted_hides_nothing_any_more(
        self, port: LabelStudioPort, project: Project, mixed: tuple[list[int], list[int]]
    ) -> None:
        good, bad = mixed
        port.delete_tasks(project.id, bad)
        assert ids_of(port, project) == good

    def test_too_many_of_them_are_a_fault_of_the_project(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        bad = world.import_json(project.id, json.dumps(json.loads(poison()) * 3 * MAX_UNREADABLE))
        with pytest.raises(LabelStudioFault, match=rf"more than {MAX_UNREADABLE} tasks .* {bad[0]}, {bad[1]}"):
            list(port.tasks(project.id, unreadable=[]))

    def test_annotation_that_cannot_be_sent_affects_listings_with_annotations_only(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        annotation = {"result": [{**GOOD, "value": {"text": [HALF]}}]}
        [bad] = world.import_json(project.id, json.dumps([{**drafts(1)[0], "annotations": [annotation]}]))
        unreadable: list[int] = []
        assert ids_of(port, project, unreadable=unreadable) == []
        assert unreadable == [bad]
        assert ids_of(port, project, annotations=False) == [bad]

    def test_data_of_a_task_that_cannot_be_sent_can_be_replaced(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        [bad] = world.import_json(project.id, poison())
        port.update_task_data(bad, {"image": "/y.png"})
        assert port.task(bad).data == {"image": "/y.png"}

    def test_update_of_data_beside_such_an_annotation_is_made_though_the_server_fails(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        annotation = {"result": [{**GOOD, "value": {"text": [HALF]}}]}
        [bad] = world.import_json(project.id, json.dumps([{**drafts(1)[0], "annotations": [annotation]}]))
        with pytest.raises(LabelStudioUnavailable, match=f"could not serve task {bad}"):
            port.update_task_data(bad, {"image": "/y.png"})
        assert [task.data for task in port.tasks(project.id, annotations=False)] == [{"image": "/y.png"}]

    # -- webhooks

    def test_each_change_sends_the_event_that_the_inbox_understands(
        self, port: LabelStudioPort, hooked: Project, world: World
    ) -> None:
        first, second = port.import_tasks(hooked.id, drafts(2))
        annotation = port.annotate(first, [GOOD])
        port.update_annotation(annotation, [BAD])
        port.update_annotation(annotation, [BAD])
        skip = port.annotate(second, [], was_cancelled=True)
        port.delete_annotation(annotation)
        port.delete_tasks(hooked.id, [second, first])
        port.update_project(hooked.id, {"description": "x"})
        events = world.received()
        assert [(event.action, event.task_ids, event.annotation_ids) for event in events] == [
            ("TASKS_CREATED", (first, second), ()),
            ("ANNOTATION_CREATED", (first,), (annotation,)),
            ("ANNOTATION_UPDATED", (first,), (annotation,)),
            ("ANNOTATION_UPDATED", (first,), (annotation,)),
            ("ANNOTATION_CREATED", (second,), (skip,)),
            ("ANNOTATIONS_DELETED", (), (annotation,)),  # the task is not named
            ("TASKS_DELETED", (first, second), ()),
            ("PROJECT_UPDATED", (), ()),
        ]
        assert {event.project_id for event in events} == {hooked.id}
        assert len({event.fingerprint for event in events}) == len(events)
        assert {headers["X-Secret"] for headers, _ in world.events} == {"s"}

    def test_deletions_carry_ids_alone(self, port: LabelStudioPort, hooked: Project, world: World) -> None:
        [task_id] = port.import_tasks(hooked.id, drafts(1))
        annotation = port.annotate(task_id, [GOOD])
        port.delete_annotation(annotation)
        port.delete_tasks(hooked.id, [task_id])
        bodies = {body["action"]: body for _, body in world.events}
        assert bodies["ANNOTATIONS_DELETED"]["annotations"] == [{"id": annotation}]
        assert bodies["TASKS_DELETED"]["tasks"] == [{"id": task_id}]
        assert "task" not in bodies["ANNOTATIONS_DELETED"]

    def test_changes_that_send_no_event(self, port: LabelStudioPort, hooked: Project, world: World) -> None:
        [task_id] = port.import_tasks(hooked.id, drafts(1))
        port.update_task_data(task_id, {"image": "/y.png"})
        port.replace_predictions(task_id, [{"model_version": "m", "result": [GOOD]}])
        port.replace_predictions(task_id, [])
        port.upload(hooked.id, [("a.png", PNG)])
        port.create_view(hooked.id, {"title": "x"})
        port.delete_annotation(NOWHERE)
        port.delete_tasks(hooked.id, [NOWHERE])
        assert [event.action for event in world.received()] == ["TASKS_CREATED"]

    def test_import_with_annotations_sends_the_creation_of_tasks_alone(
        self, port: LabelStudioPort, hooked: Project, world: World
    ) -> None:
        port.import_tasks(hooked.id, [{**drafts(1)[0], "annotations": [{"result": [GOOD]}]}])
        assert [event.action for event in world.received()] == ["TASKS_CREATED"]

    def test_event_is_sent_to_webhooks_registered_for_it(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        port.create_webhook(project.id, world.receiver_url, {}, ["TASKS_DELETED"])
        ids = port.import_tasks(project.id, drafts(2))
        port.annotate(ids[0], [GOOD])
        port.delete_tasks(project.id, ids[:1])
        assert [event.action for event in world.received()] == ["TASKS_DELETED"]

    def test_change_is_made_though_the_receiver_is_down_and_the_event_is_lost(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        webhook = port.create_webhook(project.id, world.closed_url, {}, ACTIONS)
        [task_id] = port.import_tasks(project.id, drafts(1))
        annotation = port.annotate(task_id, [GOOD])
        port.update_webhook(webhook.id, world.receiver_url, {}, ACTIONS)
        assert [kept.id for kept in port.task(task_id).annotations] == [annotation]
        port.delete_annotation(annotation)
        assert [event.action for event in world.received()] == ["ANNOTATIONS_DELETED"]

    def test_webhook_is_what_was_written(self, port: LabelStudioPort, project: Project, world: World) -> None:
        first = port.create_webhook(project.id, f"{world.closed_url}/a", {"X-Secret": "s"}, ["TASKS_CREATED"])
        second = port.create_webhook(project.id, f"{world.closed_url}/z", {}, ACTIONS)
        port.update_webhook(first.id, f"{world.closed_url}/b", {"X-Secret": "t"}, ["TASKS_DELETED"])
        listed = port.webhooks(project.id)
        assert [webhook.id for webhook in listed] == [first.id, second.id]
        assert (listed[0].url, listed[0].headers, listed[0].actions) == (
            f"{world.closed_url}/b",
            {"X-Secret": "t"},
            {"TASKS_DELETED"},
        )
        assert (listed[0].project_id, listed[0].is_active, listed[0].send_payload) == (project.id, True, True)
        assert (listed[1].actions, listed[1].send_for_all_actions) == (frozenset(ACTIONS), False)
        for _ in range(2):
            port.delete_webhook(first.id)
        assert [webhook.id for webhook in port.webhooks(project.id)] == [second.id]
        with pytest.raises(LabelStudioMissing, match=f"webhook {first.id}"):
            port.update_webhook(first.id, world.closed_url, {}, ACTIONS)

    # -- ML backends

    def test_backend_brings_a_webhook_of_its_own_which_stays(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        created = port.create_backend(project.id, world.receiver_url, "Mine", "user", "password")
        [backend] = port.backends(project.id)
        assert (backend.id, backend.url, backend.title) == (created.id, world.receiver_url, "Mine")
        assert (backend.state, backend.basic_auth_user) == ("CO", "user")
        port.update_backend(backend, project.id, world.receiver_url, "Renamed", "other", "password")
        [backend] = port.backends(project.id)
        assert (backend.id, backend.title, backend.basic_auth_user) == (created.id, "Renamed", "other")
        for _ in range(2):
            port.delete_backend(backend.id)
        assert port.backends(project.id) == []
        [webhook] = port.webhooks(project.id)
        assert (webhook.url, webhook.headers) == (f"{world.receiver_url}/webhook", {})
        assert webhook.send_for_all_actions

    def test_backend_brings_no_webhook_to_an_address_that_has_one(
        self, port: LabelStudioPort, hooked: Project, world: World
    ) -> None:
        port.create_backend(hooked.id, world.receiver_url, "Mine", "user", "password")
        assert [webhook.headers for webhook in port.webhooks(hooked.id)] == [{"X-Secret": "s"}]

    def test_backend_that_does_not_answer_is_refused_with_the_reason(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        with pytest.raises(LabelStudioError, match="Can't connect to ML backend"):
            port.create_backend(project.id, world.closed_url, "none", "u", "p")
        assert port.backends(project.id) == []

    def test_start_training_is_sent_to_the_backend_with_its_password(
        self, port: LabelStudioPort, hooked: Project, world: World
    ) -> None:
        port.create_backend(hooked.id, world.receiver_url, "Mine", "user", "password")
        world.start_training(hooked.id)
        [(headers, body)] = [event for event in world.events if event[1]["action"] == START_TRAINING]
        assert headers["Authorization"] == "Basic dXNlcjpwYXNzd29yZA=="
        event = WebhookEvent.parse(body)
        assert (event.action, event.project_id) == (START_TRAINING, hooked.id)

    # -- tabs

    def test_tab_shows_the_tasks_of_its_filters_in_its_order(self, port: LabelStudioPort, project: Project) -> None:
        ids = port.import_tasks(project.id, drafts(3, "one") + drafts(4, "two"))
        good, bad, skipped, _ = ids[3:]
        port.annotate(good, [GOOD])
        port.annotate(bad, [BAD])
        port.annotate(skipped, [], was_cancelled=True)
        two = _filter("data.batch", "equal", "String", "two")
        for filters, shown in (
            ([], ids),
            ([two], ids[3:]),
            ([two, _filter("total_annotations", "equal", "Number", 0)], [ids[5], ids[6]]),
            ([_filter("cancelled_annotations", "equal", "Number", 0)], [*ids[:5], ids[6]]),
            ([two, _filter("annotations_results", "contains", "String", '"choices": ["good"]')], [good]),
        ):
            data = {"title": "T", "filters": {"conjunction": "and", "items": filters}, "ordering": ["-tasks:id"]}
            view = port.create_view(project.id, data)
            assert ids_of(port, project, view_id=view.id) == shown[::-1], filters
        assert ids_of(port, project, view_id=port.create_view(project.id, {"title": "All"}).id) == ids

    def test_tab_of_several_pages_is_read_to_its_end(self, port: LabelStudioPort, project: Project) -> None:
        ids = port.import_tasks(project.id, drafts(PAGE + 3))
        view = port.create_view(project.id, {"title": "backwards", "ordering": ["-tasks:id"]})
        assert ids_of(port, project, view_id=view.id) == ids[::-1]

    def test_tabs_are_kept_as_written(self, port: LabelStudioPort, project: Project) -> None:
        port.import_tasks(project.id, drafts(1))
        filters = {"conjunction": "and", "items": [_filter("data.batch", "equal", "String", "two")]}
        first = port.create_view(project.id, {"title": "One", "filters": filters, "ordering": ["tasks:id"]})
        second = port.create_view(project.id, {"title": "Two", "gridWidth": 4})
        assert [(view.id, view.title) for view in port.views(project.id)] == [(first.id, "One"), (second.id, "Two")]
        assert port.views(project.id)[0].data["filters"] == filters
        port.update_view(first.id, project.id, {"title": "Eins"})
        for _ in range(2):
            port.delete_view(second.id)
        assert [view.title for view in port.views(project.id)] == ["Eins"]
        for request in (
            lambda: port.update_view(second.id, project.id, {"title": "x"}),
            lambda: list(port.tasks(project.id, view_id=second.id)),
        ):
            with pytest.raises(LabelStudioMissing, match=f"tab {second.id}"):
                request()

    # -- files

    def test_uploads_come_back_as_they_were_in_order_and_create_no_task(
        self, port: LabelStudioPort, project: Project
    ) -> None:
        files = [("a b.png", bytes(range(256)) * 100), ("c.jpg", b"c"), ("a b.png", b"again")]
        paths = port.upload(project.id, files)
        assert len(set(paths)) == 3
        assert all(path.startswith(f"/data/upload/{project.id}/") for path in paths)
        assert paths[0].endswith("-a_b.png")
        for path, (_, data) in zip(paths, files, strict=True):
            assert port.fetch(path, max_bytes=len(data)) == data
            assert port.fetch(port.url + path, max_bytes=len(data)) == data
        assert ids_of(port, project) == []
        assert port.upload(project.id, []) == []

    def test_kind_of_file_that_cannot_be_uploaded_is_named(self, port: LabelStudioPort, project: Project) -> None:
        with pytest.raises(LabelStudioError, match=r"plate\.tif.*\.tif extension is not supported"):
            port.upload(project.id, [("plate.tif", b"II*\0")])

    def test_file_is_fetched_from_label_studio_alone_and_up_to_a_size(
        self, port: LabelStudioPort, project: Project, world: World
    ) -> None:
        [path] = port.upload(project.id, [("a.png", PNG)])
        with pytest.raises(InputProblem, match="is larger than 3 bytes"):
            port.fetch(path, max_bytes=3)
        with pytest.raises(InputProblem, match="is not on Label Studio"):
            port.fetch(f"{world.closed_url}/a.png", max_bytes=10)
        with pytest.raises(LabelStudioMissing, match="is gone from Label Studio; upload the image again"):
            port.fetch(f"/data/upload/{project.id}/00000000-gone.png", max_bytes=100)
        with pytest.raises(LabelStudioMissing, match=r"does not have the image .*/nowhere\.png"):
            port.fetch("/nowhere.png", max_bytes=100)


def _newest(client: LabelStudioPort, task_id: int) -> Annotation:
    newest = client.task(task_id).newest
    assert newest is not None
    return newest


def _filter(field: str, operator: str, kind: str, value: object) -> dict[str, Any]:
    return {"filter": f"filter:tasks:{field}", "operator": operator, "type": kind, "value": value}
