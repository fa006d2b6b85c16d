"""Written files are accessible to their owner alone, whatever the umask of the process."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from datagen import cli
from datagen.errors import SettingsProblem
from datagen.settings import Settings
from datagen.store.private_folder import close_to_others
from forked_command import run_datagen
from stage.layout import ROOT


def run(data: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "DATAGEN_DATA_DIR": str(data), "LABEL_STUDIO_API_KEY": "f" * 40}
    return run_datagen(*command, env=environment, cwd=data.parent)


def test_database_secrets_and_backup_are_the_owners_alone(tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert run(data, "migrate").returncode == 0
    assert run(data, "backup", str(tmp_path / "backup.zip")).returncode == 0
    kept = [data, tmp_path / "backup.zip", *data.rglob("*")]
    assert (data / "datagen.sqlite3") in kept
    assert [f"{path.name} {path.stat().st_mode & 0o777:o}" for path in kept if path.stat().st_mode & 0o077] == []


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def opened(data: Path) -> list[Path]:
    """A data folder that an older release or a user left readable for everyone."""
    assert run(data, "migrate").returncode == 0
    (data / "secrets").mkdir(exist_ok=True)
    (data / "secrets" / "signing_key").write_text("x\n")
    (data / "images").mkdir(exist_ok=True)
    kept = [data, data / "secrets", data / "secrets" / "signing_key", data / "datagen.sqlite3", data / "images"]
    for path in kept:
        path.chmod(0o755 if path.is_dir() else 0o644)
    return kept


def test_data_folder_that_was_open_is_closed_with_all_that_is_in_it(tmp_path: Path) -> None:
    kept = opened(tmp_path / "data")
    result = run(tmp_path / "data", "migrate")
    assert result.returncode == 0
    assert [path for path in kept if mode_of(path) & 0o077] == []
    assert "Closed to others" in result.stderr
    assert "Closed to others" not in run(tmp_path / "data", "migrate").stderr


def test_in_a_folder_with_other_files_only_datagens_are_closed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    kept = opened(data)
    (data / "notes.txt").touch(mode=0o644)
    assert run(data, "migrate").returncode == 0
    assert (mode_of(data), mode_of(data / "notes.txt")) == (0o755, 0o644)
    assert [path for path in kept[1:] if mode_of(path) & 0o077] == []


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_folder_that_others_can_write_to_is_refused_with_the_fix(mode: int, tmp_path: Path) -> None:
    data = tmp_path / "data"
    opened(data)
    (data / "notes.txt").touch()
    data.chmod(mode)
    result = run(data, "migrate")
    assert result.returncode == 1
    assert f"others can write to DATAGEN_DATA_DIR {data} (mode {mode:o})" in result.stderr
    assert f"run: chmod 700 {data}" in result.stderr
    data.chmod(0o700)
    assert run(data, "migrate").returncode == 0


def test_links_in_the_data_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o755)
    (tmp_path / "elsewhere").chmod(0o755)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    close_to_others(tmp_path / "data")
    assert mode_of(tmp_path / "elsewhere") == 0o755


def test_the_folder_of_an_engine_is_closed_to_others(tmp_path: Path) -> None:
    data, kept = tmp_path / "data", tmp_path / "data" / "kiln"
    kept.mkdir(parents=True)
    kept.chmod(0o755)
    (data / "notes.txt").touch()
    data.chmod(0o755)
    assert close_to_others(data, ["kiln", "sculpt"]) == [kept]
    assert (mode_of(kept), mode_of(data)) == (0o700, 0o755)


def test_file_in_the_place_of_the_data_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    result = run(tmp_path / "data", "migrate")
    assert (result.returncode, "which is not a folder; name another" in result.stderr) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a folder to another user")
def test_data_folder_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "secrets").mkdir(parents=True)
    os.chown(tmp_path / "data" / "secrets", 54_321, 54_321)
    with pytest.raises(SettingsProblem, match=r"secrets belongs to another user \(id 54321\)"):
        close_to_others(tmp_path / "data")
    monkeypatch.setattr("datagen.store.private_folder.os.geteuid", lambda: 54_322)
    with pytest.raises(SettingsProblem, match=r"data belongs to another user \(id 0\)"):
        close_to_others(tmp_path / "data")
    os.chown(tmp_path / "data", 54_322, 54_322)
    with pytest.raises(SettingsProblem, match=r"secrets belongs to another user \(id 54321\)"):
        close_to_others(tmp_path / "data")


def test_secrets_databases_and_backups_are_not_committed_by_accident(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitignore", tmp_path)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    names = [".env", ".env.local", "rows.sqlite3", "x/datagen.sqlite3-wal", "rows.zip", "backups/rows.zip"]
    result = subprocess.run(["git", "check-ignore", *names], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.stdout.split() == names
    kept = subprocess.run(["git", "check-ignore", "docker/env.example"], cwd=tmp_path, check=False)
    assert kept.returncode == 1


@pytest.mark.parametrize(
    ("command", "masked"), [("export", False), ("push", False), ("backup", True), ("up", True), ("web", True)]
)
def test_only_exports_and_pushed_files_are_written_as_the_users_umask_says(
    command: str, masked: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    set_to: list[int] = []
    monkeypatch.setattr(cli.os, "umask", set_to.append)
    monkeypatch.setattr(cli, "configure_logging", lambda *_, **__: None)
    monkeypatch.setattr(cli, "settings", lambda: Settings(_env_file=None, data_dir=tmp_path))
    cli.main(type("Context", (), {"invoked_subcommand": command})())  # type: ignore[arg-type]
    assert set_to == ([0o077] if masked else [])
