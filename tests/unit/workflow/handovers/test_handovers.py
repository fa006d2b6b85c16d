"""Handovers on a studio without servers: downloads and pushes, their ends, and what is removed afterwards."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.lifecycle import StudyState
from datagen.errors import InputProblem, Refused, StoreMissing
from datagen.store.tables.base import WorkState, now
from datagen.store.tables.handovers import HandoverRow
from datagen.workflow.handovers import handover_job, requests
from datagen.workflow.handovers.expiry import KEPT, LISTED, remove_expired
from datagen.workflow.handovers.requests import MAX_UNDER_WAY, cancel, request_download, request_push
from datagen.workflow.handovers.wishes import DownloadWish, PushWish
from datagen.workflow.studies.export import export_study
from datagen.workflow.studies.maintenance import delete_study
from fake_studio import FakeStudio
from renaming import rename_before
from studio import Study

ANN = "ann@example.com"
WISH = DownloadWish(run=1)


@pytest.fixture
def prepared(in_state: Callable[[StudyState, Path], Any], tmp_path: Path) -> Any:
    """A studio whose study has a run of three images."""
    studio, study = in_state(StudyState.ACCEPTED, tmp_path)
    yield studio, study
    studio.close()


@pytest.fixture
def studio(prepared: tuple[FakeStudio, Study]) -> FakeStudio:
    return prepared[0]


@pytest.fixture
def study(prepared: tuple[FakeStudio, Study]) -> Study:
    return prepared[1]


def row_of(studio: FakeStudio, handover_id: int) -> HandoverRow:
    with studio.rows() as session:
        return session.get_one(HandoverRow, handover_id)


def change(studio: FakeStudio, handover_id: int, **values: Any) -> None:
    with studio.services.database.write() as session:
        row = session.get_one(HandoverRow, handover_id)
        for name, value in values.items():
            setattr(row, name, value)


def names_in(studio: FakeStudio, row: HandoverRow) -> list[str]:
    files = studio.services.download_files
    data = b"".join(files.pieces(row.file, 0, files.size(row.file)))
    return zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_a_download_holds_the_images_of_the_run_in_the_chosen_formats(studio: FakeStudio, study: Study) -> None:
    wish = DownloadWish(run=1, formats=("coco", "voc"), images="jpeg", quality=80)
    row = row_of(studio, request_download(studio.services, study.id, wish, ANN))
    assert (row.state, row.total, row.requested_by) == (WorkState.PENDING, 0, ANN)
    studio.settle()
    row = row_of(studio, row.id)
    assert (row.state, row.done, row.total, row.error) == (WorkState.DONE, 3, 3, "")
    names = names_in(studio, row)
    assert sum(name.startswith("images/") and name.endswith(".jpg") for name in names) == 3
    assert "coco.json" in names
    assert row.bytes == studio.services.download_files.size(row.file)
    assert row.finished_at is not None
    assert row.expires_at == row.finished_at + KEPT


def test_a_download_of_chosen_images_holds_no_other(studio: FakeStudio, study: Study) -> None:
    indices = [sample.index for sample in study.samples_of(study.batches()[-1])]
    wish = DownloadWish(run=1, indices=(indices[1],))
    handover_id = request_download(studio.services, study.id, wish, ANN)
    studio.settle()
    names = names_in(studio, row_of(studio, handover_id))
    [image] = [name for name in names if name.startswith("images/") and name.endswith(".png")]
    assert image.endswith(f"{indices[1]:07d}.png")


@pytest.mark.parametrize(
    ("wish", "sentence"),
    [
        (DownloadWish(run=1, formats=()), "one format"),
        (DownloadWish(run=1, formats=("nothing",)), "no export format"),
        (DownloadWish(run=1, split="50,60"), "no split"),
        (DownloadWish(run=1, images="tiff"), "not offered"),
        (DownloadWish(run=1, images="jpeg", quality=200), "quality"),
        (DownloadWish(run=1, min_size="big"), "no size"),
        (DownloadWish(run=1, labels=("dent",)), "no label"),
        (DownloadWish(run=1, indices=()), "No image is chosen"),
        (DownloadWish(run=1, tile=3), "too small"),
        (DownloadWish(run=1, real_percent=95), "real photos"),
    ],
)
def test_values_that_cannot_be_used_are_refused_before_work_is_queued(
    studio: FakeStudio, study: Study, wish: DownloadWish, sentence: str
) -> None:
    with pytest.raises(InputProblem, match=sentence):
        request_download(studio.services, study.id, wish, ANN)
    assert not studio.queue.waiting


def test_a_download_that_leaves_no_image_fails_with_the_reason(studio: FakeStudio, study: Study) -> None:
    handover_id = request_download(studio.services, study.id, DownloadWish(run=1, min_size="5000px"), ANN)
    studio.settle()
    row = row_of(studio, handover_id)
    assert row.state is WorkState.FAILED
    assert "leaves no image" in row.error
    assert row.finished_at is not None


def test_a_download_larger_than_the_free_disk_is_refused_with_both_numbers(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studio.services.download_files, "free_bytes", lambda: requests.RESERVED_BYTES + 50)
    with pytest.raises(Refused, match=r"needs? about .* and the disk of the image store has 50 bytes left"):
        request_download(studio.services, study.id, WISH, ANN)


def test_the_estimate_counts_a_copy_for_each_format_that_holds_the_images(studio: FakeStudio, study: Study) -> None:
    from datagen.export.writer import requested_formats

    run = study.batches()[-1]

    def estimate(*names: str) -> int:
        return requests.estimated_bytes(studio.services, run.id, 3, requested_formats(names, ["pit"]))

    assert estimate("coco", "voc") == estimate("coco") > 0
    assert estimate("coco", "webdataset") == 2 * estimate("coco")


def test_few_handovers_of_a_study_are_under_way_at_a_time(studio: FakeStudio, study: Study) -> None:
    ids = [request_download(studio.services, study.id, WISH, ANN) for _ in range(MAX_UNDER_WAY)]
    with pytest.raises(Refused, match="under way"):
        request_download(studio.services, study.id, WISH, ANN)
    cancel(studio.services, study.id, ids[0])
    assert request_download(studio.services, study.id, WISH, ANN)


def test_a_cancelled_handover_is_not_made(studio: FakeStudio, study: Study) -> None:
    handover_id = request_download(studio.services, study.id, WISH, ANN)
    cancel(studio.services, study.id, handover_id)
    studio.settle()
    assert row_of(studio, handover_id).state is WorkState.CANCELLED
    with pytest.raises(Refused, match="ended"):
        cancel(studio.services, study.id, handover_id)
    with pytest.raises(Refused, match="no such"):
        cancel(studio.services, study.id + 1, handover_id)


def test_the_file_of_an_expired_download_is_removed(studio: FakeStudio, study: Study) -> None:
    handover_id = request_download(studio.services, study.id, WISH, ANN)
    studio.settle()
    file = row_of(studio, handover_id).file
    assert remove_expired(studio.services) == 0
    change(studio, handover_id, expires_at=now() - timedelta(seconds=1))
    assert remove_expired(studio.services) == 1
    assert row_of(studio, handover_id).file == ""
    with pytest.raises(StoreMissing):
        studio.services.download_files.size(file)
    change(studio, handover_id, finished_at=now() - LISTED)
    remove_expired(studio.services)
    with studio.rows() as session:
        assert session.get(HandoverRow, handover_id) is None


def test_a_deleted_study_leaves_no_file_and_no_handover(studio: FakeStudio, study: Study) -> None:
    handover_id = request_download(studio.services, study.id, WISH, ANN)
    studio.settle()
    file = row_of(studio, handover_id).file
    delete_study(studio.services, study.name, ANN, with_projects=False)
    with studio.rows() as session:
        assert session.get(HandoverRow, handover_id) is None
    with pytest.raises(StoreMissing):
        studio.services.download_files.size(file)


@pytest.mark.parametrize("fails", [False, True])
def test_a_study_that_is_deleted_while_its_download_is_made_leaves_no_file(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    handover_id = request_download(studio.services, study.id, WISH, ANN)
    file = row_of(studio, handover_id).file
    file_system, root = studio.services.download_files._filesystem()

    def export(*given: Any, **options: Any) -> Any:
        summary = export_study(*given, **options)
        delete_study(studio.services, study.name, ANN, with_projects=False)
        if fails:
            file_system.pipe_file(f"{root}/.{file}.part", b"begun")
            raise StoreMissing("a picture is gone")
        file_system.pipe_file(f"{root}/{file}", b"complete")
        return summary

    monkeypatch.setattr(handover_job, "export_study", export)
    studio.settle()
    assert file_system.ls(root, detail=False) == []


def test_a_push_makes_one_task_of_each_image_in_a_new_project(studio: FakeStudio, study: Study) -> None:
    wish = PushWish(run=1, project_id=None, title="For training")
    handover_id = request_push(studio.services, study.id, wish, ANN)
    studio.settle()
    row = row_of(studio, handover_id)
    assert (row.state, row.done) == (WorkState.DONE, 3)
    [project] = studio.client.find_projects("For training")
    assert row.wish["project_id"] == project.id
    assert studio.client.counts([project.id])[project.id].tasks == 3
    again = request_push(studio.services, study.id, PushWish(run=1, project_id=project.id), ANN)
    studio.settle()
    assert row_of(studio, again).notes == ["0 of 3 tasks are new"]
    assert studio.client.counts([project.id])[project.id].tasks == 3


def test_a_push_into_a_project_of_a_study_is_refused(studio: FakeStudio, study: Study) -> None:
    [project_id, *_] = study.projects.values()
    with pytest.raises(InputProblem, match="belongs to a study"):
        request_push(studio.services, study.id, PushWish(run=1, project_id=project_id), ANN)
    with pytest.raises(InputProblem, match="title"):
        request_push(studio.services, study.id, PushWish(run=1, project_id=None), ANN)


@pytest.mark.parametrize("kind", ["download", "push"])
def test_a_study_that_is_renamed_meanwhile_is_handed_over_and_not_the_one_that_took_its_name(
    studio: FakeStudio, study: Study, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    other = studio.open_study(inputs=False)  # it has no run, so its handover would fail
    if kind == "download":
        handover_id = request_download(studio.services, study.id, WISH, ANN)
        function = "export_study"
    else:
        handover_id = request_push(studio.services, study.id, PushWish(run=1, project_id=None, title="mine"), ANN)
        function = "create_target"
    rename_before(monkeypatch, handover_job, function, studio.services.database, study.id, other.id)
    studio.settle()
    row = row_of(studio, handover_id)
    assert (row.state, row.error, row.done) == (WorkState.DONE, "", 3)
