"""Commands about a study that need no server: an export does not replace a file, and provisioning says what is next."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path

import pytest
import typer

from datagen.cli import studies
from datagen.domain.inputs import ProjectKind
from datagen.domain.wording import counted
from datagen.export import card as export_card
from datagen.export.archive import Summary
from datagen.export.local_sink import local_sink
from datagen.workflow.studies import card as study_card
from datagen.workflow.studies import export as study_export
from datagen.workflow.studies.open import OpenedStudy


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that exports write, instead of exports of a study."""
    written: list[Path] = []

    def write(_services: object, _name: str, path: str, **_options: object) -> Summary:
        Path(path).write_bytes(b"an export")
        written.append(Path(path))
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
        studies.export("a study", str(path))
    assert ended.value.exit_code == 1
    refusal = " ".join(capsys.readouterr().err.split())
    assert "exists already; name another file, or replace it with --overwrite" in refusal
    assert (path.read_bytes(), exports) == (b"another file", [])
    studies.export("a study", str(path), overwrite=True)
    assert (path.read_bytes(), exports) == (b"an export", [path])
    assert counted(1, "image") in capsys.readouterr().out


def test_provisioning_ends_with_what_to_do_next(capsys: pytest.CaptureFixture[str]) -> None:
    projects = {kind: number for number, kind in enumerate(ProjectKind, 1)}
    opened = OpenedStudy(engine="composite", engine_before=None, projects=projects)
    studies._show_opened("plates", opened, "http://ls.test")
    last = " ".join(capsys.readouterr().out.split()).partition("Next: ")[2]
    assert "Concepts, Canvases and Backgrounds" in last
    assert last.endswith("http://ls.test/projects/5/data")


@pytest.mark.usefixtures("exports")
def test_ended_export_leaves_its_draft_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(_services: object, _name: str, path: str, **_options: object) -> Summary:
        with local_sink(Path(path)) as sink:
            sink.write("images/1.png", b"half of an export")
            os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the export goes on after SIGTERM")

    monkeypatch.setattr(study_export, "export_study", ended)
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        studies.export("a study", str(tmp_path / "set"))
    assert end.value.code == 143
    assert [path.name for path in tmp_path.iterdir()] == [".set.part"]
    said = " ".join(capsys.readouterr().err.split())
    assert "Interrupted: the next export to" in said
    assert signal.getsignal(signal.SIGTERM) == former


def test_card_for_which_the_disk_has_no_room_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "README.md"
    path.write_text("the former card")
    monkeypatch.setattr(studies, "services", lambda: None)
    monkeypatch.setattr(study_card, "card_facts", lambda *_: None)
    monkeypatch.setattr(export_card, "markdown", lambda _: "a card" * 100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(typer.Exit):
            studies.card("a study", to=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in " ".join(capsys.readouterr().err.split())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("README.md", "the former card")]


def test_name_that_the_file_system_refuses_is_a_sentence(
    exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        studies.export("a study", "n" * 300)
    assert "File name too long" in " ".join(capsys.readouterr().err.split())
    assert exports == []
