"""``. .datagen/demo/env`` points a shell at the demo, whatever was set there before, and holds while the demo lives."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stage import demo_env
from studio import Studio

pytest_plugins = ("studio_fixtures",)


#: What a person has set for another installation.
ELSEWHERE = {
    "DATAGEN_DATABASE_URL": "postgresql+psycopg://nobody:hush@127.0.0.1:1/none",
    "DATAGEN_STORE_URL": "file:///proc/no-folder",
    "DATAGEN_PUBLIC_URL": "http://127.0.0.1:1",
    "DATAGEN_WEBHOOK_SECRET": "of another installation",
    "DATAGEN_ENGINE": "diffusion",
    "LABEL_STUDIO_URL": "http://127.0.0.1:1",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "DATAGEN_DATA_DIR": "/nowhere",
    "PORT": "1",
}


def in_shell(line: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-euc", line],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.integration
def test_doctor_passes_in_a_shell_that_read_the_file(whole_studio: Studio, alive: None, tmp_path: Path) -> None:
    demo_env.write(tmp_path / "env", whole_studio.environment, Path(sys.executable).parent)
    study = whole_studio.open_study(inputs=False)
    told = in_shell(f". ./env; datagen doctor --study '{study.name}'", tmp_path, **ELSEWHERE)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "ok   worker" in told.stdout
