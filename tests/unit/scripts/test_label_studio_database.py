"""A new Label Studio gets a copy of a migrated database: whole or not at all, made once, and without secrets."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stage import label_studio_database
from stage.label_studio_database import DATABASE, provide
from stage.processes import StageError

#: In the place of Label Studio: writes its database in two pieces, and ends as the file says that it finds.
PROGRAM = """#!/bin/sh
printf half > "$LABEL_STUDIO_BASE_DATA_DIR/label_studio.sqlite3"
echo >> "{calls}"
[ -e "{broken}" ] && echo "no such module: users" >&2 && exit 1
printf whole > "$LABEL_STUDIO_BASE_DATA_DIR/label_studio.sqlite3"
"""


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A setup folder with a program of Label Studio's that notes its calls in ``calls`` and fails after ``broken``."""
    program = tmp_path / "venv" / "bin" / "label-studio"
    program.parent.mkdir(parents=True)
    program.write_text(PROGRAM.format(calls=tmp_path / "calls", broken=tmp_path / "broken"))
    program.chmod(0o700)
    monkeypatch.setattr(label_studio_database, "LABEL_STUDIO_VENV", tmp_path / "venv")
    monkeypatch.setattr(label_studio_database, "SETUP", tmp_path / "setup")
    return tmp_path


def data_folder(setup: Path, name: str) -> Path:
    folder = setup / name
    folder.mkdir()
    return folder


def test_servers_that_start_together_get_copies_of_one_database(setup: Path) -> None:
    folders = [data_folder(setup, name) for name in ("one", "two", "three")]
    with ThreadPoolExecutor(3) as starts:
        list(starts.map(lambda folder: provide(folder, {}), folders))
    assert [[path.name for path in folder.iterdir()] for folder in folders] == [[DATABASE]] * 3
    assert {(folder / DATABASE).read_text() for folder in folders} == {"whole"}
    assert (setup / "calls").read_text() == "\n"


def test_migration_that_fails_leaves_no_database_and_the_next_start_migrates_again(setup: Path) -> None:
    (setup / "broken").touch()
    folder = data_folder(setup, "one")
    with pytest.raises(StageError, match="could not migrate an empty database: no such module: users"):
        provide(folder, {})
    assert not [path for path in (*folder.iterdir(), *(setup / "setup").iterdir()) if path.suffix != ".lock"]
    (setup / "broken").unlink()
    provide(folder, {})
    assert (folder / DATABASE).read_text() == "whole"


def test_remains_of_a_killed_migration_are_not_used(setup: Path) -> None:
    provide(data_folder(setup, "one"), {})
    [template] = (setup / "setup").glob("*.sqlite3")
    template.unlink()
    template.with_suffix(".draft").mkdir()
    (template.with_suffix(".draft") / DATABASE).write_text("half")
    provide(data_folder(setup, "two"), {})
    assert (setup / "two" / DATABASE).read_text() == "whole"


def test_database_of_a_server_that_was_started_before_is_left_alone(setup: Path) -> None:
    folder = data_folder(setup, "one")
    (folder / DATABASE).write_text("a study's work")
    provide(folder, {})
    assert (folder / DATABASE).read_text() == "a study's work"
    assert not (setup / "calls").exists()
