"""The command that lists engines: what each is, whether it can render here, and the schema of its parameters."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from datagen.synthesis.composite.engine import VERSION
from datagen.synthesis.composite.parameters import CompositeParameters
from forked_command import run_datagen


def engines(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run “datagen engines” with these settings and no others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DATAGEN_")}
    return run_datagen("engines", *arguments, env={**kept, **settings, "NO_COLOR": "1", "COLUMNS": "200"}, cwd=folder)


def test_each_engine_is_listed_with_what_prevents_rendering_here(tmp_path: Path) -> None:
    result = json.loads(engines(tmp_path, "--json", DATAGEN_ENGINE_PARAMETERS='{"contrast": 9}').stdout)["engines"]
    by_name = {engine["name"]: engine for engine in result}
    wrong = "Parameter “contrast” is 9; it must be from 0.2 to 4."
    assert by_name["composite"] == {"name": "composite", "version": VERSION, "device": "cpu", "problems": [wrong]}
    assert by_name["diffusion"]["device"] == "gpu"
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_can_render_is_said_to(tmp_path: Path) -> None:
    assert engines(tmp_path, "composite").stdout == f"composite, version {VERSION}, cpu\n  can render on this machine\n"


def test_the_schema_of_an_engine_s_parameters_is_printed(tmp_path: Path) -> None:
    result = engines(tmp_path, "composite", "--schema")
    assert json.loads(result.stdout) == CompositeParameters.model_json_schema()


@pytest.mark.parametrize("arguments", [("sculpt",), ("sculpt", "--schema")])
def test_an_engine_that_is_not_installed_is_an_error(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    result = engines(tmp_path, *arguments)
    assert result.returncode == 1
    assert "no engine named 'sculpt' is installed; there are: composite, diffusion" in result.stderr


def test_a_schema_needs_the_name_of_an_engine(tmp_path: Path) -> None:
    assert "--schema needs an engine's NAME" in engines(tmp_path, "--schema").stderr
