"""``/webhook``: events of Label Studio are stored before the answer; other requests are refused with one sentence."""

from __future__ import annotations

import json
import time
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from sqlalchemy import func, select

from datagen.domain.inputs import ProjectKind
from datagen.entrypoints.bootstrap import server_access_of
from datagen.label_studio.api.webhook_payload import ACTIONS
from datagen.store.study_secrets import SHARED, new_salt
from datagen.store.tables.base import WorkState
from datagen.store.tables.messages import InboxRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.services import JobKind, JobRequest
from datagen.workflow.studies.open import open_study
from stage.ports import free_port
from stage.processes import Processes
from studio import UNKNOWN_PROJECT, Studio, Study, start_web

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def event(**more: Any) -> bytes:
    """Return a webhook's body as Label Studio sends it, with a unique time of change."""
    body = {
        "action": "ANNOTATION_CREATED",
        "project": {"id": UNKNOWN_PROJECT, "token": "a project's secret token", "task_data_password": "hush"},
        "task": {"id": 7},
        "annotation": {"id": 8, "updated_at": uuid.uuid4().hex, "task": 7},
    }
    return json.dumps(body | more).encode()


def stored(studio: Studio) -> int:
    with studio.rows() as session:
        return session.scalar(select(func.count()).select_from(InboxRow)) or 0


def test_an_event_is_stored_before_it_is_answered_and_queued(studio: Studio) -> None:
    answer = studio.post_webhook(event())
    assert (answer.status_code, answer.json()) == (201, {"stored": True})
    with studio.rows() as session:
        row = session.scalars(select(InboxRow).order_by(InboxRow.id.desc()).limit(1)).one()
    assert (row.action, row.project_id, row.task_ids, row.annotation_ids) == (
        "ANNOTATION_CREATED",
        UNKNOWN_PROJECT,
        [7],
        [8],
    )
    studio.drain_notifier()
    assert JobRequest(JobKind.EVENT, row.id) in studio.queues.queued()


def test_the_same_event_twice_is_one_row_even_at_the_same_time(studio: Studio) -> None:
    before, body = stored(studio), event()
    with ThreadPoolExecutor(8) as senders:
        answers = list(senders.map(lambda _: studio.post_webhook(body), range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert stored(studio) == before + 1


def test_of_a_body_nothing_secret_is_kept(studio: Studio) -> None:
    studio.post_webhook(event())
    kept = Path(studio.settings.data_dir / "datagen.sqlite3").read_bytes()
    kept += Path(studio.settings.data_dir / "datagen.sqlite3-wal").read_bytes()
    assert b"a project's secret token" not in kept
    assert b"hush" not in kept


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "the webhook's body is empty; switch “Send payload” on for the webhook."),
        (b"   ", "the webhook's body is empty; switch “Send payload” on for the webhook."),
        (b"action=x", "the webhook's body is not JSON; it is not one of Label Studio's."),
        (b"\xff\xfe\x00", "the webhook's body is not JSON; it is not one of Label Studio's."),
        (b"[" * 20_000, "the webhook's body is not JSON; it is not one of Label Studio's."),
        (b"[]", "the webhook's body is no JSON object; it is not one of Label Studio's."),
        (b"{}", "the webhook's body names no action; it is not one of Label Studio's."),
        (b'{"action": "X"}', "the webhook's body names no project; switch “Send payload” on for the webhook."),
        (
            b'{"action": "X", "project": {"id": "7"}}',
            "the webhook's body names no project; switch “Send payload” on for the webhook.",
        ),
    ],
    ids=["empty", "blank", "form", "bytes", "deep", "list", "object", "no project", "text id"],
)
def test_an_empty_or_non_json_body_is_refused_with_its_reason(body: bytes, sentence: str, studio: Studio) -> None:
    before = stored(studio)
    answer = studio.post_webhook(body)
    assert (answer.status_code, answer.json()) == (400, {"error": sentence})
    assert stored(studio) == before


def test_a_huge_body_is_refused_unread(studio: Studio) -> None:
    before = stored(studio)
    answer = studio.post_webhook(event(padding="x" * studio.settings.max_webhook_bytes))
    assert answer.status_code == 413
    assert stored(studio) == before


