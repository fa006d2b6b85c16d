"""The script of the how-to against the API without servers: what it does twice, and what stops it."""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from datagen.domain.inputs import Role
from datagen.domain.lifecycle import StudyState
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import BatchRow
from stage.layout import ROOT
from studio import good_inputs

Input = tuple[str, bytes, list[dict[str, Any]]]


def packed(inputs: Sequence[Input]) -> bytes:
    """A zip of pictures with a JSON export of Label Studio that has what is drawn on them."""
    buffer = io.BytesIO()
    tasks = [{"data": {"image": name}, "annotations": [{"result": regions}]} for name, _, regions in inputs]
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tasks.json", json.dumps(tasks))
        for name, data, _ in inputs:
            archive.writestr(name, data)
    return buffer.getvalue()


@pytest.fixture
def script(
    program_in: Callable[[StudyState], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> tuple[Any, Callable[..., Path]]:
    """The program, and a function that runs the script with further options and returns its folder.

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
        options += ["--photos", str(photos), "--count", "3", "--out", f"{tmp_path}/dataset"]
        monkeypatch.setattr(sys, "argv", ["unattended.py", *options, *further])
        module.main()
        return tmp_path / "dataset"

    return program, run


def batches(program: Any) -> list[tuple[BatchKind, int]]:
    with program.studio.services.database.read() as session:
        return [(batch.kind, batch.number) for batch in session.query(BatchRow).order_by(BatchRow.id)]


def test_new_photos_become_a_dataset_and_nothing_is_done_twice(script: tuple[Any, Callable[..., Path]]) -> None:
    program, run = script
    folder = run()
    first = (folder / "samples.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in first.splitlines()]
    assert len(lines) == 3
    for line in lines:
        for part in ("image", "mask"):
            assert (folder / f"{line['index']:07d}-{part}.png").stat().st_size > 0
    assert batches(program) == [(BatchKind.ROUND, 1), (BatchKind.RUN, 1)]
    run()
    assert (folder / "samples.jsonl").read_text(encoding="utf-8") == first
    assert batches(program) == [(BatchKind.ROUND, 1), (BatchKind.RUN, 1)]


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
