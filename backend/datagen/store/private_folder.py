"""The data folder is its owner's alone, also one that was made open: by hand, by a mount, or by an older release.

New files are closed by the process's umask. This closes what is there already, and refuses a folder that others could
have put something into.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from datagen.errors import SettingsProblem

#: What Datagen keeps in its data folder, by pattern.
_OURS = ("datagen.sqlite3", "datagen.sqlite3-*", "secrets", "images", "diffusion")
#: A folder of this name is Datagen's, whatever else lies in it.
_DEFAULT_NAME = ".datagen"
_OTHERS, _OTHERS_WRITE = 0o077, 0o022


def close_to_others(folder: Path) -> list[Path]:
    """Take from group and others what they may do with an existing data folder and with what Datagen keeps in it.

    A folder that holds other things too stays readable as it is; only what is Datagen's is closed then.

    Returns:
        What was closed.

    Raises:
        SettingsProblem: others can write to it and it holds other things too, it belongs to another user, or its mode
            cannot be changed.
    """
    try:
        info = folder.stat()
    except FileNotFoundError:
        return []  # it is made closed
    if not stat.S_ISDIR(info.st_mode):
        raise SettingsProblem(f"DATAGEN_DATA_DIR is {folder}, which is not a folder; name another")
    owners = {os.geteuid(), info.st_uid} if os.geteuid() == 0 else {os.geteuid()}
    _check_owner(folder, info, owners)
    ours = [path for pattern in _OURS for path in folder.glob(pattern) if not path.is_symlink()]
    whole = folder.name == _DEFAULT_NAME or {path.name for path in folder.iterdir()} == {path.name for path in ours}
    if not whole and info.st_mode & _OTHERS_WRITE:
        raise SettingsProblem(
            f"others can write to DATAGEN_DATA_DIR {folder} (mode {stat.S_IMODE(info.st_mode):o}), so its secrets may "
            f"be theirs: name a folder of Datagen's own, e.g. {folder / 'datagen'}, or run: chmod 700 {folder}"
        )
    kept = [*ours, *(path for path in (folder / "secrets").glob("*") if not path.is_symlink())]
    for path in kept:
        _check_owner(path, path.lstat(), owners)
    return [path for path in ([folder] if whole else []) + kept if _close(path)]


def _check_owner(path: Path, info: os.stat_result, owners: set[int]) -> None:
    if info.st_uid not in owners:
        raise SettingsProblem(
            f"{path} belongs to another user (id {info.st_uid}); run as that user, give it to yours "
            f"(chown -R {os.geteuid()} {path}), or set DATAGEN_DATA_DIR to a folder of your own"
        )


def _close(path: Path) -> bool:
    """Whether the path was open to others, and is not any more."""
    try:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not mode & _OTHERS:
            return False
        path.chmod(mode & ~_OTHERS)
    except FileNotFoundError:  # SQLite's own files come and go
        return False
    except OSError as refusal:
        raise SettingsProblem(
            f"{path} is open to others (mode {mode:o}) and cannot be closed ({refusal.strerror}); "
            f"run: chmod go-rwx {path}"
        ) from None
    return True