@pytest.mark.parametrize("secret", ["", "wrong", "ä".encode().decode("latin-1")])
def test_wrong_secret_is_refused_with_the_fix(secret: str, studio: Studio) -> None:
    before = stored(studio)
    answer = httpx.post(
        f"{studio.settings.own_url}/webhook",
        content=event(),
        headers=[(b"X-Datagen-Secret", secret.encode("latin-1"))],
        timeout=30,
    )
    assert answer.status_code == 401
    assert answer.json() == {"error": "the webhook's secret is missing or wrong; run: datagen provision STUDY"}
    assert stored(studio) == before


@pytest.mark.parametrize("action", ["START_TRAINING", " START_TRAINING ", "START_TRAINING\n"])
def test_start_training_needs_more_than_the_secret_that_every_member_reads(
    action: str, studio: Studio, study: Study
) -> None:
    """With the secret alone, a member could start a round of any study."""
    before, rounds = stored(studio), len(study.batches())
    body = event(action=action, project={"id": study.projects[ProjectKind.PREVIEWS]})
    for secret in (studio.secret_of(study.id), studio.settings.secret_of_webhooks):
        answer = studio.post_webhook(body, secret=secret)
        assert answer.status_code == 403
        assert answer.json()["error"].startswith("“Start Training” needs the basic-auth password")
    assert stored(studio) == before
    studio.settle()
    assert len(study.batches()) == rounds
    auth = (studio.settings.basic_auth_user, studio.settings.password)
    assert httpx.post(f"{studio.settings.own_url}/webhook", content=body, auth=auth, timeout=30).status_code == 201
    studio.settle()


def test_secret_of_a_study_is_valid_for_its_own_projects_alone(studio: Studio, study: Study) -> None:
    other = studio.open_study(inputs=False)
    before = stored(studio)
    for secret in (studio.secret_of(other.id), studio.settings.secret_of_webhooks):
        for project in study.projects.values():
            answer = studio.post_webhook(event(project={"id": project}), secret=secret)
            assert (answer.status_code, answer.json()) == (
                403,
                {"error": "the webhook's secret is not that of this project's study; run: datagen provision STUDY"},
            )
    assert stored(studio) == before
    answer = studio.post_webhook(
        event(project={"id": study.projects[ProjectKind.DATASET]}), secret=studio.secret_of(study.id)
    )
    assert answer.status_code == 201
    studio.settle()


def test_webhooks_of_an_earlier_release_work_until_their_study_is_provisioned_again(studio: Studio) -> None:
    study = studio.open_study(inputs=False)
    shared = studio.settings.secret_of_webhooks
    with studio.services.database.write() as session:
        session.get_one(StudyRow, study.id).webhook_salt = SHARED
    for project in study.projects.values():
        for hook in studio.client.webhooks(project):
            url = f"{studio.settings.own_url}/webhook"
            studio.client.update_webhook(hook.id, url, {"X-Datagen-Secret": shared}, ACTIONS)

    def tell(secret: str) -> int:
        body = event(project={"id": study.projects[ProjectKind.DATASET]})
        return studio.post_webhook(body, secret=secret).status_code

    assert tell(shared) == 201
    studio.client.update_project(study.projects[ProjectKind.BACKGROUNDS], {"description": "touched"})
    assert [received.action for received in study.events(ProjectKind.BACKGROUNDS)] == ["PROJECT_UPDATED"]
    open_study(studio.services, study.name, [], server_access_of(studio.settings), engine=None, preview_size=3)
    assert (tell(shared), tell(studio.secret_of(study.id))) == (403, 201)
    studio.client.update_project(study.projects[ProjectKind.BACKGROUNDS], {"description": "touched again"})
    assert len(study.events(ProjectKind.BACKGROUNDS)) == 2
    studio.settle()


def test_previous_secret_of_a_study_is_accepted_during_its_change(studio: Studio) -> None:
    study = studio.open_study(inputs=False)
    before = studio.secret_of(study.id)
    with studio.services.database.write() as session:  # the change was begun, and Label Studio has the old secret
        row = session.get_one(StudyRow, study.id)
        row.webhook_salt_previous, row.webhook_salt = row.webhook_salt, new_salt()
    for secret in (before, studio.secret_of(study.id)):
        body = event(project={"id": study.projects[ProjectKind.DATASET]})
        assert studio.post_webhook(body, secret=secret).status_code == 201
    studio.settle()


