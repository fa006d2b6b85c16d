"""The image store refuses, hangs or answers errors: work waits, names the reason, and continues when it is back."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent, StudyState
from datagen.imaging.png_encoder import encode_png
from datagen.store import leases
from datagen.store.tables.base import BatchKind, WorkState, now
from datagen.store.tables.batches import ShardRow
from datagen.store.tables.inputs import InputReadingRow
from plant import Plant, approved, assert_nothing_twice_nothing_missing, shards
from plant_installation import installation
from s3 import BUCKET, S3, s3_server
from stage.label_studio_server import LabelStudio as Server
from stage.processes import Processes
from studio import Study, asked, plate

pytest.importorskip("s3fs", reason="the extra s3 is not installed")
pytest.importorskip("moto.server", reason="moto[server] is not installed")
pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Samples in a shard, and shards in a run.
SHARD, SHARDS = 4, 3
#: What no page and no answer may name.
INTERNAL = re.compile(rf"{BUCKET}/|s3://|127\\.0\\.0\\.1:\\d+/{BUCKET}|botocore|Traceback")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as server:
        yield server


@pytest.fixture(scope="module")
def away(label_studio: Server, s3: S3, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    """An installation on that store."""
    folder = tmp_path_factory.mktemp("s3-plant")
    store = {"DATAGEN_STORE_URL": f"s3://{BUCKET}/images", "DATAGEN_SHARD_SIZE": str(SHARD)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3.environment.items():
            patch.setenv(name, value)
        with installation(label_studio, Processes(folder / "processes"), folder, **store, **s3.environment) as plant:
            yield plant


@pytest.fixture(scope="module")
def waiting_study(away: Plant) -> Study:
    study = away.open_study()
    away.until_settled()
    return study


@pytest.fixture
def ready_study(away: Plant, s3: S3, waiting_study: Study) -> Iterator[Study]:
    """A study with a round to decide on, and a store that works until the test changes that."""
    s3.serve()
    away.ensure_all()
    waiting_study.act(StudyEvent.BUILD_PREVIEW)
    away.until(lambda: waiting_study.row().state == StudyState.REVIEWING, "The preview round")
    away.until_settled()
    yield waiting_study
    s3.serve()
    away.until_settled()


def try_now(study: Study) -> None:
    """Make postponed shards and input readings due now."""
    with study.studio.services.database.write() as session:
        for row in session.scalars(select(ShardRow).where(ShardRow.state == WorkState.PENDING)):
            row.due_at = now()
        for row in session.scalars(select(InputReadingRow).where(InputReadingRow.id == study.id)):
            row.due_at = now()


def test_a_run_goes_through_every_kind_of_outage_and_no_shard_fails(away: Plant, s3: S3, ready_study: Study) -> None:
    outages: list[tuple[Callable[[], None], str]] = [
        (s3.refuse, "waits for the image store: it refuses connections"),
        (lambda: s3.answer(500, "InternalError"), "waits for the image store: it answers 500"),
        (lambda: s3.answer(503, "SlowDown"), "waits for the image store: it"),
        (lambda: s3.answer(403, "AccessDenied"), "waits for the image store: access is denied"),
        (s3.freeze, "waits for the image store: it did not answer in time"),
    ]
    s3.refuse()
    ready_study.act(StudyEvent.APPROVE, count=SHARD * SHARDS)
    run = approved(ready_study)
    for number, (begin, sentence) in enumerate(outages):
        begin()
        if number == 2:  # a worker that has nothing in memory must read before it can write
            away.kill("worker-1", "worker-2")
            away.start("worker-1", "worker-2")
        try_now(ready_study)
        away.until(lambda message=sentence: message in ready_study.page(-1), f"The page that says “{sentence}”")
        assert "tried again at" in ready_study.page(-1)
        assert not INTERNAL.search(ready_study.page(-1))
        assert str(approved(ready_study).state) == "running"

    s3.serve()
    try_now(ready_study)
    away.until(lambda: str(approved(ready_study).state) == "done", "The end of the run")
    away.until_settled()
    run_shards = shards(ready_study, run)
    assert [str(shard.state) for shard in run_shards] == ["done"] * SHARDS
    assert sum(shard.waits for shard in run_shards) >= len(outages)
    # the last try, and one whose worker was killed above
    assert all(leases.failures(shard) <= 2 for shard in run_shards)
    assert len(ready_study.samples_of(run)) == SHARD * SHARDS
    assert "waits for" not in ready_study.page(-2) + ready_study.page()
    assert_nothing_twice_nothing_missing(ready_study)


def test_a_decision_and_new_inputs_wait_for_the_store_and_are_then_followed(
    away: Plant, s3: S3, ready_study: Study
) -> None:
    backgrounds = len(ready_study.tasks(ProjectKind.BACKGROUNDS))
    s3.refuse()
    ready_study.give(Role.BACKGROUND, [("late.png", encode_png(plate(9000 + backgrounds)), [])])
    away.until(lambda: "Reading the inputs waits for the image store" in ready_study.page(), "The page that says so")
    away.client.annotate(ready_study.decision_tasks()[-1].id, asked("build preview"))
    away.until(lambda: "“build preview” waits for the image store" in ready_study.page(), "The decision that waits")
    assert not INTERNAL.search(ready_study.page())
    rounds = len(ready_study.batches(BatchKind.ROUND))

    s3.serve()
    try_now(ready_study)
    away.until(lambda: len(ready_study.batches(BatchKind.ROUND)) == rounds + 1, "The round", within=120)
    away.until_settled()
    assert ready_study.row().state == StudyState.REVIEWING
    assert "waits for" not in ready_study.page()
    assert len(ready_study.specs()[-1].body["backgrounds"]) == backgrounds + 1


def test_a_picture_is_answered_503_and_only_a_missing_one_404(away: Plant, s3: S3, ready_study: Study) -> None:
    data = encode_png(np.full((4, 5), 77, np.uint8))
    link = away.services.links.make(away.services.images.put(data))
    port = away.environment["PORT"]
    address = f"http://127.0.0.1:{port}/" + link.split("/", 3)[3]
    s3.answer(500, "InternalError")
    answer = httpx.get(address, timeout=30)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
    assert answer.json() == {"error": "the image store is unavailable; try again in a moment"}
    assert answer.headers["Cache-Control"] == "no-store"

    s3.serve()
    assert httpx.get(address, timeout=30).content == data
    away.services.images.delete(link.split("/")[-1].partition(".")[0])
    gone = httpx.get(address, timeout=30)
    assert gone.status_code == 404
    assert not INTERNAL.search(gone.text)


def test_readiness_follows_the_store(away: Plant, s3: S3, ready_study: Study) -> None:
    def parts() -> dict[str, bool]:
        answer: dict[str, bool] = httpx.get(f"http://127.0.0.1:{away.environment['PORT']}/ready", timeout=30).json()
        return answer["parts"]  # type: ignore[return-value]

    assert all(parts().values()), parts()
    s3.refuse()
    away.until(lambda: parts() == dict.fromkeys(parts(), True) | {"image_store": False}, "The store that is missed")
    s3.serve()
    away.kill("worker-1", "worker-2", "scheduler")
    gone = {"worker": False, "scheduler": False}
    away.until(lambda: parts() == dict.fromkeys(parts(), True) | gone, "The end of the killed parts", within=12)
    away.ensure_all()


def test_the_folder_of_this_module_is_on_no_disk(away: Plant) -> None:
    """Check that every object is in S3, and none in the local folder."""
    assert not (Path(away.environment["DATAGEN_DATA_DIR"]) / "images").exists()
