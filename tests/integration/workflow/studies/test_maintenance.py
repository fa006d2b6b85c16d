"""Failed work can be retried; a deleted study is removed with its objects, except those shared with others."""

from __future__ import annotations

import itertools
import socket
from dataclasses import replace

import pytest
from sqlalchemy import select

from datagen.domain.inputs import ProjectKind, Role
from datagen.domain.lifecycle import StudyEvent
from datagen.domain.spec import Spec
from datagen.errors import Refused, StoreUnavailable
from datagen.imaging.png_encoder import encode_png
from datagen.store.blob_store import BlobStore
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow, ShardRow, SpecRow
from datagen.store.tables.inputs import InputRow
from datagen.store.tables.messages import OutboxRow
from datagen.store.tables.studies import StudyRow
from datagen.workflow.generation.shard_rendering import FittedEngineCache, render_shard
from datagen.workflow.studies import maintenance
from datagen.workflow.studies.maintenance import delete_study, retry
from s3 import CREDENTIALS
from studio import SHARD, Studio, Study, plate, verdict_result

pytest_plugins = ("studio_fixtures",)
pytestmark = pytest.mark.integration


def shards_of(study: Study, batch: BatchRow) -> list[ShardRow]:
    with study.studio.rows() as session:
        return list(session.scalars(select(ShardRow).where(ShardRow.batch_id == batch.id).order_by(ShardRow.start)))


def test_outbox_row_that_was_given_up_is_published_after_a_retry(studio: Studio, study: Study) -> None:
    row = study.outbox()[0]
    with studio.services.database.write() as session:
        given_up = session.get_one(OutboxRow, row.id)
        given_up.state, given_up.error = WorkState.FAILED, "Label Studio refused"
    tried = retry(studio.services, study.name, "ann")
    assert (tried.outbox, tried.events, tried.revived, tried.left) == (1, 0, "", "")
    studio.settle()
    with studio.rows() as session:
        reported = session.get_one(OutboxRow, row.id)
    assert reported.state is WorkState.DONE
    assert reported.error == ""


def test_failed_run_resumes_with_its_finished_shards(studio: Studio, study: Study) -> None:
    if study.row().state != "accepted":
        study.review()
    study.act(StudyEvent.APPROVE, count=3 * SHARD)
    run = study.batches(BatchKind.RUN)[-1]
    first, second, _third = shards_of(study, run)
    render_shard(studio.services, FittedEngineCache(studio.services), first.id)
    lost = [ref.digest for ref in Spec.from_json(study.specs()[-1].body).backgrounds]
    kept = {digest: studio.services.images.get(digest) for digest in lost}
    for digest in lost:
        studio.services.images.delete(digest)
    render_shard(studio.services, FittedEngineCache(studio.services), second.id)
    assert (str(study.batches()[-1].state), study.row().state) == ("failed", "accepted")
    before = study.samples_of(run)

    for data in kept.values():
        studio.services.images.put(data)  # restored from a backup
    tried = retry(studio.services, study.name, "ann")
    assert tried.revived == f"run {run.number} goes on: 1 finished shard is kept"
    assert (str(study.batches()[-1].state), study.row().state) == ("running", "generating")
    assert [shard.attempts for shard in shards_of(study, run)] == [1, 0, 0]
    studio.settle()

    assert (str(study.batches()[-1].state), study.row().state) == ("done", "accepted")
    assert [sample.id for sample in study.samples_of(run)][:SHARD] == [sample.id for sample in before]
    assert [sample.index for sample in study.samples_of(run)] == list(range(run.first, run.first + 3 * SHARD))
    assert len({task.data["datagen_key"] for task in study.tasks(ProjectKind.DATASET)}) == len(
        study.tasks(ProjectKind.DATASET)
    )
    assert any(line.startswith("ann: retry (run") for line in study.audit())
    assert sum("<b>retry</b> by ann" in study.page(number) for number in range(-3, 0)) == 1
    assert study.points()[-1].action is None


def test_failed_round_resumes_and_its_version_is_the_newest_again(studio: Studio, study: Study) -> None:
    reviewed = study.review()
    study.judge(verdict_result("good"))
    studio.settle()
    study.act(StudyEvent.REFINE)
    with studio.services.database.write() as session:
        spec = session.get_one(SpecRow, study.specs()[-1].id)
        body = dict(spec.body)
        spec.body = {**body, "engine": "no-such-engine"}
    studio.settle()
    assert [str(spec.state) for spec in study.specs()[-2:]] == ["review", "failed"]

    with studio.services.database.write() as session:
        session.get_one(SpecRow, study.specs()[-1].id).body = body  # the engine is installed again
    assert "0 finished shards are kept" in retry(studio.services, study.name, "ann").revived
    assert [str(spec.state) for spec in study.specs()[-2:]] == ["refined", "rendering"]
    assert study.row().state == "previewing"
    study.act(StudyEvent.CANCEL)  # it can be cancelled as before
    assert [str(spec.state) for spec in study.specs()[-2:]] == ["review", "stopped"]
    assert study.specs()[-2].id == reviewed.id
    studio.settle()
    assert retry(studio.services, study.name, "ann").revived == ""  # it did not fail: a person cancelled it