def test_label_studio_sends_start_training_with_the_log_in_and_the_rest_with_the_studys_secret(
    studio: Studio, study: Study
) -> None:
    """The two rules depend on this behaviour of the real server."""
    [backend] = studio.client.backends(study.projects[ProjectKind.PREVIEWS])
    headers = {"Authorization": f"Token {studio.server.token}"}
    url = f"{studio.server.url}/api/ml/{backend.id}/train"
    httpx.post(url, headers=headers, json={}, timeout=30).raise_for_status()
    studio.client.update_project(study.projects[ProjectKind.PREVIEWS], {"description": uuid.uuid4().hex})
    assert {"START_TRAINING", "PROJECT_UPDATED"} <= {received.action for received in study.events(ProjectKind.PREVIEWS)}
    studio.settle()


def test_odd_values_do_no_harm(studio: Studio) -> None:
    for odd in (
        {"task": {"id": "seven"}},
        {"task": [1, None, {"id": True}], "annotation": [None, "x", {"id": -1}]},
        {"annotation": {"id": 2**80, "task": 2**80}},
        {"action": "A_NEW_ACTION_" + "X" * 500},
        {"annotation": {"id": 1, "updated_at": {"deep": ["er"]}}},
    ):
        assert studio.post_webhook(event(**odd, nonce=uuid.uuid4().hex)).status_code in (200, 201), odd
    studio.settle()


def test_an_answer_takes_milliseconds(studio: Studio) -> None:
    studio.post_webhook(event())
    with httpx.Client(headers={"X-Datagen-Secret": studio.settings.secret_of_webhooks}) as label_studio:
        took = []
        for _ in range(20):
            began = time.perf_counter()
            label_studio.post(f"{studio.settings.own_url}/webhook", content=event()).raise_for_status()
            took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 0.25  # Label Studio gives up after 1 s; a busy machine has its share


@pytest.fixture
def elsewhere(studio: Studio, processes: Processes, tmp_path: Path) -> Iterator[dict[str, str]]:
    """The environment of another web process; the test sets the address of the part that is to be unavailable."""
    environment = {**studio.environment, "PORT": str(free_port())}
    yield environment
    for started in processes.alive():
        if started.name == f"web-{environment['PORT']}":
            processes.stop(started)


def post(environment: dict[str, str], studio: Studio) -> httpx.Response:
    headers = {"X-Datagen-Secret": studio.settings.secret_of_webhooks}
    return httpx.post(f"http://127.0.0.1:{environment['PORT']}/webhook", content=event(), headers=headers, timeout=30)


def test_unavailable_database_is_answered_with_503_and_the_event_is_found_later(
    studio: Studio, elsewhere: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    elsewhere["DATAGEN_DATABASE_URL"] = f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none"
    start_web(processes, elsewhere, tmp_path)
    answer = post(elsewhere, studio)
    assert answer.status_code == 503
    assert answer.json() == {"error": "the database is unavailable; the event is found later by polling Label Studio"}


def test_an_event_while_redis_is_down_is_stored_and_found_by_the_sweeper(
    studio: Studio, elsewhere: dict[str, str], processes: Processes, tmp_path: Path
) -> None:
    elsewhere["REDIS_URL"] = f"redis://127.0.0.1:{free_port()}/0"
    start_web(processes, elsewhere, tmp_path)
    before = stored(studio)
    assert post(elsewhere, studio).status_code == 201
    assert stored(studio) == before + 1
    assert studio.queues.queued() == set()
    studio.settle()
    with studio.rows() as session:
        assert session.scalars(select(InboxRow).order_by(InboxRow.id.desc()).limit(1)).one().state == WorkState.DONE


def test_jobs_are_json_in_redis_never_pickle(studio: Studio) -> None:
    studio.post_webhook(event())
    studio.drain_notifier()
    with Redis.from_url(studio.settings.redis_url) as redis:
        jobs = [key for key in redis.keys("rq:job:*") if redis.type(key) == b"hash"]
        assert jobs
        for job in jobs:
            data = redis.hget(job, "data")
            assert data is not None
            called = json.loads(zlib.decompress(data))
            assert called[0] == "datagen.entrypoints.rq_tasks.handle_event"
            assert len(called[2]) == 1


def test_two_deletions_of_an_id_that_was_given_out_again_are_two_events(studio: Studio) -> None:
    before = stored(studio)
    deletion = json.dumps({"action": "TASKS_DELETED", "project": {"id": UNKNOWN_PROJECT}, "tasks": [{"id": 7}]})
    answers = [studio.post_webhook(deletion.encode()).status_code for _ in range(2)]
    assert (answers, stored(studio)) == ([201, 201], before + 2)
