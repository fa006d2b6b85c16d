"""What is kept between processes, in the data folder: whether it can be written, and what its files say. No torch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datagen.errors import EngineError
from datagen.synthesis.diffusion.runtime.safetensors_header import Broken, read_contents

#: What is written, and gone again, to see whether there is room at all.
_PROBE_BYTES = 2**20


def folder_problems(folder: Path) -> list[str]:
    """Why nothing can be kept in a folder; it need not be there yet, and is not made.

    Who asks may be another user than the worker: a folder that it made could not be written by the worker.
    """
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(bytes(_PROBE_BYTES))
    except OSError as fault:
        return [_cannot_keep(folder, fault)]
    return []


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """Have what goes wrong with the folder's files said as an error of ours.

    Raises:
        EngineError: the folder cannot be read or written, or is full.
    """
    try:
        yield
    except OSError as fault:
        raise EngineError(_cannot_keep(folder, fault)) from fault


def losses_of(file: Path) -> list[float]:
    """The losses of a finished fit, one a step; none where they are not there, or cannot be read."""
    try:
        losses = json.loads(file.read_text())
    except (OSError, ValueError):
        return []
    numbers = isinstance(losses, list) and all(isinstance(loss, int | float) for loss in losses)
    return losses if numbers else []


def judgement_of(file: Path) -> tuple[float, float] | None:
    """A fit's loss before and after; None where it is not there, or cannot be read."""
    try:
        said = json.loads(file.read_text())
        return float(said["before"]), float(said["after"])
    except (OSError, ValueError, TypeError, LookupError):
        return None


def is_whole(lora: Path) -> bool:
    """Whether a LoRA that was kept is there, all of it."""
    try:
        return bool(read_contents(lora).names)
    except (OSError, Broken):
        return False


def _cannot_keep(folder: Path, fault: OSError) -> str:
    return (
        f"what the engine keeps cannot be read and written in {folder.absolute()} ({fault.strerror or fault}); set "
        "DATAGEN_DATA_DIR to a folder that its workers can write to and that has room"
    )
