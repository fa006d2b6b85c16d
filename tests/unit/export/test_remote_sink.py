"""Exports to a URL: the same files as in a folder, never a half one under its name, and they go on."""

from __future__ import annotations

import io
import resource
import secrets
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt
import pytest
import stamina

from datagen.domain.sample import Sample
from datagen.errors import InputProblem, StoreError, StoreUnavailable
from datagen.export.archive import DEFAULT_OPTIONS, ExportOptions, write_dataset, write_to
from datagen.export.remote_sink import UNFINISHED
from datagen.export.writer import format_names
from datagen.store import object_folder
from datagen.workflow.studies.destinations import destination


@pytest.fixture
def samples(shelf: Any, mask: npt.NDArray[np.uint8]) -> list[Sample]:
    return [shelf.sample(mask, ("scratch", "dent"), index=i) for i in range(40)]


@pytest.fixture
def place() -> Iterator[str]:
    folder = f"memory://{secrets.token_hex(4)}"
    yield f"{folder}/set"
    memory = fsspec.filesystem("memory")
    if memory.exists(folder):
        memory.rm(folder, recursive=True)


@pytest.fixture
def write(shelf: Any, labels: tuple[str, ...]) -> Any:
    def write(
        place: str,
        samples: Any,
        *,
        overwrite: bool = False,
        choice: str = "all",
        options: ExportOptions = DEFAULT_OPTIONS,
        patience_s: float = 0.0,
    ) -> None:
        with destination(place, choice, overwrite=overwrite, patience_s=patience_s) as sink:
            write_to(sink, samples, labels=labels, read=shelf.read, about={}, options=options)

    return write


