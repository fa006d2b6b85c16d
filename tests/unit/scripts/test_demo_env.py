"""``. .datagen/demo/env`` points a shell at the running demo, whatever was set there before."""

from __future__ import annotations

import json
import os
import shlex
import stat
import sys
from pathlib import Path

import pytest

from demo_shell import ELSEWHERE, in_shell
from stage import demo, demo_env, servers
from stage.label_studio_server import LabelStudio
from stage.processes import Processes
from stage.progress import Progress

#: A value in which nothing may be taken for the shell's own.
HOSTILE = 'it\'s "$HOME" `touch hit` $(touch hit) \\ * ; # &\nand a second line'


def test_values_are_quoted_and_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "a folder's" / "env"
    path.parent.mkdir()
    before = os.umask(0)
    try:
        demo_env.write(path, {"BASIC_AUTH_PASS": HOSTILE, "HOST": ""}, tmp_path / "it's a $PATH")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    program = shlex.join([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"])
    result = in_shell(f"{demo_env.command(path, tmp_path)}; {demo_env.command(path, tmp_path)}; {program}", tmp_path)
    assert result.returncode == 0, result.stderr
    seen = json.loads(result.stdout)
    assert (seen["BASIC_AUTH_PASS"], seen["HOST"]) == (HOSTILE, "")
    assert seen["PATH"].split(":")[0] == str(tmp_path / "it's a $PATH")
    assert seen["PATH"].count("it's a $PATH") == 1  # read twice, added once
    assert not (tmp_path / "hit").exists()


def test_line_is_as_short_as_the_working_directory_allows(tmp_path: Path) -> None:
    path = tmp_path / ".datagen" / "demo" / "env"
    assert demo_env.command(path, tmp_path) == ". .datagen/demo/env"
    assert demo_env.command(path, path.parent) == ". ./env"  # a POSIX shell looks for a bare name on the PATH
    assert demo_env.command(path, tmp_path / "elsewhere") == f". {path}"


def test_settings_of_another_installation_do_not_count(tmp_path: Path) -> None:
    """Neither those in the environment nor those of a file .env in the working directory."""
    demo_env.write(tmp_path / "env", {"DATAGEN_DATA_DIR": "/demo/data", "PORT": "9191"}, tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in ELSEWHERE.items() if name != "PORT"))
    program = (
        "from datagen.settings import Settings; s = Settings(); "
        "print(s.resolved_database_url, s.resolved_store_url, s.own_url, repr(s.webhook_secret.get_secret_value()))"
    )
    result = in_shell(f". ./env; {shlex.join([sys.executable, '-c', program])}", tmp_path, **ELSEWHERE)
    assert result.stdout.split() == [
        "sqlite:////demo/data/datagen.sqlite3",
        "file:///demo/data/images",
        "http://127.0.0.1:9191",
        "''",
    ], result.stderr


@pytest.fixture
def label_studio_there(tmp_path: Path) -> LabelStudio:
    """A Label Studio that receives no request."""
    return LabelStudio("http://127.0.0.1:1", "annotator@example.com", "secret", "0" * 40, tmp_path / "personal_token")


def test_password_is_the_same_at_every_start(tmp_path: Path, label_studio_there: LabelStudio) -> None:
    """It was made anew and kept nowhere: doctor in another shell, and studies of the last start, had a wrong one."""
    first = servers.settings(tmp_path, label_studio_there, "redis://127.0.0.1:2/0", 9191)
    assert len(first["BASIC_AUTH_PASS"]) >= 16
    assert servers.settings(tmp_path, label_studio_there, "redis://127.0.0.1:2/0", 9191) == first
    assert stat.S_IMODE((tmp_path / "basic_auth_pass").stat().st_mode) == 0o600


def test_demo_writes_the_file_once_its_servers_run(
    tmp_path: Path, label_studio_there: LabelStudio, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = servers.settings(tmp_path, label_studio_there, "redis://127.0.0.1:2/0", 9191)
    running = servers.Servers(label_studio_there, own, {**os.environ, **own}, tmp_path)
    monkeypatch.setattr(demo, "DEMO", tmp_path)
    monkeypatch.setattr(servers, "start_all", lambda *_: running)
    demo._start(Processes(tmp_path / "servers"), Progress(servers.STEPS, tmp_path / "seconds.json"))
    program = shlex.join([sys.executable, "-c", "import json, os; print(json.dumps(dict(os.environ)))"])
    seen = json.loads(in_shell(f". ./{demo.ENVIRONMENT}; {program}", tmp_path).stdout)
    assert {name: seen[name] for name in own} == own
    assert (Path(seen["PATH"].split(":")[0]) / "datagen").exists()
