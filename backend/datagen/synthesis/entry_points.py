"""The entry points that installed packages register in a group: engines, and also export formats."""

from __future__ import annotations

import sys
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

#: Number of groups whose entry points are kept.
_GROUPS = 4


def installed(group: str) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name."""
    return dict(_found(group, tuple((folder, _changed_at(Path(folder))) for folder in sys.path)))


@lru_cache(maxsize=_GROUPS)
def _found(group: str, _folders: tuple[tuple[str, int], ...]) -> dict[str, EntryPoint]:
    """Return the entry points of a group by name. Finding them reads a file of every installed package.

    They are found again once a folder of ``sys.path`` changed, for example because a package was installed there.
    """
    return {point.name: point for point in entry_points(group=group)}


def _changed_at(folder: Path) -> int:
    """Return the time at which the contents of a folder last changed, in ns; 0 if it does not exist."""
    return folder.stat().st_mtime_ns if folder.exists() else 0
