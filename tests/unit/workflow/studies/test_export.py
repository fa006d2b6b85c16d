"""Exports of a study: which samples, and in which splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.lifecycle import StudyState
from datagen.domain.spec import Spec
from datagen.errors import InputProblem, NotReady, StoreError
from datagen.export.archive import ExportOptions
from datagen.export.image_encoding import ImageEncoding
from datagen.export.image_kinds import ImageKind
from datagen.export.selection import Judged, Selection, Size
from datagen.export.splitting import shares_of
from datagen.store.tables.base import BatchKind
from datagen.workflow.studies import export
from datagen.workflow.studies.export import export_study
from fake_studio import FakeStudio
from studio import Study


@pytest.fixture
def _prepared(in_state: Callable[[StudyState, Path], Any], tmp_path: Path) -> Any:
    """A study with a finished run."""
    studio, study = in_state(StudyState.ACCEPTED, tmp_path)
    yield studio, study
    studio.close()


def test_study_is_split_by_its_backgrounds(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    shares = shares_of("60,40")
    export_study(studio.services, study.name, tmp_path / "set", shares=shares, options=ExportOptions(formats=("yolo",)))
    lines = [json.loads(line) for line in (tmp_path / "set" / "manifest.jsonl").read_text().splitlines()]
    assert {line["split"] for line in lines} == {"train", "val"}
    for line in lines:
        assert line["files"]["image"].startswith(f"images/{line['split']}/")
        assert (tmp_path / "set" / line["files"]["mask"]).is_file()


def test_split_of_a_run_that_goes_on_has_the_samples_that_were_split(
    studio: FakeStudio, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows are read twice: for the splits, and for the files. Workers may add samples in between."""
    original = export.samples_of_runs
    readings: list[int] = []

    def growing(database: Any, run_ids: list[int]) -> Any:
        samples = list(original(database, run_ids))
        readings.append(len(samples))
        return iter(samples[:-1] if len(readings) == 1 else samples)

    monkeypatch.setattr(export, "samples_of_runs", growing)
    export_study(studio.services, study.name, tmp_path / "set", shares=shares_of("60,40"))
    lines = (tmp_path / "set" / "manifest.jsonl").read_text().splitlines()
    assert len(lines) == readings[0] - 1


def test_unknown_format_leaves_nothing(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    with pytest.raises(InputProblem, match="'kitti' is no export format"):
        export_study(studio.services, study.name, tmp_path / "new" / "set", options=ExportOptions(formats=("kitti",)))
    assert not (tmp_path / "new").exists()


def test_unknown_run_is_refused_with_the_known_ones(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    with pytest.raises(NotReady, match=r"has no run 9; there are: 1 \(run 1\)"):
        export_study(studio.services, study.name, tmp_path / "set", selection=Selection(runs=(9,)))


def test_selection_chooses_what_is_exported_and_split(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    everything = export_study(studio.services, study.name, tmp_path / "all")
    selection = Selection(labels=("pit",), max_size=Size(8), min_instances=1)
    summary = export_study(studio.services, study.name, folder, selection=selection, shares=shares_of("60,40"))
    assert 0 < summary.samples <= everything.samples
    assert '"label": "only objects of pit"' in (folder / "README.txt").read_text()
    with pytest.raises(InputProblem, match=r"none has only objects of 500 px or more; change --min-size"):
        export_study(studio.services, study.name, tmp_path / "none", selection=Selection(min_size=Size(500)))
    assert not (tmp_path / "none").exists()
    with pytest.raises(InputProblem, match=r"of \d images, none has the verdict good; change --verdict"):
        export_study(studio.services, study.name, tmp_path / "none", selection=Selection(verdicts=(Judged.GOOD,)))
    with pytest.raises(InputProblem, match="the study has no label 'sofa'"):
        export_study(studio.services, study.name, tmp_path / "none", selection=Selection(labels=("sofa",)))


def test_progress_begins_at_none_and_ends_with_all_images(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    summary = export_study(
        studio.services, study.name, tmp_path / "set", progress=lambda done, total: reports.append((done, total))
    )
    assert reports == [(done, summary.samples) for done in range(summary.samples + 1)]


def test_study_whose_inputs_were_deleted_is_exported_as_png_and_refused_as_jpeg(
    studio: FakeStudio, study: Study, tmp_path: Path
) -> None:
    """A lossy encoding is certified with the backgrounds."""
    spec = Spec.from_json(study.specs()[-1].body)
    for ref in (*spec.backgrounds, *(each.image for each in (*spec.concepts, *spec.canvases))):
        studio.services.images.delete(ref.digest)
    summary = export_study(studio.services, study.name, tmp_path / "set")
    assert summary.samples == len(study.samples_of(study.batches(BatchKind.RUN)[-1]))
    lossy = ExportOptions(encoding=ImageEncoding(ImageKind.JPEG))
    with pytest.raises(
        StoreError, match=r"cannot be certified as JPEG .*, because its background .*; export it as PNG"
    ):
        export_study(studio.services, study.name, tmp_path / "small", options=lossy)
    assert [path.name for path in tmp_path.iterdir() if "small" in path.name] == []