@pytest.fixture
def puts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of whole files that are written, in order."""
    written: list[str] = []
    original = object_folder.ObjectFolder.write

    def noted(self: Any, path: str, data: bytes) -> None:
        original(self, path, data)
        written.append(path)

    monkeypatch.setattr(object_folder.ObjectFolder, "write", noted)
    return written


def content(place: str) -> dict[str, bytes]:
    memory = fsspec.filesystem("memory")
    root = place.removeprefix("memory:/").rstrip("/") + "/"
    return {path.removeprefix(root): memory.cat_file(path) for path in memory.find(root)}


def until(samples: list[Sample], number: int) -> Iterator[Sample]:
    yield from samples[:number]
    raise KeyboardInterrupt


def test_url_has_the_files_of_a_folder(
    write: Any, samples: list[Sample], shelf: Any, labels: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    options = ExportOptions(formats=tuple(format_names()))
    write(place, samples, options=options)
    write_dataset(tmp_path / "set", samples, labels=labels, read=shelf.read, about={}, options=options)
    files = (path for path in (tmp_path / "set").rglob("*") if path.is_file())
    assert content(place) == {str(path.relative_to(tmp_path / "set")): path.read_bytes() for path in files}


def test_zip_at_a_url_has_the_bytes_of_a_local_one(
    write: Any, samples: list[Sample], shelf: Any, labels: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    write(f"{place}/a.zip", samples)
    write_dataset(tmp_path / "a.zip", samples, labels=labels, read=shelf.read, about={})
    assert content(place) == {"a.zip": (tmp_path / "a.zip").read_bytes()}


def test_file_url_is_a_path(write: Any, samples: list[Sample], tmp_path: Path) -> None:
    write(f"file://{tmp_path}/a%20set", samples)
    assert (tmp_path / "a set" / "manifest.jsonl").is_file()
    with pytest.raises(InputProblem, match="names another machine; for a path of this one write three slashes"):
        write("file://folder/set", samples)


def test_interrupted_export_goes_on_without_writing_twice(
    write: Any, samples: list[Sample], place: str, puts: list[str]
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(place, until(samples, 38))
    first = set(puts)
    assert len(first) > 20
    assert UNFINISHED in content(place)
    puts.clear()
    write(place, samples)
    assert not first.intersection(puts)
    assert len(first) + len(puts) == 1 + 2 * len(samples) + 1  # the mark, images and masks, README.txt
    assert UNFINISHED not in content(place)


def test_object_that_differs_is_written_again(write: Any, samples: list[Sample], place: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(place, until(samples, 38))
    path = next(path for path in content(place) if path.startswith("images/"))
    fsspec.filesystem("memory").pipe_file(f"{place}/{path}", b"half of an image")
    write(place, samples)
    write(f"{place}-again", samples)
    assert content(place) == content(f"{place}-again")


def test_interrupted_zip_leaves_nothing(write: Any, samples: list[Sample], place: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(f"{place}/a.zip", until(samples, 38))
    assert content(place) == {}


def test_zip_whose_store_fails_names_the_folder_that_would_go_on(
    write: Any, samples: list[Sample], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **_options: Any) -> Any:
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(type(fsspec.filesystem("memory")), "mv", failing)
    sentence = f"begins anew. After an interruption an export goes on in the folder {place}/a,"
    with pytest.raises(StoreUnavailable, match=sentence) as refusal:
        write(f"{place}/a.zip", samples)
    assert refusal.value.reason == "it closed the connection (Connection reset by peer)"
    assert content(place) == {}


def test_failed_zip_leaves_the_former_one(write: Any, samples: list[Sample], shelf: Any, place: str) -> None:
    write(f"{place}/a.zip", samples[:2])
    with pytest.raises(InputProblem, match=r"a\.zip exists already; name another file, or replace it with --overwrite"):
        write(f"{place}/a.zip", samples)
    del shelf.objects[samples[30].image.digest]
    with pytest.raises(StoreError, match="is not in the store"):
        write(f"{place}/a.zip", samples, overwrite=True)
    with zipfile.ZipFile(io.BytesIO(content(place)["a.zip"])) as archive:
        assert len(archive.read("manifest.jsonl").splitlines()) == 2


def test_complete_export_is_replaced_only_if_it_is_told_to(write: Any, samples: list[Sample], place: str) -> None:
    write(place, samples)
    with pytest.raises(InputProblem, match="holds an export already; name another folder, or replace it with"):
        write(place, samples[:3])
    write(place, samples[:3], overwrite=True)
    assert len([path for path in content(place) if path.startswith("images/")]) == 3


def test_interrupted_export_of_another_choice_is_replaced_only_if_it_is_told_to(
    write: Any, samples: list[Sample], place: str
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(place, until(samples, 38))
    with pytest.raises(InputProblem, match="holds an interrupted export with other options; go on with the same"):
        write(place, samples[:3], choice="three")
    write(place, samples[:3], choice="three", overwrite=True)
    assert len([path for path in content(place) if path.startswith("images/")]) == 3


@pytest.mark.parametrize("overwrite", [False, True])
def test_folder_with_other_files_is_not_replaced(
    write: Any, samples: list[Sample], place: str, overwrite: bool
) -> None:
    fsspec.filesystem("memory").pipe_file(f"{place}/thesis.tex", b"years of work")
    with pytest.raises(StoreError, match="holds other files, no export; name a new folder"):
        write(place, samples, overwrite=overwrite)
    assert content(place) == {"thesis.tex": b"years of work"}


def test_url_without_a_driver_is_a_sentence(write: Any, samples: list[Sample]) -> None:
    with pytest.raises(StoreError, match="--out begins with elsewhere://, which is no kind of store"):
        write("elsewhere://set", samples)


def test_store_that_fails_in_the_middle_is_a_sentence_and_goes_on(
    write: Any, samples: list[Sample], place: str, monkeypatch: pytest.MonkeyPatch, puts: list[str]
) -> None:
    memory = type(fsspec.filesystem("memory"))
    original = memory.pipe_file
    left = 30

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise ConnectionResetError(104, "Connection reset by peer")
        return original(self, *arguments, **options)

    with monkeypatch.context() as broken:
        broken.setattr(memory, "pipe_file", failing)
        with pytest.raises(StoreUnavailable, match=r"it closed the connection .*; see that it runs, and that --out"):
            write(place, samples)
    assert not [path for path in content(place) if path.endswith(".part")]
    first = set(puts)
    puts.clear()
    write(place, samples)
    assert not first.intersection(puts)


def test_full_disk_of_temporary_files_is_a_sentence(write: Any, samples: list[Sample], place: str) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StoreError, match=r"a temporary file in .* cannot be written: .*File too large"):
            write(place, samples, options=ExportOptions(formats=("webdataset",)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [path for path in content(place) if path.endswith(".tar")] == []


def test_store_that_comes_back_is_waited_for(
    write: Any, samples: list[Sample], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = type(fsspec.filesystem("memory"))
    original = memory.pipe_file
    calls = iter(range(10_000))

    def failing(self: Any, *arguments: Any, **options: Any) -> Any:
        if next(calls) == 9:
            raise ConnectionResetError(104, "Connection reset by peer")
        return original(self, *arguments, **options)

    monkeypatch.setattr(memory, "pipe_file", failing)
    with stamina.set_testing(True, attempts=2):  # without the waits
        write(place, samples, patience_s=60.0)
    assert len([path for path in content(place) if path.startswith("images/")]) == len(samples)
