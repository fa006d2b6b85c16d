"""Every export format is described wherever formats are listed, and its limits are named."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint

import pytest
from typer.testing import CliRunner

from datagen.cli import app
from datagen.errors import InputProblem
from datagen.export import readme, writer
from datagen.export.writer import ExportedSample, ExportWriter, format_class, format_folders, format_names
from stage.layout import ROOT


@pytest.mark.parametrize("name", format_names())
def test_format_is_named_by_its_entry_point_and_describes_itself_in_sentences(name: str) -> None:
    loaded = format_class(name)
    assert loaded.name == name
    for sentence in (loaded.sentence, loaded.limits):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
    assert loaded.paths
    assert loaded.opened_by


@pytest.mark.parametrize("name", format_names())
def test_format_is_described_in_the_readme_of_an_export(name: str) -> None:
    text = readme.text({}, images=1, instances={"pit": 1}, formats=[(format_class(name), "")])
    described, limits = text.split("What a file cannot hold")
    for path, description in format_class(name).paths:
        assert any(line.split() == [path, *description.split()] for line in described.splitlines())
    assert format_class(name).limits in limits


def test_formats_are_listed_by_the_command() -> None:
    shown = " ".join(CliRunner().invoke(app, ["export", "--formats"], env={"COLUMNS": "300"}).output.split())
    for name in format_names():
        assert name in shown
        assert format_class(name).sentence in shown


@pytest.mark.parametrize("name", format_names())
@pytest.mark.parametrize("page", ["README.md", "docs/export.md"])
def test_format_is_in_the_documentation(name: str, page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert f"`{name}`" in text


@pytest.mark.parametrize("name", format_names())
def test_row_of_a_format_in_the_documentation_is_that_of_the_registry(name: str) -> None:
    lines = (ROOT / "docs" / "export.md").read_text(encoding="utf-8").splitlines()
    loaded = format_class(name)
    assert f"| `{name}` | {loaded.sentence} | {loaded.limits} | {loaded.opened_by} |" in lines


class _Stray(ExportWriter):
    name = "stray"
    sentence = "One text file."
    limits = "All of it."
    paths = (("stray.txt", "text"), ("data.yaml", "the same name as YOLO's"))
    opened_by = "less"

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        return {}


def test_format_of_another_package_is_found_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="stray", value=f"{__name__}:_Stray", group="datagen.export_formats")
    monkeypatch.setattr(writer, "_installed", lambda: {"stray": point, "none": point})
    monkeypatch.setattr(EntryPoint, "load", lambda self: _Stray if self is point else object)
    assert format_class("stray") is _Stray
    with pytest.raises(InputProblem, match="'kitti' is no export format; there are: none, stray"):
        format_class("kitti")


def test_entry_point_that_is_no_format_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint(name="path", value="pathlib:Path", group="datagen.export_formats")
    monkeypatch.setattr(writer, "_installed", lambda: {"path": point})
    with pytest.raises(InputProblem, match=r"'path' is not derived from datagen\.export\.writer\.ExportWriter"):
        format_class("path")


class _Nameless(ExportWriter):
    name = "nameless"

    def add(self, sample: ExportedSample) -> Mapping[str, str]:
        return {}


@pytest.mark.parametrize(
    ("called", "value", "sentence"),
    [
        (
            "gone",
            "no.such.module:Writer",
            r"'gone' cannot be loaded \(ModuleNotFoundError: .*; install its package again",
        ),
        ("gone", "pathlib:Writer", r"'gone' cannot be loaded \(AttributeError: "),
        ("nameless", f"{__name__}:_Nameless", "'nameless' does not set sentence, limits, paths, opened_by; correct"),
        ("other", f"{__name__}:_Stray", "'other' calls itself 'stray'; give its class and its entry point one name"),
    ],
)
def test_broken_format_of_another_package_is_refused_in_a_sentence_and_hides_no_other(
    monkeypatch: pytest.MonkeyPatch, called: str, value: str, sentence: str
) -> None:
    installed = writer._installed()
    point = EntryPoint(name=called, value=value, group="datagen.export_formats")
    monkeypatch.setattr(writer, "_installed", lambda: {**installed, called: point})
    with pytest.raises(InputProblem, match=sentence):
        format_class(called)
    listed = CliRunner().invoke(app, ["export", "--formats"], env={"COLUMNS": "300"})
    assert listed.exit_code == 0
    assert format_class("coco").sentence in " ".join(listed.output.split())


def test_only_formats_with_a_path_in_common_get_a_folder() -> None:
    coco, yolo, voc = (format_class(name) for name in ("coco", "yolo", "voc"))
    assert format_folders([coco, yolo, voc]) == ["", "", ""]
    assert format_folders([coco, yolo, _Stray]) == ["", "yolo/", "stray/"]
