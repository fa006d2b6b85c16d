"""``. .datagen/demo/env`` points a shell at the running demo, whatever was set there before."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from demo_shell import ELSEWHERE, in_shell
from stage import demo_env
from studio import Studio

pytest_plugins = ("studio_fixtures",)


@pytest.mark.integration
def test_doctor_passes_in_a_shell_that_read_the_file(whole_studio: Studio, alive: None, tmp_path: Path) -> None:
    demo_env.write(tmp_path / "env", whole_studio.environment, Path(sys.executable).parent)
    study = whole_studio.open_study(inputs=False)
    result = in_shell(f". ./env; datagen doctor --study '{study.name}'", tmp_path, **ELSEWHERE)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ok   worker" in result.stdout
