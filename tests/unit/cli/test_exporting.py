"""Commands that write a study's images: what they replace, what an interruption leaves, and how options are read."""

from __future__ import annotations

import os
import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from datagen.cli import exporting
from datagen.domain.wording import counted
from datagen.export import card as export_card
from datagen.export import viewers
from datagen.export.archive import ExportOptions, Summary
from datagen.export.balance import Dimension
from datagen.export.image_encoding import ImageEncoding
from datagen.export.image_kinds import ImageKind
from datagen.export.local_sink import local_sink
from datagen.export.selection import Judged, Place, Selection, Size
from datagen.export.tiling import Tiling
from datagen.export.viewer_names import ViewerName
from datagen.workflow.studies import card as study_card
from datagen.workflow.studies import editing
from datagen.workflow.studies import export as study_export


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that exports write, instead of exports of a study."""
    written: list[Path] = []

    def write(_services: object, _name: str, path: str, **_options: object) -> Summary:
        Path(path).write_bytes(b"an export")
        written.append(Path(path))
        return Summary(samples=len(written), instances=0, by_label={})

    monkeypatch.setattr(exporting, "services", lambda: None)
    monkeypatch.setattr(editing, "study_id_of", lambda *_: 1)
    monkeypatch.setattr(study_export, "export_study", write)
    monkeypatch.setattr(study_export, "unfinished_runs", lambda *_: [])
    return written


def test_export_replaces_a_file_only_if_it_is_told_to(
    tmp_path: Path, exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "set.zip"
    path.write_bytes(b"another file")
    with pytest.raises(typer.Exit) as ended:
        exporting.export("a study", str(path))
    assert ended.value.exit_code == 1
    refusal = " ".join(capsys.readouterr().err.split())
    assert "exists already; name another file, or replace it with --overwrite" in refusal
    assert (path.read_bytes(), exports) == (b"another file", [])
    exporting.export("a study", str(path), overwrite=True)
    assert (path.read_bytes(), exports) == (b"an export", [path])
    assert counted(1, "image") in capsys.readouterr().out


@pytest.mark.usefixtures("exports")
def test_ended_export_leaves_its_draft_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def ended(_services: object, _name: str, path: str, **_options: object) -> Summary:
        with local_sink(Path(path)) as sink:
            sink.write("images/1.png", b"half of an export")
            os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("the export goes on after SIGTERM")

    monkeypatch.setattr(editing, "study_id_of", lambda *_: 1)
    monkeypatch.setattr(study_export, "export_study", ended)
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        exporting.export("a study", str(tmp_path / "set"))
    assert end.value.code == 143
    assert [path.name for path in tmp_path.iterdir()] == [".set.part"]
    message = " ".join(capsys.readouterr().err.split())
    assert "Interrupted: the next export to" in message
    assert signal.getsignal(signal.SIGTERM) == former


@pytest.mark.usefixtures("exports")
@pytest.mark.parametrize(
    ("place", "sentence"),
    [
        ("memory://b/set", "the next export to memory://b/set with the same options goes on"),
        ("memory://b/set.zip", "begins anew. After an interruption an export goes on in the folder memory://b/set,"),
    ],
)
def test_interrupted_export_to_a_store_says_whether_the_next_one_goes_on(
    place: str, sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **_options: object) -> Summary:
        raise KeyboardInterrupt

    monkeypatch.setattr(editing, "study_id_of", lambda *_: 1)
    monkeypatch.setattr(study_export, "export_study", interrupted)
    with pytest.raises(KeyboardInterrupt):
        exporting.export("a study", place)
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_card_for_which_the_disk_has_no_room_leaves_the_former_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "README.md"
    path.write_text("the former card")
    monkeypatch.setattr(exporting, "services", lambda: None)
    monkeypatch.setattr(study_card, "card_facts", lambda *_: None)
    monkeypatch.setattr(export_card, "markdown", lambda _: "a card" * 100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(typer.Exit):
            exporting.card("a study", to=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "cannot be written" in " ".join(capsys.readouterr().err.split())
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("README.md", "the former card")]


def test_name_that_the_file_system_refuses_is_a_sentence(
    exports: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        exporting.export("a study", "n" * 300)
    assert "File name too long" in " ".join(capsys.readouterr().err.split())
    assert exports == []


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The options of exports, instead of exports of a study."""
    seen: list[dict[str, Any]] = []

    def write(_services: object, _name: str, _path: Path, **options: Any) -> Summary:
        seen.append(options)
        return Summary(samples=5, instances=0, by_label={}, photos=2, notes=("3 images stay PNG",))

    monkeypatch.setattr(exporting, "services", lambda: None)
    monkeypatch.setattr(editing, "study_id_of", lambda *_: 1)
    monkeypatch.setattr(study_export, "export_study", write)
    monkeypatch.setattr(study_export, "unfinished_runs", lambda *_: [])
    return seen


