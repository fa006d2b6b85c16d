"""Reads the header of a safetensors file: its contents, and whether the file is complete. Needs no package.

The format is: 8 bytes with the length of the header (little endian); the header as JSON, which maps each name to dtype,
shape and data_offsets; the data."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Longest header of a valid file in bytes; no real model has a longer one.
_LONGEST_HEADER = 100 * 2**20
#: Largest number of dimensions of a tensor, and its largest size in one of them.
_MAX_DIMENSIONS, _MAX_SIZE = 16, 2**48
_LFS_POINTER = b"version https://git-lfs"


class Broken(Exception):
    """The file is unusable. The text names the problem, but not the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """The names and data types ("F16", "BF16", …) of a file's tensors, and the total number of their elements."""

    names: frozenset[str]
    kinds: frozenset[str]
    numbers: int


def read_contents(path: Path) -> Contents:
    """Return the contents of one file.

    Raises:
        Broken: the file is not a safetensors file, or is incomplete.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if _LFS_POINTER.startswith(start) and len(start) == 8:
            raise Broken("is a Git LFS pointer, not the weights; run “git lfs pull” in its folder")
        length = int.from_bytes(start, "little")
        if len(start) < 8 or size < 8 + length:
            raise Broken("is half-downloaded: not even its header is complete; download it again")
        if length > _LONGEST_HEADER:
            raise Broken("is no safetensors file; download it again")
        text = file.read(length)
    try:
        header: dict[str, dict[str, Any]] = json.loads(text)
        header.pop("__metadata__", None)
        expected = 8 + length + max((int(entry["data_offsets"][1]) for entry in header.values()), default=0)
        contents = Contents(
            names=frozenset(header),
            kinds=frozenset(str(entry["dtype"]) for entry in header.values()),
            numbers=sum(_product(entry["shape"]) for entry in header.values()),
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise Broken("has a header that cannot be read; download it again") from None
    if size < expected:
        raise Broken(
            f"is half-downloaded: {expected - size:,} of its {expected:,} bytes are missing; download it again"
        )
    return contents


def _product(shape: list[int]) -> int:
    """Return the number of a tensor's elements.

    Raises:
        ValueError: the shape is that of no tensor.
    """
    if len(shape) > _MAX_DIMENSIONS or not all(isinstance(size, int) and 0 <= size <= _MAX_SIZE for size in shape):
        raise ValueError(f"no tensor has the shape {str(shape)[:100]}")
    return math.prod(shape)
