"""Commands about a study that need no server: an export does not replace a file, and provisioning says what is next."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from datagen.cli import studies
from datagen.domain.inputs import ProjectKind
from datagen.domain.wording import counted
from datagen.export.archive import Summary
from datagen.workflow.studies import export as study_export
from datagen.workflow.studies.open import OpenedStudy


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that exports write, instead of exports of a study."""
    written: list[Path] = []

    def write(_services: object, _name: str, path: Path, **_options: object) -> Summary:
        path.write_bytes(b"an export")
        written.append(path)
        return Summary(samples=len(written), instances=0, by_label={})

    monkeypatch.setattr(studies, "services", lambda: None)
    monkeypatch.setattr(study_export, "export_study", write)
    monkeypatch.setattr(study_export, "unfinished_runs", lambda *_: [])
    return written


def test_export_replaces_a_file_only_if_it_is_told_to(
    tmp_path: Path, exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"another file")
    with pytest.raises(typer.Exit) as ended:
        studies.export("a study", path)
    assert ended.value.exit_code == 1
    refusal = " ".join(capsys.readouterr().err.split())
    assert "exists already; name another file, or replace it with --overwrite" in refusal
    assert (path.read_bytes(), exports) == (b"another file", [])
    studies.export("a study", path, overwrite=True)
    assert (path.read_bytes(), exports) == (b"an export", [path])
    assert counted(1, "image") in capsys.readouterr().out


def test_provisioning_ends_with_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    projects = {kind: number for number, kind in enumerate(ProjectKind, 1)}
    opened = OpenedStudy(engine="composite", engine_before=None, projects=projects)
    studies._show_opened("plates", opened, "http://ls.test")
    last = " ".join(capsys.readouterr().out.split()).partition("Next: ")[2]
    assert "Concepts, Canvases and Backgrounds" in last
    assert last.endswith("http://ls.test/projects/5/data")
