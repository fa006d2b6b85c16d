"""The destination of an export by its name: a path of this machine, or an fsspec URL such as ``s3://bucket/prefix``."""

from __future__ import annotations

import posixpath
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from datagen.errors import InputProblem
from datagen.export.local_sink import draft_of, local_sink
from datagen.export.remote_sink import begins_anew, remote_folder_sink, remote_zip_sink
from datagen.export.sinks import Sink
from datagen.store.object_folder import ObjectFolder
from datagen.workflow.backoff import EXPORT_PATIENCE_SECONDS

#: The option with the destination, which error messages name.
OPTION = "--out"


def local_path(place: str | Path) -> Path | None:
    """Return the path of a destination on this machine, also of a ``file://`` URL; None for another URL.

    Raises:
        InputProblem: a ``file://`` URL names another machine.
    """
    if isinstance(place, Path) or "://" not in place:
        return Path(place)
    parts = urlsplit(place)
    if parts.scheme != "file":
        return None
    if parts.netloc not in {"", "localhost"}:
        raise InputProblem(f"{place} names another machine; for a path of this one write three slashes: file:///folder")
    return Path(unquote(parts.path))


def destination(
    place: str | Path, choice: str, *, overwrite: bool, patience_s: float = EXPORT_PATIENCE_SECONDS
) -> AbstractContextManager[Sink]:
    """Return the context manager of a destination: a zip if it ends with .zip, else a folder.

    Args:
        place: a path of this machine, or an fsspec URL.
        choice: a text that is equal for exports with files of the same names; by it an interrupted one goes on.
        overwrite: whether an export in an object store is replaced; on this machine it is.
        patience_s: seconds for which an object store that goes away is waited for.

    Raises:
        InputProblem: see ``local_path``.
        StoreError: the installed packages cannot open the URL.
    """
    path = local_path(place)
    if path is not None:
        return local_sink(path)
    url = str(place).rstrip("/")
    if not _is_zip(url):
        return remote_folder_sink(ObjectFolder(url, setting=OPTION, patience_s=patience_s), choice, overwrite=overwrite)
    parent, name = posixpath.split(url)
    return remote_zip_sink(ObjectFolder(parent, setting=OPTION, patience_s=patience_s), name, overwrite=overwrite)


def after_interruption(place: str) -> str:
    """Return a sentence on what is left of an interrupted export to ``place``, and whether the next one goes on.

    It is empty if nothing is left on this machine.

    Raises:
        InputProblem: see ``local_path``.
    """
    path = local_path(place)
    if path is not None:
        draft = draft_of(path)
        return f"the next export to {place} goes on with {draft}, which may also be deleted" if draft.exists() else ""
    url = place.rstrip("/")
    return begins_anew(url) if _is_zip(url) else f"the next export to {url} with the same options goes on"


def _is_zip(url: str) -> bool:
    return url.lower().endswith(".zip")
