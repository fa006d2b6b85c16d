"""A sample is rendered again, from rows or from an export alone, and its origin is stated."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from datagen.cli import app
from datagen.domain.lifecycle import StudyState
from datagen.domain.source_type import SourceType
from datagen.errors import InputProblem, Refused
from datagen.export.archive import ExportOptions
from datagen.export.image_encoding import ImageEncoding
from datagen.export.image_kinds import ImageKind
from datagen.export.tiling import Tiling
from datagen.imaging.png_encoder import encode_png
from datagen.imaging.provenance_mark import read_mark
from datagen.store.tables.base import BatchKind
from datagen.store.tables.batches import SampleRow
from datagen.synthesis.model_files.hub import is_offline
from datagen.workflow.generation.picture_cache import StoredPictures
from datagen.workflow.sample_mapping import sample_of
from datagen.workflow.studies import sample_records
from datagen.workflow.studies.export import export_study
from datagen.workflow.studies.reproduce import FolderPictures, Match, Reproduction, reproduce
from datagen.workflow.studies.sample_records import exported_record, stored_record, wanted_sample
from fake_studio import LIMITS, FakeStudio
from instant_engine import InstantEngine
from studio import Study


@pytest.fixture
def _prepared(in_state: Callable[[StudyState, Path], Any], tmp_path: Path) -> Any:
    """A study with a finished run."""
    studio, study = in_state(StudyState.ACCEPTED, tmp_path)
    yield studio, study
    studio.close()


@pytest.fixture
def row(study: Study) -> SampleRow:
    return study.samples_of(study.batches(BatchKind.RUN)[-1])[0]


def again(studio: FakeStudio, item: str, export: Path | None = None, inputs: Path | None = None) -> Reproduction:
    wanted = wanted_sample(item, LIMITS.image_bytes)
    services = studio.services
    return reproduce(
        exported_record(export, wanted, LIMITS.image_bytes) if export else stored_record(services, wanted),
        wanted,
        pictures=(
            FolderPictures(inputs, services.decoder, LIMITS.image_bytes)
            if inputs
            else StoredPictures(services.images, services.decoder)
        ),
        decoder=services.decoder,
        engine_settings=services.engine_settings,
    )


def image_file(studio: FakeStudio, row: SampleRow, path: Path) -> Path:
    path.write_bytes(studio.services.images.get(row.body["image"]["digest"]))
    return path


def input_folder(studio: FakeStudio, study: Study, folder: Path) -> Path:
    """The study's inputs as files of any names."""
    spec = study.specs()[-1].body
    folder.mkdir()
    refs = [*(c["image"] for c in spec["concepts"]), *(c["image"] for c in spec["canvases"]), *spec["backgrounds"]]
    for number, ref in enumerate(refs):
        (folder / f"photo {number}").write_bytes(studio.services.images.get(ref["digest"]))
    return folder


def test_stored_image_has_the_mark_of_its_sample(studio: FakeStudio, row: SampleRow) -> None:
    mark = read_mark(studio.services.images.get(row.body["image"]["digest"]))
    assert mark is not None
    assert (mark.spec_digest, mark.index) == (row.body["provenance"]["spec_digest"], row.index)
    assert (mark.engine, mark.engine_version, mark.source_type) == ("instant", "1", SourceType.COMPOSITE)


def test_sample_is_found_by_its_key_and_rendered_to_the_same_bytes(
    studio: FakeStudio, study: Study, row: SampleRow
) -> None:
    reproduction = again(studio, row.key)
    assert [(each.subject, each.match) for each in reproduction.comparisons] == [
        ("image", Match.BYTES),
        ("mask", Match.BYTES),
    ]
    assert reproduction.is_same
    text = "\n".join(reproduction.origin)
    sample = sample_of(row)
    assert f"image {row.index} of version 1 of “{study.name}”, in run 1" in text
    assert f"Rendered by instant 1 with seed {sample.provenance.seed}" in text
    assert f"Background: {sample.provenance.background.name}" in text
    assert "Asked for by tester at " in text
    assert "Version 1 by tester at " in text
    assert "Object 1: pit, 8 by 8 pixels at" in text


def test_sample_is_found_by_the_mark_of_its_file_whatever_its_name(
    studio: FakeStudio, row: SampleRow, tmp_path: Path
) -> None:
    reproduction = again(studio, str(image_file(studio, row, tmp_path / "holiday.png")))
    assert reproduction.name == sample_of(row).provenance.file_stem
    assert [each.match for each in reproduction.comparisons] == [Match.BYTES] * 3


