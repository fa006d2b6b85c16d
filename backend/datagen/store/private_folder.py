"""Permissions of the data folder: only its owner may use it, even if it was created open to others.

A folder may have been created open by hand, by a mount, or by an older release. The process's umask restricts new
files. This module restricts existing ones, and refuses a folder to which others could have added files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from datagen.errors import SettingsProblem

#: Glob patterns of Datagen's entries in the data folder, beside the folders of engines.
_OWN_PATTERNS = ("datagen.sqlite3", "datagen.sqlite3-*", "secrets", "images", "thumbnails")
#: A folder of this name belongs to Datagen, regardless of its other content.
_DEFAULT_NAME = ".datagen"
_GROUP_AND_OTHERS, _GROUP_AND_OTHERS_WRITE = 0o077, 0o022


def close_to_others(folder: Path, engines: Iterable[str] = ()) -> list[Path]:
    """Remove the permissions of group and others from an existing data folder and from Datagen's entries in it.

    A folder with other content keeps its own permissions; only Datagen's entries in it are restricted.

    Args:
        folder: The data folder; it may be missing.
        engines: The names of the engines, each of which may have a folder of its name in it.

    Returns:
        The paths whose permissions were changed.

    Raises:
        SettingsProblem: others can write to the folder and it has other content, the folder or an entry belongs to
            another user, or a mode cannot be changed.
    """
    try:
        info = folder.stat()
    except FileNotFoundError:
        return []  # it will be created with restricted permissions
    if not stat.S_ISDIR(info.st_mode):
        raise SettingsProblem(f"DATAGEN_DATA_DIR is {folder}, which is not a folder; name another")
    owners = {os.geteuid(), info.st_uid} if os.geteuid() == 0 else {os.geteuid()}
    _check_owner(folder, info, owners)
    entries_of_ours = [path for pattern in _OWN_PATTERNS for path in folder.glob(pattern)]
    entries_of_ours += [path for name in engines if os.path.lexists(path := folder / name)]
    own_entries = [path for path in entries_of_ours if not path.is_symlink()]
    is_exclusive = folder.name == _DEFAULT_NAME or {path.name for path in folder.iterdir()} == {
        path.name for path in own_entries
    }
    if not is_exclusive and info.st_mode & _GROUP_AND_OTHERS_WRITE:
        raise SettingsProblem(
            f"others can write to DATAGEN_DATA_DIR {folder} (mode {stat.S_IMODE(info.st_mode):o}), so its secrets may "
            f"be theirs: name a folder of Datagen's own, e.g. {folder / 'datagen'}, or run: chmod 700 {folder}"
        )
    entries = [*own_entries, *(path for path in (folder / "secrets").glob("*") if not path.is_symlink())]
    for path in entries:
        _check_owner(path, path.lstat(), owners)
    return [path for path in ([folder] if is_exclusive else []) + entries if _restrict(path)]


def _check_owner(path: Path, info: os.stat_result, owners: set[int]) -> None:
    if info.st_uid not in owners:
        raise SettingsProblem(
            f"{path} belongs to another user (id {info.st_uid}); run as that user, give it to yours "
            f"(chown -R {os.geteuid()} {path}), or set DATAGEN_DATA_DIR to a folder of your own"
        )


def _restrict(path: Path) -> bool:
    """Remove the permissions of others from a path; return whether it had any."""
    try:
        mode = stat.S_IMODE(path.lstat().st_mode)
        if not mode & _GROUP_AND_OTHERS:
            return False
        path.chmod(mode & ~_GROUP_AND_OTHERS)
    except FileNotFoundError:  # SQLite creates and removes its auxiliary files
        return False
    except OSError as refusal:
        raise SettingsProblem(
            f"{path} is open to others (mode {mode:o}) and cannot be closed ({refusal.strerror}); "
            f"run: chmod go-rwx {path}"
        ) from None
    return True
