"""Tiles of large images: the windows, and the labels of an image cut to one of them.

The mask of a tile is the tile of the mask. Its instances are numbered anew without gaps, and boxes and outlines are
those of the pixels that are left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from datagen.domain.sample import Instance
from datagen.errors import InputProblem
from datagen.export.writer import Mask
from datagen.synthesis.masks import outlines, tight_box

#: The smallest side of a tile, pixels.
MIN_SIDE = 32
#: The share of the tiles without an instance that is kept if none is given.
DEFAULT_EMPTY_SHARE = 0.1


class Window(NamedTuple):
    """A tile's place in its image, in pixels."""

    x: int
    y: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window as an index of an array [h, w]."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def __str__(self) -> str:
        return f"x{self.x}_y{self.y}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiling:
    """The division of images into tiles.

    Raises:
        InputProblem: a value is out of range.
    """

    #: pixels; an image that is smaller in one direction has tiles of its own size in it
    side: int
    #: the least overlap of neighbours in pixels
    overlap: int = 0
    #: the share of the tiles without an instance that is kept, 0 to 1
    empty_share: float = DEFAULT_EMPTY_SHARE

    def __post_init__(self) -> None:
        if self.side < MIN_SIDE:
            raise InputProblem(f"a tile of {self.side} pixels is too small; give {MIN_SIDE} or more")
        if not 0 <= self.overlap < self.side:
            raise InputProblem(
                f"tiles of {self.side} pixels cannot overlap by {self.overlap}; give 0 to {self.side - 1}"
            )
        if not 0 <= self.empty_share <= 1:
            raise InputProblem(f"{self.empty_share:g} is no share of the empty tiles; give 0 to 1, for example 0.1")

    def windows(self, width: int, height: int) -> Iterator[Window]:
        """Yield the windows that cover an image of ``width`` by ``height`` pixels, row by row, at equal distances."""
        for y in self._starts(height):
            for x in self._starts(width):
                yield Window(x, y, min(self.side, width), min(self.side, height))

    def _starts(self, extent: int) -> list[int]:
        room = extent - self.side
        if room <= 0:
            return [0]
        count = -(-room // (self.side - self.overlap)) + 1
        return [number * room // (count - 1) for number in range(count)]

    def keeps_empty(self, name: str, window: Window) -> bool:
        """Return whether a tile without an instance is kept; the image's name and the window alone decide."""
        digest = hashlib.sha256(f"{name} {window}".encode()).digest()
        return int.from_bytes(digest[:8], "big") < self.empty_share * 2**64


class CutLabels(NamedTuple):
    """The labels of one tile."""

    mask: Mask
    instances: tuple[Instance, ...]
    #: the number of each instance in the whole image, from 0
    numbers: tuple[int, ...]


def cut(mask: Mask, instances: tuple[Instance, ...], window: Window) -> CutLabels:
    """Return the part of an image's labels that lies in a window."""
    tile = mask[window.slices]
    numbers = [int(value) - 1 for value in np.unique(tile) if value]
    values = np.zeros(256, np.uint8)
    values[[number + 1 for number in numbers]] = range(1, len(numbers) + 1)
    kept = []
    for number in numbers:
        inside = tile == number + 1
        kept.append(Instance(label=instances[number].label, box=tight_box(inside), outlines=outlines(inside)))
    return CutLabels(mask=values[tile], instances=tuple(kept), numbers=tuple(numbers))
