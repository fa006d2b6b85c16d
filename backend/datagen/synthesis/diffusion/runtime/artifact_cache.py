"""Files kept between processes in the data folder: checks of the folder, and reading. Does not import torch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datagen.errors import EngineError
from datagen.synthesis.model_files.safetensors_header import Broken, read_contents

#: Bytes of the temporary file whose writing shows whether the folder has room.
_PROBE_BYTES = 2**20


def folder_problems(folder: Path) -> list[str]:
    """Return the problems that prevent writing to a folder; empty if there are none.

    The folder may be missing. It is not created, because the caller may be another user than the worker, and the worker
    could then not write to it.
    """
    existing = folder.absolute()
    while not os.path.lexists(existing):
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as error:
        return [_cannot_keep(folder, error)]
    return []


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Context manager that converts errors of the folder's files (OSError) to ``EngineError``.

    Raises:
        EngineError: the folder cannot be read or written, or is full.
    """
    try:
        yield
    except OSError as error:
        raise EngineError(_cannot_keep(folder, error)) from error


def losses_of(file: Path) -> list[float]:
    """Return the losses of a finished fit, one per step; empty if the file is missing or unreadable."""
    try:
        losses = json.loads(file.read_text())
    except (OSError, ValueError):
        return []
    valid = isinstance(losses, list) and all(isinstance(loss, int | float) for loss in losses)
    return losses if valid else []


def judgement_of(file: Path) -> tuple[float, float] | None:
    """Return the evaluated loss before and after a fit; None if the file is missing or unreadable."""
    try:
        about = json.loads(file.read_text())
        return float(about["before"]), float(about["after"])
    except (OSError, ValueError, TypeError, LookupError):
        return None


def is_whole(lora: Path) -> bool:
    """Return whether the file of a LoRA exists and is complete."""
    try:
        return bool(read_contents(lora).names)
    except (OSError, Broken):
        return False


def _cannot_keep(folder: Path, error: OSError) -> str:
    return (
        f"what the engine keeps cannot be read and written in {folder.absolute()} ({error.strerror or error}); name "
        "another data folder, one that its workers can write to and that has room"
    )
