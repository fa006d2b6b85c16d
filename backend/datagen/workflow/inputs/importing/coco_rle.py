"""Decoder for both forms of COCO's run-length masks: lists of counts, and compressed text.

A count is the length of a run of equal pixels. Runs go down the columns, and the first run is outside the mask. The
compressed text has five bits of a count per character, the least significant first. From the fourth count on, it holds
the difference to the second last count before (cocodataset.org, maskApi).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datagen.errors import BadRegion

#: Largest number of pixels of a mask.
_MAX_PIXELS = 200_000_000
#: Largest number of characters of a compressed mask, and of counts of a plain one.
_MAX_COUNTS = 8 * 2**20


def decode(rle: Mapping[str, Any], size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return the mask [height, width] of a picture of ``size`` (width, height).

    Raises:
        BadRegion: the mask is damaged, too large, or of another size.
    """
    width, height = size
    if rle.get("size") != [height, width]:
        raise BadRegion(f"its mask is of another size than the picture ({width} × {height})")
    if width * height > _MAX_PIXELS:
        raise BadRegion(f"its mask has more than {_MAX_PIXELS:,} pixels")
    counts = rle.get("counts")
    if isinstance(counts, bytes):
        counts = counts.decode("ascii", "replace")
    runs = _decompressed_runs(counts) if isinstance(counts, str) else _checked_runs(counts)
    if sum(runs) != width * height:
        raise BadRegion("its mask is damaged: the runs do not fill the picture")
    flat = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return np.asarray(flat.reshape(width, height).T)


def _checked_runs(counts: Any) -> list[int]:
    if not isinstance(counts, list) or not counts or len(counts) > _MAX_COUNTS:
        raise BadRegion("its mask has no runs")
    if not all(type(count) is int and 0 <= count <= _MAX_PIXELS for count in counts):
        raise BadRegion("its mask is damaged: a run is no number of pixels")
    return counts


def _decompressed_runs(text: str) -> list[int]:
    if not text or len(text) > _MAX_COUNTS:
        raise BadRegion("its mask has no runs")
    runs: list[int] = []
    value, shift = 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise BadRegion("its mask is damaged: it holds characters that no mask has")
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & 0x20:
            continue
        if bits & 0x10:
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        runs.append(value)
        value, shift = 0, 0
    return _checked_runs(runs if not shift else None)
