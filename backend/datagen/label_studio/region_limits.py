"""How much of one annotation is read: the numbers, and what is left of them while its regions are read in order.

Each bound is on work that an annotation causes. A region beyond one is told as a problem, the others are used.
"""

from __future__ import annotations

from datagen.errors import BadRegion

#: Regions that are read of one control of an annotation; the rest is left out, and said.
MOST_REGIONS = 1_000
#: Sentences about regions of one annotation; how many more there are is said.
MOST_PROBLEMS = 20
#: Corners that are read of one annotation's polygons together.
MOST_CORNERS_READ_IN_ALL = 400_000
#: Corners of one annotation's outlines or areas together, and parts that they fall into.
MOST_CORNERS_IN_ALL = 50_000
MOST_PARTS_IN_ALL = 1_000
#: Brush masks of one annotation together: bytes as Label Studio keeps them, and pixels.
MOST_BRUSH_BYTES_IN_ALL = 4 * 2**20
MOST_BRUSH_PIXELS_IN_ALL = 500_000_000

_WHAT = {
    "corners read": (MOST_CORNERS_READ_IN_ALL, "corners", "draw them with fewer corners"),
    "corners": (MOST_CORNERS_IN_ALL, "corners", "draw them with fewer corners"),
    "parts": (MOST_PARTS_IN_ALL, "parts", "draw them with fewer crossings and strokes"),
    "brush bytes": (MOST_BRUSH_BYTES_IN_ALL, "bytes of brush masks", "paint them coarser, or draw polygons"),
    "brush pixels": (MOST_BRUSH_PIXELS_IN_ALL, "pixels of brush masks", "paint them in fewer masks, or draw polygons"),
}


class Allowance:
    """What the regions of one annotation may still use."""

    def __init__(self) -> None:
        self._used = dict.fromkeys(_WHAT, 0)

    def take(self, what: str, amount: int) -> None:
        """Use some of it; a region that is refused has used nothing, so that a smaller one after it is still read.

        Raises:
            BadRegion: so much is not left.
        """
        most, named, fix = _WHAT[what]
        if self._used[what] + amount > most:
            raise BadRegion(f"with the regions before it, it has more than {most:,} {named}; {fix}")
        self._used[what] += amount
