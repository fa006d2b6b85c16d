"""A migrated, empty database of Label Studio, created once and copied for each new server.

Label Studio's migrations take most of the time of a server's first start. The copy contains only the schema. The server
that gets the copy creates its own user, token and secret key."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from stage.layout import LABEL_STUDIO_VENV, LABEL_STUDIO_VERSION, SETUP
from stage.processes import StageError

#: Name of Label Studio's SQLite database in its data folder.
DATABASE = "label_studio.sqlite3"
#: Maximum seconds for the migrations, on a busy machine.
MIGRATE_WITHIN_S = 300.0


def provide(folder: Path, env: Mapping[str, str]) -> None:
    """Copy a migrated, empty database to a server without a database. An existing database is left unchanged.

    Args:
        folder: The server's data folder.
        env: The server's settings, without its user.

    Raises:
        StageError: Label Studio could not migrate a database.
    """
    target = folder / DATABASE
    if target.exists():
        return
    draft = folder / f"{DATABASE}.draft"
    shutil.copyfile(_template(env), draft)
    draft.replace(target)


def _template(env: Mapping[str, str]) -> Path:
    """The migrated database for the installed release of Label Studio.

    The first caller creates it, and others wait for it.
    """
    template = SETUP / f"label-studio-{_version()}-empty.sqlite3"
    template.parent.mkdir(parents=True, exist_ok=True)
    with template.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # given back by the system even where this process is killed
        if not template.exists():
            _migrate(template, env)
    return template


def _migrate(template: Path, env: Mapping[str, str]) -> None:
    """Run Label Studio's migrations in a temporary folder. Rename the folder when the database is complete."""
    draft = template.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)  # left by a process that was killed
    draft.mkdir(mode=0o700)
    try:
        outcome = subprocess.run(
            [LABEL_STUDIO_VENV / "bin" / "label-studio", "version"],  # migrates before it says it
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env={**os.environ, **env, "LABEL_STUDIO_BASE_DATA_DIR": str(draft)},
            cwd=draft,
            timeout=MIGRATE_WITHIN_S,
            check=False,
        )
        if outcome.returncode != 0:
            raise StageError(f"Label Studio could not migrate an empty database: {outcome.stderr.strip()[-2000:]}")
        (draft / DATABASE).replace(template)
    except subprocess.TimeoutExpired as late:
        raise StageError(f"Label Studio did not migrate an empty database within {MIGRATE_WITHIN_S:.0f} s.") from late
    finally:
        shutil.rmtree(draft)


def _version() -> str:
    """The release of Label Studio that is installed. A developer's own environment may have another release."""
    packages = LABEL_STUDIO_VENV.glob("lib/python*/site-packages/label_studio-*.dist-info")
    return next((path.name.removesuffix(".dist-info").partition("-")[2] for path in packages), LABEL_STUDIO_VERSION)
