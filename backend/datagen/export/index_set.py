"""A set of sample indices in little memory: a bit for each, in blocks."""

from __future__ import annotations

#: Number of indices in a block of 4 KiB.
_BLOCK = 2**15


class IndexSet:
    """Whole numbers from 0; a million that follow each other take 128 KiB."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytearray] = {}

    def add(self, index: int) -> bool:
        """Add an index; return False if it was in the set already."""
        block = self._blocks.setdefault(index // _BLOCK, bytearray(_BLOCK // 8))
        place, bit = divmod(index % _BLOCK, 8)
        if block[place] & 1 << bit:
            return False
        block[place] |= 1 << bit
        return True