def test_file_that_was_encoded_again_has_the_same_pixels(studio: FakeStudio, row: SampleRow, tmp_path: Path) -> None:
    """Pillow drops the mark; the name of the export is left."""
    path = image_file(studio, row, tmp_path / f"{sample_of(row).provenance.file_stem}.png")
    with Image.open(path) as picture:
        picture.save(path, optimize=True)
    assert read_mark(path.read_bytes()) is None
    reproduction = again(studio, str(path))
    assert [each.match for each in reproduction.comparisons] == [Match.BYTES, Match.BYTES, Match.PIXELS]


def test_file_of_a_kind_without_marks_is_found_by_its_name(studio: FakeStudio, row: SampleRow, tmp_path: Path) -> None:
    path = image_file(studio, row, tmp_path / f"{sample_of(row).provenance.file_stem}.tiff")
    with Image.open(path) as picture:
        picture.save(path, "TIFF")
    assert [each.match for each in again(studio, str(path)).comparisons] == [Match.BYTES, Match.BYTES, Match.PIXELS]


def test_changed_file_is_told_by_its_pixels(studio: FakeStudio, row: SampleRow, tmp_path: Path) -> None:
    data = studio.services.images.get(row.body["image"]["digest"])
    with Image.open(io.BytesIO(data)) as picture:
        pixels, xmp = np.array(picture), picture.info["xmp"]
    pixels[0, 0] ^= 7
    path = tmp_path / "retouched.png"
    path.write_bytes(encode_png(pixels, xmp=xmp))
    reproduction = again(studio, str(path))
    assert reproduction.is_same
    assert reproduction.comparisons[2].match is Match.DIFFERENT
    assert reproduction.comparisons[2].detail.startswith("1 of ")


