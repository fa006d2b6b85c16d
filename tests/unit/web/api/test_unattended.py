"""The script of the how-to against the API without servers: what it does twice, and what stops it."""

from __future__ import annotations

import importlib.util
import json
import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from datagen.domain.inputs import Role
from datagen.domain.lifecycle import StudyState
from datagen.store.download_files import DownloadFiles
from datagen.store.tables.base import BatchKind, WorkState
from datagen.store.tables.batches import BatchRow
from datagen.store.tables.handovers import HandoverRow
from packed_inputs import packed
from stage.layout import ROOT
from studio import good_inputs


@pytest.fixture
def script(
    program_in: Callable[[StudyState], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Any, Callable[..., Path]]:
    """The program, and a function that runs the script with further options and returns its zip.

    While the script waits, the workers of the studio do their jobs.
    """
    program = program_in(StudyState.COLLECTING)
    spec = importlib.util.spec_from_file_location("unattended", ROOT / "docs" / "examples" / "unattended.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", lambda _: program.studio.settle())
    monkeypatch.setattr(module.httpx, "Client", partial(httpx.Client, transport=httpx.WSGITransport(program.app)))
    monkeypatch.setenv("LABEL_STUDIO_TOKEN", program.token)
    inputs = good_inputs()
    for role, name in ((Role.CONCEPT, "concepts.zip"), (Role.CANVAS, "canvases.zip")):
        (tmp_path / name).write_bytes(packed(inputs[role]))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, data, _ in inputs[Role.BACKGROUND]:
        (photos / name).write_bytes(data)

    def run(*further: str) -> Path:
        options = ["--url", "http://datagen.test", "--name", "pits, unattended", "--label", "pit"]
        options += ["--concepts", f"{tmp_path}/concepts.zip", "--canvases", f"{tmp_path}/canvases.zip"]
        options += ["--photos", str(photos), "--count", "3", "--out", f"{tmp_path}/dataset.zip"]
        monkeypatch.setattr(sys, "argv", ["unattended.py", *options, *further])
        module.main()
        return tmp_path / "dataset.zip"

    return program, run


def batches(program: Any) -> list[tuple[BatchKind, int]]:
    with program.studio.services.database.read() as session:
        return [(batch.kind, batch.number) for batch in session.query(BatchRow).order_by(BatchRow.id)]


def downloads(program: Any) -> list[HandoverRow]:
    with program.studio.services.database.read() as session:
        return list(session.scalars(select(HandoverRow).order_by(HandoverRow.id)))


def test_new_photos_become_a_dataset_and_nothing_is_done_twice(script: tuple[Any, Callable[..., Path]]) -> None:
    program, run = script
    dataset = run()
    first = dataset.read_bytes()
    with zipfile.ZipFile(dataset) as archive:
        assert archive.testzip() is None
        coco = json.loads(archive.read("coco.json"))
        assert {image["file_name"] for image in coco["images"]} <= set(archive.namelist())
    assert len(coco["images"]) == 3
    assert [category["name"] for category in coco["categories"]] == ["pit"]
    assert coco["annotations"]
    assert batches(program) == [(BatchKind.ROUND, 1), (BatchKind.RUN, 1)]
    assert run().read_bytes() == first
    assert batches(program) == [(BatchKind.ROUND, 1), (BatchKind.RUN, 1)]
    assert [row.state for row in downloads(program)] == [WorkState.DONE]
    assert [path.name for path in dataset.parent.glob("*dataset*")] == ["dataset.zip"]


def test_a_dataset_is_downloaded_in_another_format(script: tuple[Any, Callable[..., Path]]) -> None:
    _, run = script
    with zipfile.ZipFile(run("--format", "yolo")) as archive:
        assert len([name for name in archive.namelist() if name.startswith("labels/")]) == 3


def test_a_download_that_failed_is_made_again_by_the_next_call(script: tuple[Any, Callable[..., Path]]) -> None:
    program, run = script
    run()
    with program.studio.services.database.write() as session:
        for row in session.scalars(select(HandoverRow)):
            row.state, row.error = WorkState.FAILED, "the disk is full"
    with zipfile.ZipFile(run()) as archive:
        assert archive.testzip() is None
    assert [row.state for row in downloads(program)] == [WorkState.FAILED, WorkState.DONE]


def test_an_interrupted_file_goes_on_where_it_was(
    script: tuple[Any, Callable[..., Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    program, run = script
    asked: list[int] = []
    pieces = DownloadFiles.pieces

    def interrupted(files: DownloadFiles, name: str, start: int, stop: int) -> Iterator[bytes]:
        asked.append(start)
        yield from pieces(files, name, start, min(stop, start + 100))
        if len(asked) < 3:
            raise httpx.ReadError("the connection is gone")
        yield from pieces(files, name, start + 100, stop)

    monkeypatch.setattr(DownloadFiles, "pieces", interrupted)
    dataset = run()
    assert asked == [0, 100, 200]
    [row] = downloads(program)
    assert dataset.stat().st_size == row.bytes


def test_another_photo_makes_another_version_and_run(script: tuple[Any, Callable[..., Path]]) -> None:
    program, run = script
    photos = run().parent / "photos"
    [(name, data, _), *_] = good_inputs(7)[Role.BACKGROUND][6:]
    (photos / name).write_bytes(data)
    run()
    assert batches(program) == [(BatchKind.ROUND, 1), (BatchKind.RUN, 1), (BatchKind.ROUND, 2), (BatchKind.RUN, 2)]


def test_with_too_few_good_verdicts_it_ends_before_the_run(script: tuple[Any, Callable[..., Path]]) -> None:
    program, run = script
    with pytest.raises(SystemExit, match="0% of the verdicts on round 1 are good, 80% are asked for"):
        run("--least-good", "0.8")
    assert batches(program) == [(BatchKind.ROUND, 1)]


def test_a_missing_photo_ends_it_with_the_reason(script: tuple[Any, Callable[..., Path]], tmp_path: Path) -> None:
    _, run = script
    for path in list((tmp_path / "photos").iterdir())[1:]:
        path.unlink()
    with pytest.raises(SystemExit, match="a preview cannot be built yet"):
        run()
