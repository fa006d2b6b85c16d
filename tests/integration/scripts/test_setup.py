"""The shell scripts: they parse, they pin, and they find a Python that works."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from stage import layout, redis_server

ROOT = Path(__file__).parents[3]
SCRIPTS = [
    "scripts/demo",
    "scripts/lock",
    "scripts/test",
    "scripts/setup.sh",
    ".ci/run",
    "docker/create-databases.sh",
    "docker/start-valkey.sh",
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_it_parses(script: str) -> None:
    subprocess.run(["bash", "-n", ROOT / script], check=True)


@pytest.mark.parametrize("script", ["scripts/demo", "scripts/lock", "scripts/test", ".ci/run"])
def test_it_can_be_run(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK)


def sourced(code: str, path: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": path, "HOME": os.environ.get("HOME", "/")}
    return subprocess.run(
        ["/bin/bash", "-c", f"set -euo pipefail; . {ROOT}/scripts/setup.sh; {code}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_shell_and_the_stage_agree_where_things_are() -> None:
    result = sourced('echo "$ROOT|$SETUP|$LABEL_STUDIO_VENV|$REDIS_BUNDLED"', os.environ["PATH"]).stdout.strip()
    label_studio = layout.SETUP / f"label-studio-{layout.LABEL_STUDIO_VERSION}"
    assert result == f"{layout.ROOT}|{layout.SETUP}|{label_studio}|{redis_server.BUNDLED}"


def test_python_that_is_only_a_shim_is_skipped(tmp_path: Path) -> None:
    """A version manager puts commands on the PATH that end with an error."""
    for name in ("python3.11", "python3.12", "python3.13", "python3", "python"):
        shim = tmp_path / name
        shim.write_text("#!/bin/sh\nexit 127\n")
        shim.chmod(0o755)
    works = tmp_path / "works"
    works.mkdir()
    (works / "python3.13").symlink_to(Path(os.path.realpath("/proc/self/exe")))
    result = sourced("find_python; echo $PYTHON", f"{works}:{tmp_path}:/usr/bin:/bin")
    assert result.stdout.strip() == f"{works}/python3.13", result.stderr


@pytest.mark.parametrize("name", ["constraints.txt", "constraints-label-studio.txt"])
def test_constraints_are_exact_versions_from_the_index(name: str) -> None:
    lines = (ROOT / "scripts" / name).read_text().splitlines()
    loose = [line for line in lines if not re.fullmatch(r"#.*|[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)]
    assert loose == []