def test_engine_that_renders_otherwise_is_reported(
    studio: FakeStudio, row: SampleRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = InstantEngine.fit

    def fit(self: InstantEngine, *arguments: Any) -> Any:
        fitted = original(self, *arguments)
        render = fitted.render

        def brighter(indices: Any) -> Any:
            for rendered in render(indices):
                rendered.image[rendered.mask > 0] += 1
                yield rendered

        fitted.render = brighter  # type: ignore[method-assign]
        return fitted

    monkeypatch.setattr(InstantEngine, "fit", fit)
    reproduction = again(studio, row.key)
    assert not reproduction.is_same
    assert str(reproduction.comparisons[0]).startswith("image: other pixels (64 of ")


@pytest.mark.parametrize("to", ["set.zip", "set"])
@pytest.mark.parametrize("formats", [("coco",), ("webdataset",)])
def test_every_sample_is_rendered_again_from_the_export_and_the_inputs_alone(
    studio: FakeStudio, study: Study, row: SampleRow, tmp_path: Path, to: str, formats: tuple[str, ...]
) -> None:
    export_study(studio.services, study.name, tmp_path / to, options=ExportOptions(formats=formats))
    inputs = input_folder(studio, study, tmp_path / "inputs")
    rows = study.samples_of(study.batches(BatchKind.RUN)[-1])
    for each in rows:
        stem = sample_of(each).provenance.file_stem
        reproduction = again(studio, f"{stem}.png", tmp_path / to, inputs)
        assert [comparison.match for comparison in reproduction.comparisons] == [Match.BYTES, Match.BYTES]
        assert any(study.name in line for line in reproduction.origin)


@pytest.mark.parametrize("kind", [ImageKind.PNG, ImageKind.JPEG])
def test_image_is_rendered_again_from_one_of_its_tiles(
    studio: FakeStudio, study: Study, row: SampleRow, tmp_path: Path, kind: ImageKind
) -> None:
    options = ExportOptions(encoding=ImageEncoding(kind), tiling=Tiling(side=32, overlap=8, empty_share=0.0))
    export_study(studio.services, study.name, tmp_path / "set", options=options)
    inputs = input_folder(studio, study, tmp_path / "inputs")
    stem = sample_of(row).provenance.file_stem
    tile = sorted((tmp_path / "set" / "images").glob(f"{stem}_*"))[0]
    for item in (str(tile), tile.stem):
        reproduction = again(studio, item, tmp_path / "set", inputs)
        assert reproduction.is_same
        assert [comparison.match for comparison in reproduction.comparisons[:2]] == [Match.BYTES, Match.BYTES]
        assert any(" of the tile at " in line for line in reproduction.origin)


@pytest.mark.parametrize(("option", "offline"), [([], True), (["--allow-download"], False)])
def test_command_lets_an_export_fetch_weights_only_if_it_is_told_so(
    studio: FakeStudio,
    study: Study,
    row: SampleRow,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    option: list[str],
    offline: bool,
) -> None:
    """The spec in an export of others may name any model of the hub."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    export_study(studio.services, study.name, tmp_path / "set")
    inputs = input_folder(studio, study, tmp_path / "inputs")
    seen: list[bool] = []
    fit = InstantEngine.fit
    monkeypatch.setattr(
        InstantEngine,
        "fit",
        lambda self, *given: (seen.append(is_offline()), fit(self, *given))[1],  # type: ignore[func-returns-value]
    )
    name = sample_of(row).provenance.file_stem
    command = ["reproduce", name, "--from", str(tmp_path / "set"), "--inputs", str(inputs), *option]
    assert CliRunner().invoke(app, command).exit_code == 0
    assert seen == [offline]


def test_missing_input_is_named(studio: FakeStudio, study: Study, row: SampleRow, tmp_path: Path) -> None:
    export_study(studio.services, study.name, tmp_path / "set")
    (tmp_path / "inputs").mkdir()
    sample = sample_of(row)
    with pytest.raises(InputProblem, match=f"is the input {sample.provenance.background.name} .SHA-256"):
        again(studio, sample.provenance.file_stem, tmp_path / "set", tmp_path / "inputs")


class TestRefusals:
    def test_unknown_sample(self, studio: FakeStudio) -> None:
        with pytest.raises(Refused, match="this installation has no sample s9-v9-run9-9; check the name"):
            again(studio, "s9-v9-run9-9")

    def test_file_without_mark_or_name(self, studio: FakeStudio, tmp_path: Path) -> None:
        (tmp_path / "photo.png").write_bytes(encode_png(np.zeros((9, 9), np.uint8)))
        with pytest.raises(InputProblem, match=r"photo\.png has no mark of Datagen, and not the name"):
            again(studio, str(tmp_path / "photo.png"))

    def test_name_that_the_file_system_refuses(self, studio: FakeStudio) -> None:
        with pytest.raises(InputProblem, match=r"nnn cannot be read: .*File name too long"):
            again(studio, "n" * 300)
        with pytest.raises(InputProblem, match=r"nnn cannot be read: .*File name too long"):
            again(studio, "5bec5bec_0000001", Path("n" * 300))

    def test_key_with_an_export(self, studio: FakeStudio, study: Study, row: SampleRow, tmp_path: Path) -> None:
        export_study(studio.services, study.name, tmp_path / "set")
        with pytest.raises(InputProblem, match=f"does not know the key {row.key}; give an image file"):
            again(studio, row.key, tmp_path / "set")

    def test_sample_of_another_export(self, studio: FakeStudio, study: Study, tmp_path: Path) -> None:
        export_study(studio.services, study.name, tmp_path / "set")
        with pytest.raises(InputProblem, match="has no sample image 3 of spec abcdef01"):
            again(studio, "abcdef01_0000003", tmp_path / "set")

    def test_folder_that_is_no_export(self, studio: FakeStudio, tmp_path: Path) -> None:
        with pytest.raises(InputProblem, match=r"has no manifest\.jsonl, so it is no export of Datagen"):
            again(studio, "abcdef01_0000003", tmp_path)

    def test_spec_that_was_changed(self, studio: FakeStudio, study: Study, row: SampleRow, tmp_path: Path) -> None:
        export_study(studio.services, study.name, tmp_path / "set")
        path = tmp_path / "set" / "specs.jsonl"
        spec = json.loads(path.read_text().splitlines()[0])
        spec["spec"]["seed"] += 1
        path.write_text(json.dumps(spec) + "\n")
        with pytest.raises(InputProblem, match=r"the spec of .* is damaged: its checksum is"):
            again(studio, sample_of(row).provenance.file_stem, tmp_path / "set")

    def test_manifest_that_names_a_file_outside(
        self, studio: FakeStudio, study: Study, row: SampleRow, tmp_path: Path
    ) -> None:
        export_study(studio.services, study.name, tmp_path / "set")
        path = tmp_path / "set" / "manifest.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line["files"]["image"] = "../rows.sqlite3"
            line["sha256"]["image"] = "0" * 64
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(InputProblem, match="which lies outside of it"):
            again(studio, sample_of(row).provenance.file_stem, tmp_path / "set")


class TestForeignExports:
    """An export may come from anyone: it is read within limits, and what is wrong with it is said in a sentence."""

    @pytest.fixture
    def folder(self, studio: FakeStudio, study: Study, tmp_path: Path) -> Path:
        export_study(studio.services, study.name, tmp_path / "set")
        return tmp_path / "set"

    @pytest.fixture
    def stem(self, row: SampleRow) -> str:
        return sample_of(row).provenance.file_stem

    @pytest.mark.parametrize("line", ["[]", "7", "null", "{", "[" * 100_000])
    @pytest.mark.parametrize("name", ["manifest.jsonl", "specs.jsonl"])
    def test_line_that_is_no_object(self, studio: FakeStudio, folder: Path, stem: str, name: str, line: str) -> None:
        (folder / name).write_text(line)
        with pytest.raises(InputProblem, match=f"line 1 of {name} in .* is damaged; export the study again"):
            again(studio, stem, folder)

    def test_line_without_end(
        self, studio: FakeStudio, folder: Path, stem: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sample_records, "_LONGEST_LINE", 10_000)
        (folder / "manifest.jsonl").write_bytes(b" " * 10_001)
        with pytest.raises(InputProblem, match=r"manifest\.jsonl of .* has more than 10,000 bytes in one piece"):
            again(studio, stem, folder)

    @pytest.mark.parametrize(
        ("name", "place", "value"),
        [
            ("manifest.jsonl", ("provenance", "index"), None),
            ("manifest.jsonl", ("provenance", "background"), "plate.jpg"),
            ("manifest.jsonl", ("instances", 0, "box"), [1, 2, 3]),
            ("manifest.jsonl", ("instances", 0, "box", 0), "1"),
            ("manifest.jsonl", ("sha256",), {}),
            ("manifest.jsonl", ("files", "image"), 7),
            ("specs.jsonl", ("notes",), 7),
            ("specs.jsonl", ("digest",), []),
            ("specs.jsonl", ("spec",), []),
            ("specs.jsonl", ("spec", "concepts"), [7]),
            ("specs.jsonl", ("spec", "backgrounds"), [{"path": "/etc/passwd"}]),
        ],
    )
    def test_value_of_another_type(
        self, studio: FakeStudio, folder: Path, stem: str, name: str, place: tuple[Any, ...], value: Any
    ) -> None:
        path = folder / name
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            holder = line
            for key in place[:-1]:
                holder = holder[key]
            holder[place[-1]] = value
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        with pytest.raises(InputProblem, match=r"is damaged|has no sample"):
            again(studio, stem, folder)

    def test_zip_with_a_damaged_entry(self, studio: FakeStudio, study: Study, stem: str, tmp_path: Path) -> None:
        path = tmp_path / "set.zip"
        export_study(studio.services, study.name, path)
        with zipfile.ZipFile(path) as archive:
            entry = archive.getinfo("manifest.jsonl")
        data = bytearray(path.read_bytes())
        start = entry.header_offset + 30 + len(entry.filename) + 20  # 20 bytes of its sizes in ZIP64
        data[start : start + entry.compress_size] = bytes(entry.compress_size)
        path.write_bytes(data)
        with pytest.raises(InputProblem, match=r"manifest\.jsonl of .* cannot be read: .*; name an undamaged export"):
            again(studio, stem, path)

    def test_image_larger_than_any_sample(
        self, studio: FakeStudio, study: Study, folder: Path, stem: str, tmp_path: Path
    ) -> None:
        record = exported_record(folder, wanted_sample(stem, 10**6), 20)
        assert record.image is not None
        with pytest.raises(InputProblem, match=r"png of .* has more than 20 bytes in one piece; name another export"):
            record.image()

    def test_pipe_in_place_of_an_image(self, folder: Path, stem: str) -> None:
        image = folder / "images" / f"{stem}.png"
        image.unlink()
        os.mkfifo(image)
        record = exported_record(folder, wanted_sample(stem, 10**6), 10**6)
        assert record.image is not None
        with pytest.raises(InputProblem, match=r"png of .* is no file"):
            record.image()

    def test_image_that_is_not_there(self, folder: Path, stem: str) -> None:
        (folder / "images" / f"{stem}.png").unlink()
        record = exported_record(folder, wanted_sample(stem, 10**6), 10**6)
        assert record.image is not None
        with pytest.raises(InputProblem, match=r"has no images/.*png, which its manifest names"):
            record.image()


def test_input_that_cannot_be_read_does_not_hide_the_others(
    studio: FakeStudio, study: Study, row: SampleRow, tmp_path: Path
) -> None:
    export_study(studio.services, study.name, tmp_path / "set")
    inputs = input_folder(studio, study, tmp_path / "inputs")
    (inputs / "a link to itself").symlink_to(inputs / "a link to itself")
    (inputs / "no name of a directory\udcff").mkdir()
    os.mkfifo(inputs / "pipe")
    assert again(studio, sample_of(row).provenance.file_stem, tmp_path / "set", inputs).is_same


def test_export_contains_the_specs_and_their_parents(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    export_study(studio.services, study.name, tmp_path / "set.zip")
    with zipfile.ZipFile(tmp_path / "set.zip") as archive:
        specs = [json.loads(line) for line in archive.read("specs.jsonl").splitlines()]
    assert [spec["digest"] for spec in specs] == [study.specs()[-1].digest]
    assert specs[0]["spec"] == study.specs()[-1].body
