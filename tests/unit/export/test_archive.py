"""The zip: complete, checked, the same every time, and never half written."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import io
import json
import resource
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pycocotools.coco import COCO

import datagen
from datagen.domain.sample import Sample
from datagen.domain.trace import Trace
from datagen.errors import InputProblem, StoreError
from datagen.export.archive import READ_AHEAD, ExportOptions, write_dataset
from datagen.export.writer import format_class, format_names

ABOUT = {"study": "Plates", "runs": [{"number": 1, "spec_digest": "5bec" * 16, "approved_by": "a@example.com"}]}


@pytest.fixture
def samples(shelf: Any, mask: npt.NDArray[np.uint8]) -> list[Sample]:
    return [shelf.sample(mask, ("scratch", "dent"), index=i) for i in range(40)]


@pytest.fixture
def write(shelf: Any, labels: tuple[str, ...], tmp_path: Path) -> Any:
    def write(samples: Any, *, formats: tuple[str, ...] = ("coco",), to: str = "set.zip", **changes: Any) -> Any:
        given = {"labels": labels, "read": shelf.read, "about": ABOUT} | changes
        return write_dataset(tmp_path / to, samples, options=ExportOptions(formats=formats), **given)

    return write


def files_in(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def left_behind(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def test_every_image_with_its_mask_and_its_line(samples: list[Sample], write: Any, shelf: Any, tmp_path: Path) -> None:
    summary = write(samples)
    assert (summary.samples, summary.instances, dict(summary.by_label)) == (40, 80, {"scratch": 40, "dent": 40})
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert archive.testzip() is None
        lines = [json.loads(line) for line in archive.read("manifest.jsonl").splitlines()]
        assert len(lines) == 40
        for line, sample in zip(lines, samples, strict=True):
            assert archive.read(line["files"]["image"]) == shelf.read(sample.image.digest)
            assert archive.read(line["files"]["mask"]) == shelf.read(sample.mask.digest)
            assert line["provenance"]["approved_by"] == "a@example.com"
        assert set(archive.namelist()) == (
            {path for line in lines for path in line["files"].values()} | {"manifest.jsonl", "coco.json", "README.txt"}
        )
    assert left_behind(tmp_path) == ["set.zip"]


def test_coco_names_files_that_are_there(samples: list[Sample], write: Any, tmp_path: Path) -> None:
    write(samples)
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        archive.extractall(tmp_path / "set")
    coco = COCO(str(tmp_path / "set" / "coco.json"))
    assert len(coco.imgs) == 40
    assert sorted(coco.anns) == list(range(1, 81))
    for image in coco.imgs.values():
        with Image.open(tmp_path / "set" / image["file_name"]) as picture:
            assert picture.size == (image["width"], image["height"])
        assert len(coco.getAnnIds(imgIds=[image["id"]])) == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("yolo", {"labels/5bec5bec_0000000.txt", "data.yaml"}),
        ("yolo-segment", {"labels/5bec5bec_0000000.txt", "data.yaml"}),
        ("voc", {"Annotations/5bec5bec_0000000.xml"}),
        ("semantic", {"semantic/5bec5bec_0000000.png"}),
        ("yolo-obb", {"labels/5bec5bec_0000000.txt", "data.yaml"}),
        ("coco", {"coco.json"}),
        ("label-studio", {"label_studio.json", "label_config.xml"}),
        ("label-studio-brush", {"label_studio.json", "label_config.xml"}),
        ("imagefolder", {"images/metadata.jsonl"}),
    ],
)
def test_each_format_has_its_files_and_no_others(
    samples: list[Sample], write: Any, tmp_path: Path, name: str, expected: set[str]
) -> None:
    write(samples[:1], formats=(name,))
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        always = {"images/5bec5bec_0000000.png", "masks/5bec5bec_0000000.png", "manifest.jsonl", "README.txt"}
        assert set(archive.namelist()) == always | expected
        for path in expected:
            assert path.split("/")[0] in archive.read("README.txt").decode()


@pytest.mark.parametrize("name", ["parquet", "webdataset"])
def test_format_that_holds_the_images_has_no_second_copy_of_them(
    samples: list[Sample], write: Any, tmp_path: Path, name: str
) -> None:
    write(samples, formats=(name,))
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        (shard,) = (path for path in archive.namelist() if path.startswith(f"{name}/train-00000."))
        assert set(archive.namelist()) == {shard, "manifest.jsonl", "README.txt"}
        line = json.loads(archive.read("manifest.jsonl").splitlines()[0])
        assert line["files"] == {"shard": shard}
        assert "\nimages/" not in archive.read("README.txt").decode()


def test_all_formats_together(samples: list[Sample], write: Any, tmp_path: Path) -> None:
    """Formats with files of the same names get a folder each, with the images."""
    write(samples, formats=tuple(format_names()))
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        names = archive.namelist()
        assert len(names) == len(set(names))
        stem = "5bec5bec_0000007"
        for variant in ("yolo", "yolo-segment", "yolo-obb"):
            assert f"{variant}/data.yaml" in names
            assert f"{variant}/labels/{stem}.txt" in names
            assert archive.read(f"{variant}/images/{stem}.png") == archive.read(f"images/{stem}.png")
        assert {"label-studio/label_studio.json", "label-studio-brush/label_studio.json"} <= set(names)
        assert {"coco.json", "Annotations/5bec5bec_0000007.xml", "images/metadata.jsonl"} <= set(names)
        text = archive.read("README.txt").decode()
    for name in format_names():
        assert format_class(name).limits in text


@pytest.mark.parametrize("to", ["set.zip", "set"])
def test_every_format_gives_the_same_bytes_for_the_same_samples(
    samples: list[Sample], write: Any, tmp_path: Path, to: str
) -> None:
    for place in ("a", "b"):
        write(samples, formats=tuple(format_names()), to=f"{place}/{to}")
    first, second = (files_in(tmp_path / place) for place in ("a", "b"))
    assert first == second


class TestFolder:
    """The same files as in a zip, and the same checks."""

    def test_folder_has_the_files_of_the_zip(self, samples: list[Sample], write: Any, tmp_path: Path) -> None:
        formats = tuple(format_names())
        write(samples, formats=formats)
        write(samples, formats=formats, to="set")
        files = files_in(tmp_path / "set")
        with zipfile.ZipFile(tmp_path / "set.zip") as archive:
            assert files == {name: archive.read(name) for name in archive.namelist()}

    def test_failure_leaves_the_former_folder_and_no_draft(
        self, samples: list[Sample], write: Any, shelf: Any, tmp_path: Path
    ) -> None:
        write(samples[:2], to="set")
        before = sorted(path.name for path in (tmp_path / "set").rglob("*"))
        del shelf.objects[samples[25].image.digest]
        with pytest.raises(StoreError, match="is not in the store"):
            write(samples, formats=("coco", "parquet", "webdataset"), to="set")
        assert left_behind(tmp_path) == ["set"]
        assert sorted(path.name for path in (tmp_path / "set").rglob("*")) == before

    def test_former_export_is_replaced(self, samples: list[Sample], write: Any, tmp_path: Path) -> None:
        write(samples[:3], to="set")
        write(samples[3:5], to="set")
        assert len(list((tmp_path / "set" / "images").iterdir())) == 2
        assert left_behind(tmp_path) == ["set"]

    def test_image_of_which_the_disk_takes_a_part_is_not_left_truncated(
        self, samples: list[Sample], write: Any, shelf: Any, tmp_path: Path
    ) -> None:
        """The system writes the part for which there is room, and reports an error only for the rest."""
        image = shelf.objects[samples[0].image.digest]
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(image) - 10, before[1]))
        try:
            with pytest.raises(StoreError, match=r"set cannot be written: .*File too large"):
                write(samples[:1], to="set")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert left_behind(tmp_path) == []

    @pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + ".zip", "n" * 250, "n" * 300 + "/set"])
    def test_name_that_the_file_system_refuses(
        self, samples: list[Sample], write: Any, tmp_path: Path, name: str
    ) -> None:
        with pytest.raises(StoreError, match=r"cannot be written: .*File name too long"):
            write(samples[:1], to=name)
        assert left_behind(tmp_path) == []

    def test_link_to_a_former_export_stays_a_link(self, samples: list[Sample], write: Any, tmp_path: Path) -> None:
        write(samples[:3], to="set")
        (tmp_path / "newest").symlink_to("set")
        write(samples[3:5], to="newest")
        assert (tmp_path / "newest").is_symlink()
        assert len(list((tmp_path / "set" / "images").iterdir())) == 2
        assert left_behind(tmp_path) == ["newest", "set"]

    def test_working_directory_is_named_by_a_dot(
        self, samples: list[Sample], labels: tuple[str, ...], shelf: Any, tmp_path: Path, monkeypatch: Any
    ) -> None:
        (tmp_path / "set").mkdir()
        monkeypatch.chdir(tmp_path / "set")
        write_dataset(Path(), samples[:2], labels=labels, read=shelf.read, about=ABOUT)
        assert (tmp_path / "set" / "manifest.jsonl").is_file()
        assert left_behind(tmp_path) == ["set"]

    def test_folder_with_other_files_is_not_replaced(self, samples: list[Sample], write: Any, tmp_path: Path) -> None:
        (tmp_path / "set").mkdir()
        (tmp_path / "set" / "thesis.tex").write_text("years of work")
        with pytest.raises(StoreError, match="set is a folder with other files, no export; name a new folder"):
            write(samples, to="set")
        assert (tmp_path / "set" / "thesis.tex").read_text() == "years of work"

    def test_file_is_not_replaced_by_a_folder(self, samples: list[Sample], write: Any, tmp_path: Path) -> None:
        (tmp_path / "set").write_text("a file")
        with pytest.raises(StoreError, match="set is a file; name a folder"):
            write(samples, to="set")


def test_300_labels_are_held_by_every_format_that_does_not_refuse_them(
    shelf: Any, mask: npt.NDArray[np.uint8], write: Any, tmp_path: Path
) -> None:
    many = tuple(f"label {number}" for number in range(300))
    sample = shelf.sample(mask, (many[299], many[0]))
    able = tuple(name for name in format_names() if format_class(name).max_labels is None)
    assert set(format_names()) - set(able) == {"semantic"}
    summary = write([sample], formats=able, labels=many, to="set")
    assert (summary.by_label[many[299]], len(summary.by_label)) == (1, 300)
    for variant in ("yolo", "yolo-segment", "yolo-obb"):
        [file] = (tmp_path / "set" / variant / "labels").rglob("*.txt")
        assert [line.split()[0] for line in file.read_text().splitlines()] == ["299", "0"]
    coco = json.loads((tmp_path / "set" / "coco.json").read_text())
    names = {category["id"]: category["name"] for category in coco["categories"]}
    assert [names[label["category_id"]] for label in coco["annotations"]] == [many[299], many[0]]


def test_the_readme_inside_says_what_each_format_cannot_hold(samples: list[Sample], write: Any, tmp_path: Path) -> None:
    write(samples[:1], formats=("coco", "yolo-segment", "voc", "semantic"))
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        text = archive.read("README.txt").decode()
    for part in ("run-length mask", "even-odd rule", "Boxes alone, in whole pixels", "at most 255 labels"):
        assert part in text


def test_grey_images_are_written_with_one_channel(shelf: Any, write: Any, tmp_path: Path) -> None:
    mask = np.pad(np.ones((3, 3), np.uint8), 4)
    write([shelf.sample(mask, ("dent",), image=np.full((11, 11), 9, np.uint16))], formats=("voc",))
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert b"<depth>1</depth>" in archive.read("Annotations/5bec5bec_0000000.xml")


def test_the_same_samples_give_the_same_bytes(samples: list[Sample], write: Any, tmp_path: Path) -> None:
    write(samples)
    first = (tmp_path / "set.zip").read_bytes()
    write(samples)
    assert (tmp_path / "set.zip").read_bytes() == first


def test_no_samples_give_an_empty_set(write: Any, tmp_path: Path) -> None:
    assert write([]).samples == 0
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        assert json.loads(archive.read("coco.json"))["images"] == []


def test_missing_folders_are_made(samples: list[Sample], write: Any, tmp_path: Path) -> None:
    write_dataset(tmp_path / "a" / "b.zip", [], labels=("x",), read=lambda digest: b"", about={})
    assert (tmp_path / "a" / "b.zip").exists()


class TestNothingHalf:
    """Any failure: a sentence that names it, no new file, and an unchanged old one."""

    @pytest.fixture(autouse=True)
    def old(self, tmp_path: Path) -> Iterator[None]:
        (tmp_path / "set.zip").write_bytes(b"an older export")
        yield
        assert (tmp_path / "set.zip").read_bytes() == b"an older export"
        assert left_behind(tmp_path) == ["set.zip"]

    def test_a_missing_object(self, samples: list[Sample], write: Any, shelf: Any) -> None:
        del shelf.objects[samples[25].image.digest]
        with pytest.raises(StoreError, match=f"image {samples[25].image.digest} is not in the store"):
            write(samples)

    def test_a_damaged_image(self, samples: list[Sample], write: Any, shelf: Any) -> None:
        digest = samples[30].image.digest
        shelf.objects[digest] = shelf.objects[digest][:-1] + b"\x00"
        with pytest.raises(StoreError, match="the image of sample 5bec5bec_0000030 is damaged"):
            write(samples)

    def test_another_sample_s_mask(self, samples: list[Sample], write: Any, shelf: Any, mask: Any) -> None:
        samples[12] = replace(samples[12], mask=shelf.put(np.roll(mask, 1, axis=1), "moved"))
        with pytest.raises(StoreError, match="sample 5bec5bec_0000012 is not exported, because its labels disagree"):
            write(samples)

    def test_an_image_of_another_size(self, samples: list[Sample], write: Any) -> None:
        wrong = replace(samples[5], image=replace(samples[5].image, width=61))
        with pytest.raises(StoreError, match=r"image of sample 5bec5bec_0000005 is 60 by 40 pixels, .* says 61 by 40"):
            write([wrong])

    def test_an_image_that_is_no_png(self, samples: list[Sample], write: Any, shelf: Any) -> None:
        stream = io.BytesIO()
        Image.new("RGB", (60, 40)).save(stream, "JPEG")
        digest = hashlib.sha256(stream.getvalue()).hexdigest()
        shelf.objects[digest] = stream.getvalue()
        with pytest.raises(StoreError, match="image of sample 5bec5bec_0000005 is not a PNG"):
            write([replace(samples[5], image=replace(samples[5].image, digest=digest))])

    def test_a_sample_that_comes_twice(self, samples: list[Sample], write: Any) -> None:
        with pytest.raises(StoreError, match="sample 5bec5bec_0000003 comes twice"):
            write([*samples, samples[3]])

    def test_an_unknown_format(self, samples: list[Sample], write: Any) -> None:
        with pytest.raises(InputProblem, match="'kitti' is no export format; there are: coco, imagefolder"):
            write(samples, formats=("coco", "kitti"))

    def test_the_256th_label_of_a_semantic_mask(self, samples: list[Sample], write: Any) -> None:
        many = tuple(f"label {number}" for number in range(256))
        with pytest.raises(InputProblem, match="the format semantic holds 255 labels, the study has 256; leave it out"):
            write(samples, formats=("semantic",), labels=many)

    def test_a_format_that_is_requested_twice(self, samples: list[Sample], write: Any) -> None:
        with pytest.raises(InputProblem, match="the format coco is requested twice; name it once"):
            write(samples, formats=("coco", "voc", "coco"))

    def test_a_disk_that_is_full(self, shelf: Any, labels: tuple[str, ...], samples: list[Sample], write: Any) -> None:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
        try:
            with pytest.raises(StoreError, match=r"set\.zip cannot be written: .*File too large"):
                write(samples)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_samples_are_not_kept(shelf: Any, mask: npt.NDArray[np.uint8], labels: tuple[str, ...], tmp_path: Path) -> None:
    """Only the names of a sample's two files and their entries in the zip's directory stay in memory."""
    sample = shelf.sample(mask, ("scratch", "dent"))
    note = Trace(details={"note": "x" * 20_000})
    written = 7 * READ_AHEAD  # at the end of the samples; the others were read ahead
    folders = [f"{Path(module.__file__ or '').parent}/*" for module in (datagen, json)]
    ours = [tracemalloc.Filter(True, name) for name in (*folders, dataclasses.__file__, __file__)]
    kept = used = 0

    def many() -> Iterator[Sample]:
        nonlocal kept, used
        for i in range(written + READ_AHEAD):
            yield replace(sample, provenance=replace(sample.provenance, index=i, trace=note))
        gc.collect()
        lines = tracemalloc.take_snapshot().filter_traces(ours).statistics("lineno")
        kept = sum(line.count // written for line in lines)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()

    def read(digest: str) -> bytes:
        return bytes(bytearray(shelf.read(digest)))  # a copy of its own for each sample

    tracemalloc.start()
    try:
        write_dataset(tmp_path / "set.zip", many(), labels=labels, read=read, about=ABOUT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept == 6
    assert peak - used < 500_000  # the manifest alone has 2.5 MB


def test_objects_are_read_at_the_same_time(samples: list[Sample], write: Any, shelf: Any) -> None:
    """The first reads wait for each other, so the test would time out if objects were read one by one."""
    together = threading.Barrier(READ_AHEAD, timeout=30)
    order = iter(range(2 * len(samples)))

    def read(digest: str) -> bytes:
        if next(order) < READ_AHEAD:
            together.wait()
        data: bytes = shelf.read(digest)
        return data

    assert write(samples, read=read).samples == len(samples)
