"""Exports of a study: which samples, and in which splits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datagen.domain.lifecycle import StudyState
from datagen.errors import InputProblem, NotReady
from datagen.export.archive import ExportOptions
from datagen.export.splitting import shares_of
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
        return iter(samples[:-1] if len(readings) == 2 else samples)

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
        export_study(studio.services, study.name, tmp_path / "set", run_number=9)


def test_progress_begins_at_none_and_ends_with_all_images(studio: FakeStudio, study: Study, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    summary = export_study(
        studio.services, study.name, tmp_path / "set", progress=lambda done, total: reports.append((done, total))
    )
    assert reports == [(done, summary.samples) for done in range(summary.samples + 1)]