def run_export(*arguments: str) -> Any:
    app = typer.Typer()
    app.command()(exporting.export)
    return CliRunner().invoke(app, ["a study", "--out", "set.zip", *arguments], env={"COLUMNS": "300"})


def test_options_of_an_export_choose_its_content(asked: list[dict[str, Any]]) -> None:
    ended = run_export(
        *("--run", "1", "--run", "3", "--verdict", "good", "--label", "dent", "--min-size", "12px", "--max-size", "5%"),
        *("--place", "top-left", "--min-instances", "1", "--max-instances", "4", "--balance", "size,label"),
        *("--real-share", "0.3", "--images", "jpeg", "--quality", "80", "--tile", "512", "--overlap", "64"),
        *("--empty-tiles", "0.5"),
    )
    assert ended.exit_code == 0, ended.output
    (options,) = asked
    assert options["selection"] == Selection(
        runs=(1, 3),
        verdicts=(Judged.GOOD,),
        labels=("dent",),
        min_size=Size(12),
        max_size=Size(5, is_share=True),
        places=(Place.TOP_LEFT,),
        min_instances=1,
        max_instances=4,
    )
    assert options["balance"] == (Dimension.LABEL, Dimension.SIZE)
    assert options["real_share"] == 0.3
    assert options["options"].encoding == ImageEncoding(ImageKind.JPEG, 80)
    assert options["options"].tiling == Tiling(side=512, overlap=64, empty_share=0.5)
    shown = " ".join(ended.output.split())
    assert "Note: 3 images stay PNG" in shown
    assert "set.zip: 5 images, 2 real photos among them, 0 labels" in shown


def test_export_without_options_is_everything_as_it_is_stored(asked: list[dict[str, Any]]) -> None:
    assert run_export().exit_code == 0
    (options,) = asked
    assert options["selection"] == Selection()
    assert options["options"] == ExportOptions()
    assert (options["balance"], options["real_share"], options["shares"]) == ((), 0.0, None)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--quality", "80"), "PNG is lossless and has no quality"),
        (("--overlap", "8"), "--overlap and --empty-tiles are about tiles; give --tile with the side in pixels too"),
        (("--empty-tiles", "0"), "give --tile with the side in pixels too"),
        (("--tile", "8"), "a tile of 8 pixels is too small"),
        (("--min-size", "big"), "“big” is no size"),
        (("--balance", "colour"), "“colour” cannot be balanced"),
    ],
)
def test_wrong_option_of_an_export_is_a_sentence(
    asked: list[dict[str, Any]], arguments: tuple[str, ...], sentence: str
) -> None:
    ended = run_export(*arguments)
    assert ended.exit_code == 1
    assert sentence in " ".join(ended.output.split())
    assert asked == []


def test_view_exports_to_a_folder_that_is_removed_afterwards(
    asked: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(viewers, "check_installed", lambda *_: None)
    monkeypatch.setattr(viewers, "open_export", lambda _viewer, folder, _python: opened.append(folder))
    exporting.view("a study", ViewerName.ATLAS, run=[2])
    assert asked[0]["selection"] == Selection(runs=(2,))
    assert asked[0]["options"].formats == ("parquet",)
    assert not opened[0].parent.exists()
    assert "5 images in embedding-atlas, until it is closed" in capsys.readouterr().out


def test_view_without_the_program_exports_nothing(
    asked: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(typer.Exit):
        exporting.view("a study", ViewerName.FIFTYONE, python=Path("/bin/false"))
    assert "fiftyone or pycocotools is not installed for /bin/false" in " ".join(capsys.readouterr().err.split())
    assert asked == []
