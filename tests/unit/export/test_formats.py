"""Every export format is described wherever formats are listed, and its limits are named."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from datagen.cli import app
from datagen.export import readme
from datagen.export.archive import FORMATS
from stage.layout import ROOT


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_described_in_the_readme_of_an_export(name: str) -> None:
    without, text = (readme.text({}, images=1, instances={"pit": 1}, formats=chosen) for chosen in ((), (name,)))
    described, limits = text.split("What a file cannot hold")
    assert len(described.splitlines()) > len(without.split("What a file cannot hold")[0].splitlines()), "its files"
    assert len(limits) > len(without.split("What a file cannot hold")[1]), "what it cannot hold"


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_in_the_help_of_the_export(name: str) -> None:
    shown = " ".join(CliRunner().invoke(app, ["export", "--help"], env={"COLUMNS": "300"}).output.split())
    assert name in shown


@pytest.mark.parametrize("name", FORMATS)
def test_format_is_in_the_step_export_of_the_readme(name: str) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, after = text.partition("\n6. **Export**")
    assert name.partition("-")[0] in after.partition("\n\n")[0].lower()
