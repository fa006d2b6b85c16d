"""For operators: /ready names the unavailable part, /metrics counts events and work."""

from __future__ import annotations

import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select

from datagen.operations import health
from datagen.operations.health import label_studio_health, readiness
from datagen.operations.readiness import STALE_SECONDS
from datagen.queue import heartbeats
from datagen.queue.jobs import HANDOVERS
from datagen.queue.queues import Queues, connect
from datagen.store.blob_store import BlobStore
from datagen.store.counters import count, counts
from datagen.store.database import Database
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.messages import InboxRow, OutboxRow
from s3 import CREDENTIALS
from stage.processes import wait_until
from studio import Studio, Study, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def figures(studio: Studio) -> dict[tuple[str, ...], float]:
    """Every figure by its name and labels."""
    answer = httpx.get(
        f"{studio.settings.own_url}/metrics", auth=(studio.settings.basic_auth_user, studio.settings.password)
    )
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.raise_for_status().text)
        for sample in family.samples
    }


def test_ready_names_the_parts_that_do_not_work(studio: Studio) -> None:
    away = {"worker": False, "scheduler": False}
    wanted = dict.fromkeys(("database", "schema", "redis", "label_studio", "image_store"), True) | away

    def answer() -> httpx.Response:
        return httpx.get(f"{studio.settings.own_url}/ready", timeout=30)

    wait_until(lambda: answer().json()["parts"] == wanted, 20, "the next look at the parts")
    assert (answer().status_code, answer().json()["ready"]) == (503, False)
    assert answer().json()["age_seconds"] < STALE_SECONDS


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that accepts connections and answers nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


def test_parts_that_do_not_answer_are_not_ready(studio: Studio, tmp_path: Path) -> None:
    empty = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    (tmp_path / "images").write_text("a file in the place of the folder")
    with connect("redis://127.0.0.1:1/0") as nowhere:
        parts = readiness(
            empty, Queues(nowhere), label_studio_health("http://127.0.0.1:1"), BlobStore(f"file://{tmp_path}/images")
        )
    assert parts == dict.fromkeys(parts, False) | {"database": True}
    empty.close()


def test_parts_that_are_frozen_are_not_ready_and_keep_no_other_from_being_asked(
    studio: Studio, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{silent}"}.items():
        monkeypatch.setenv(name, value)
    rows = Database(f"postgresql+psycopg://user:word@{silent}/rows?connect_timeout=2")
    with connect(f"redis://{silent}/0") as redis:
        with monkeypatch.context() as patience:
            patience.setattr(health, "PART_SECONDS", 0.5)
            parts = readiness(
                rows, Queues(redis), label_studio_health(f"http://{silent}"), BlobStore("s3://pictures/prefix")
            )
        assert parts == dict.fromkeys(parts, False)
        mixed = readiness(
            studio.services.database,
            studio.queues,
            label_studio_health(studio.server.url),
            BlobStore("s3://pictures/x"),
        )
    assert [part for part, works in mixed.items() if not works] == ["image_store", "worker", "scheduler"]
    rows.close()


def test_a_schema_of_another_version_is_not_ready(studio: Studio, tmp_path: Path) -> None:
    old = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    old.upgrade("0006")
    parts = readiness(old, studio.queues, label_studio_health(studio.server.url), studio.services.images)
    assert (parts["database"], parts["schema"]) == (True, False)
    old.upgrade()
    assert readiness(old, studio.queues, label_studio_health(studio.server.url), studio.services.images)["schema"]
    old.close()


def test_web_process_that_looks_at_the_schema_does_not_load_alembic(tmp_path: Path) -> None:
    """It costs memory and a quarter of a second, and is for upgrades alone."""
    rows = Database(f"sqlite:///{tmp_path / 'rows.sqlite3'}")
    rows.upgrade()
    rows.close()
    look = (
        "import sys; import datagen.web.app; from datagen.store.database import Database\n"
        "Database(sys.argv[1]).check_schema(); print([name for name in sys.modules if 'alembic' in name])"
    )
    assert subprocess.check_output([sys.executable, "-c", look, rows.url], text=True).strip() == "[]"


def test_metrics_show_the_parts_and_the_failed_rows(studio: Studio, study: Study) -> None:
    study.review()
    wait_until(lambda: figures(studio)["datagen_up", "worker"] == 0, 20, "the look after the test's worker ended")
    before = figures(studio)
    assert before["datagen_up", "image_store"] == before["datagen_up", "database"] == 1
    assert before["datagen_up", "worker"] == before["datagen_workers",] == before["datagen_schedulers",] == 0
    waiting_since = now() - timedelta(hours=2)
    with studio.services.database.write() as session:
        [row] = session.scalars(select(OutboxRow).order_by(OutboxRow.id.desc()).limit(1))
        row.state, row.waiting_since, row.due_at = WorkState.PENDING, waiting_since, now() + timedelta(hours=1)
        [batch] = session.scalars(select(BatchRow).where(BatchRow.study_id == study.id).limit(1))
        state, batch.state = batch.state, WorkState.FAILED
        session.add(InboxRow(fingerprint=uuid.uuid4().hex, action="TASKS_CREATED", state=WorkState.FAILED))
    after = figures(studio)
    assert after["datagen_waiting", "outbox"] == before["datagen_waiting", "outbox"] + 1
    assert after["datagen_oldest_wait_seconds", "outbox"] >= 7200
    assert after["datagen_failed", "event"] == before["datagen_failed", "event"] + 1
    assert after["datagen_batches", "failed", "round"] == before["datagen_batches", "failed", "round"] + 1
    with studio.services.database.write() as session:
        session.get_one(OutboxRow, row.id).state = WorkState.DONE
        session.get_one(BatchRow, batch.id).state = state


def test_metrics_count_events_images_and_waiting_rows(studio: Studio, study: Study) -> None:
    before = figures(studio)
    study.review()
    reviewed = figures(studio)
    images = ("datagen_images_total", "composite", "round")
    assert reviewed[images] == before.get(images, 0) + len(study.round_tasks())
    assert reviewed["datagen_shard_seconds_count",] > before["datagen_shard_seconds_count",]
    study.judge(verdict_result("good"))
    studio.drain_notifier()
    waiting = figures(studio)
    assert waiting["datagen_queue_depth", "datagen-events"] >= 1
    studio.settle()
    after = figures(studio)
    annotated = ("datagen_events_total", "ANNOTATION_CREATED", "done")
    assert after[annotated] == reviewed.get(annotated, 0) + 1
    assert after["datagen_queue_depth", "datagen-events"] == 0


def test_counters_add_up(studio: Studio) -> None:
    before = counts(studio.services.database).get("tests", 0)
    count(studio.services.database, "tests")
    count(studio.services.database, "tests")
    assert counts(studio.services.database)["tests"] == before + 2


def test_the_pages_name_a_missing_worker_for_downloads_and_ready_does_not(studio: Studio) -> None:
    def parts(*, downloads: bool) -> dict[str, bool]:
        with label_studio_health(studio.server.url) as label_studio:
            rows, images = studio.services.database, studio.services.images
            return readiness(rows, studio.queues, label_studio, images, downloads=downloads)

    assert "worker for downloads" not in parts(downloads=False)
    assert not parts(downloads=True)["worker for downloads"]
    heartbeats.beat(studio.queues.redis, heartbeats.Kind.WORKER, heartbeats.Alive("one", "here", (HANDOVERS,)))
    try:
        after = parts(downloads=True)
    finally:
        heartbeats.end(studio.queues.redis, heartbeats.Kind.WORKER, "one")
    assert (after["worker for downloads"], after["worker"]) == (True, False)
