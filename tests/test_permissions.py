"""What is written on disk is its owner's alone, whatever the umask it was started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datagen import cli
from datagen.settings import Settings


def run(data: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATAGEN_DATA_DIR": str(data), "LABEL_STUDIO_API_KEY": "f" * 40}
    return subprocess.run(
        [sys.executable, "-m", "datagen", *command],
        env=environment,
        cwd=data.parent,
        umask=0o022,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_database_secrets_and_backup_are_the_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run(data, "migrate").returncode == 0
    assert run(data, "backup", str(tmp_path / "backup.zip")).returncode == 0
    kept = [data, tmp_path / "backup.zip", *data.rglob("*")]
    assert (data / "datagen.sqlite3") in kept
    assert [f"{path.name} {path.stat().st_mode & 0o777:o}" for path in kept if path.stat().st_mode & 0o077] == []


@pytest.mark.parametrize(("command", "masked"), [("export", False), ("backup", True), ("up", True), ("web", True)])
def test_only_an_export_is_written_as_the_users_umask_says(
    command: str, masked: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(cli.os, "umask", set_to.append)
    monkeypatch.setattr(cli, "configure_logging", lambda *_: None)
    monkeypatch.setattr(cli, "settings", lambda: Settings(_env_file=None, data_dir=tmp_path))
    cli.main(type("Context", (), {"invoked_subcommand": command})())  # type: ignore[arg-type]
    assert set_to == ([0o077] if masked else [])