def test_only_the_newest_round_or_run_is_taken_up_again(studio: Studio, study: Study) -> None:
    study.review()
    study.act(StudyEvent.BUILD_PREVIEW)
    failed = study.batches()[-1]
    with studio.services.database.write() as session:
        spec = session.get_one(SpecRow, study.specs()[-1].id)
        spec.body = {**spec.body, "engine": "no-such-engine"}
    studio.settle()
    study.act(StudyEvent.BUILD_PREVIEW)
    with pytest.raises(
        Refused, match=f"round {failed.number} failed, but round {failed.number + 1} was begun after it"
    ):
        retry(studio.services, study.name, "ann")
    studio.settle()
    tried = retry(studio.services, study.name, "ann")  # nothing is missing: another round was made in its place
    assert (tried.revived, tried.left) == ("", "")


def test_nothing_is_deleted_while_the_image_store_is_unavailable(
    studio: Studio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("s3fs", reason="the extra s3 is not installed")
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and answers nothing
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        nowhere = BlobStore("s3://pictures/prefix", answer_s=0.2)
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            delete_study(replace(studio.services, images=nowhere), study.name, "ann", with_projects=False)
    assert study.row().name == study.name


def test_a_study_with_work_under_way_is_not_deleted(studio: Studio, study: Study) -> None:
    study.review()
    study.act(StudyEvent.APPROVE, count=4)
    with pytest.raises(Refused, match="datagen cancel"):
        delete_study(studio.services, study.name, "ann", with_projects=False)
    study.act(StudyEvent.CANCEL)


def test_deleting_a_study_keeps_the_pictures_that_another_study_has(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "SAMPLES_AT_A_TIME", 2)
    gone, kept = studio.open_study(), studio.open_study()
    # a background of its own: with the same inputs the same samples would be made in both, and be shared too
    gone.give(Role.BACKGROUND, [("own.png", encode_png(plate(4711)), [])])
    studio.settle()
    gone.review()
    sample = gone.samples_of(gone.batches()[-1])[0]
    with studio.rows() as session:
        shared = session.scalars(select(InputRow.digest).where(InputRow.study_id == kept.id)).all()

    delete_study(studio.services, gone.name, "ann", with_projects=True)

    with studio.rows() as session:
        assert session.scalar(select(StudyRow.id).where(StudyRow.name == gone.name)) is None
    assert studio.client.find_projects(gone.name) == []
    assert not studio.services.images.exists(sample.body["image"]["digest"])
    assert all(studio.services.images.exists(digest) for digest in shared if digest)
    assert gone.audit()[-1] == "ann: deleted with its Label Studio projects"
    kept.review()  # it can still be used


def test_a_deletion_that_was_interrupted_is_ended_by_the_next(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "SAMPLES_AT_A_TIME", 2)
    gone = studio.open_study()
    gone.give(Role.BACKGROUND, [("own.png", encode_png(plate(4712)), [])])
    studio.settle()
    gone.review()
    pictures = [row.body["image"]["digest"] for row in gone.samples_of(gone.batches()[-1])]
    with studio.rows() as session:
        own = InputRow.study_id == gone.id, InputRow.name == "own.png"
        pictures += session.scalars(select(InputRow.digest).where(*own))
    delete, calls, interrupted_at = studio.services.images.delete, itertools.count(1), (2, 5, 8)

    def interrupted(digest: str) -> None:
        if next(calls) in interrupted_at:
            raise KeyboardInterrupt
        delete(digest)

    monkeypatch.setattr(studio.services.images, "delete", interrupted)
    for _ in interrupted_at:
        with pytest.raises(KeyboardInterrupt):
            delete_study(studio.services, gone.name, "ann", with_projects=True)
    delete_study(studio.services, gone.name, "ann", with_projects=True)
    with studio.rows() as session:
        assert session.scalar(select(StudyRow.id).where(StudyRow.name == gone.name)) is None
    assert [digest for digest in pictures if studio.services.images.exists(digest)] == []
    assert studio.client.find_projects(gone.name) == []
