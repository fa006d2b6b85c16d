"""Exports that were interrupted go on: what is there and equal is not written again, and what is half written is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from datagen.domain.sample import Sample
from datagen.errors import StoreError, StoreUnavailable
from datagen.export.archive import ExportOptions, write_dataset
from datagen.export.continued_file import ContinuedFile
from datagen.export.local_sink import local_sink

FORMATS = ("coco", "yolo", "parquet", "webdataset", "imagefolder")


@pytest.fixture
def samples(shelf: Any, mask: npt.NDArray[np.uint8]) -> list[Sample]:
    return [shelf.sample(mask, ("scratch", "dent"), index=i) for i in range(30)]


@pytest.fixture
def write(shelf: Any, labels: tuple[str, ...], tmp_path: Path) -> Any:
    def write(to: str, samples: Any, formats: tuple[str, ...] = FORMATS) -> None:
        options = ExportOptions(formats=formats)
        write_dataset(tmp_path / to, samples, labels=labels, read=shelf.read, about={}, options=options)

    return write


def until(samples: list[Sample], number: int, end: BaseException) -> Iterator[Sample]:
    yield from samples[:number]
    raise end


def content(path: Path) -> dict[str, bytes] | bytes:
    if path.is_file():
        return path.read_bytes()
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def left_behind(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


@pytest.mark.parametrize("to", ["set", "set.zip"])
@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit(143), StoreUnavailable("it is away", "away")])
def test_interrupted_export_goes_on_and_gives_the_same_bytes(
    write: Any, samples: list[Sample], tmp_path: Path, to: str, end: BaseException
) -> None:
    write(f"whole/{to}", samples)
    for number in (25, 20):
        with pytest.raises(type(end)):
            write(to, until(samples, number, end))
        assert left_behind(tmp_path) == [f".{to}.part", "whole"]
    write(to, samples)
    assert content(tmp_path / to) == content(tmp_path / "whole" / to)
    assert left_behind(tmp_path) == [to, "whole"]


def test_equal_images_of_an_interrupted_export_are_not_written_again(
    write: Any, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("set", until(samples, 30, KeyboardInterrupt()))
    drafts = {path.name: path.stat().st_ino for path in (tmp_path / ".set.part" / "images").iterdir()}
    assert len(drafts) > 10
    write("set", samples)
    written = {path.name: path.stat().st_ino for path in (tmp_path / "set" / "images").iterdir()}
    assert {name: written[name] for name in drafts} == drafts


def test_half_written_image_of_a_killed_export_is_written_again(
    write: Any, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("set", until(samples, 30, KeyboardInterrupt()))
    half = next((tmp_path / ".set.part" / "images").glob("*.png"))
    half.write_bytes(half.read_bytes()[:100])
    write("set", samples)
    write("other", samples)
    assert content(tmp_path / "set") == content(tmp_path / "other")


def test_files_of_another_choice_do_not_become_part_of_the_export(
    write: Any, samples: list[Sample], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("set", until(samples, 30, KeyboardInterrupt()))
    write("set", samples[:3], ("voc",))
    write("other", samples[:3], ("voc",))
    assert content(tmp_path / "set") == content(tmp_path / "other")


@pytest.mark.parametrize("to", ["set", "set.zip"])
def test_second_export_to_the_same_place_waits_for_the_first(tmp_path: Path, to: str) -> None:
    with local_sink(tmp_path / to) as sink:
        sink.write("images/1.png", b"1")
        with (
            pytest.raises(StoreError, match=rf"another export to .*{to} is running; wait until it ends"),
            local_sink(tmp_path / to),
        ):
            pass
    assert left_behind(tmp_path) == [to]


def test_failed_export_removes_the_draft_of_an_interrupted_one(
    write: Any, samples: list[Sample], shelf: Any, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        write("set", until(samples, 30, KeyboardInterrupt()))
    del shelf.objects[samples[2].image.digest]
    with pytest.raises(StoreError, match="is not in the store"):
        write("set", samples)
    assert left_behind(tmp_path) == []


class TestContinuedFile:
    """Bytes that the file already contains are not written again; from the first different byte on, all are."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "file"
        path.write_bytes(b"0123456789")
        return path

    @pytest.mark.parametrize(
        ("pieces", "expected"),
        [
            ((b"01", b"23"), b"0123"),
            ((b"01", b"2x", b"45"), b"012x45"),
            ((b"0123456789", b"abc"), b"0123456789abc"),
            ((b"01234567", b"89ab", b"c"), b"0123456789abc"),
            ((), b""),
            ((b"", b"0"), b"0"),
        ],
    )
    def test_content_is_what_was_written(self, path: Path, pieces: tuple[bytes, ...], expected: bytes) -> None:
        with ContinuedFile(path) as file:
            for piece in pieces:
                file.write(piece)
            assert file.tell() == len(expected)
        assert path.read_bytes() == expected

    def test_equal_bytes_are_not_written(self, path: Path) -> None:
        os.utime(path, ns=(0, 0))
        with ContinuedFile(path) as file:
            file.write(b"01234")
            file.write(b"56789")
        assert path.stat().st_mtime_ns == 0

    def test_interrupted_file_keeps_its_rest(self, path: Path) -> None:
        file = ContinuedFile(path)
        file.write(b"012")
        file.keep()
        assert path.read_bytes() == b"0123456789"
