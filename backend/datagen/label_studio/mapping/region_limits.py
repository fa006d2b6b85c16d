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
#: Brush masks of one annotation together: bytes as Label Studio keeps them, pixels of their pictures, and pixels of the
#: upright boxes round what is painted, which is what tracing outlines costs.
MOST_BRUSH_BYTES_IN_ALL = 4 * 2**20
MOST_BRUSH_PIXELS_IN_ALL = 500_000_000
MOST_PAINTED_PIXELS_IN_ALL = 40_000_000
#: Pixels of the pictures of one annotation's bitmasks, which become brush masks and are then counted as these too.
MOST_BITMASK_PIXELS_IN_ALL = 500_000_000

_WHAT = {
    "corners read": (MOST_CORNERS_READ_IN_ALL, "corners", "draw them with fewer corners"),
    "corners": (MOST_CORNERS_IN_ALL, "corners", "draw them with fewer corners"),
    "parts": (MOST_PARTS_IN_ALL, "parts", "draw them with fewer crossings and strokes"),
    "brush bytes": (MOST_BRUSH_BYTES_IN_ALL, "bytes of brush masks", "paint them coarser, or draw polygons"),
    "brush pixels": (MOST_BRUSH_PIXELS_IN_ALL, "pixels of brush masks", "paint them in fewer masks, or draw polygons"),
    "bitmask pixels": (MOST_BITMASK_PIXELS_IN_ALL, "pixels of bitmasks", "paint them in fewer, or draw polygons"),
    "painted": (MOST_PAINTED_PIXELS_IN_ALL, "pixels round what is painted", "paint smaller strokes, or draw polygons"),
}


class Allowance:
    """What the regions of one annotation may still use.

    A region that is refused has used nothing, so that a smaller one after it is still read. But finding out that it is
    too large is work as well: once that comes to as much again as may be used, no further region is looked at.
    """

    def __init__(self) -> None:
        self._used = dict.fromkeys(_WHAT, 0)
        self._refused = dict.fromkeys(_WHAT, 0)

    def check(self) -> None:
        """Let another region be looked at.

        Raises:
            BadRegion: regions before it were refused too often.
        """
        for what, (most, _, _) in _WHAT.items():
            if self._refused[what] > most:
                raise self._refusal(what)

    def take(self, what: str, amount: int) -> None:
        """Use some of it.

        Raises:
            BadRegion: so much is not left.
        """
        if self._used[what] + amount > _WHAT[what][0]:
            self._refused[what] += amount
            raise self._refusal(what)
        self._used[what] += amount

    def _refusal(self, what: str) -> BadRegion:
        most, named, fix = _WHAT[what]
        return BadRegion(f"with the regions before it, it has more than {most:,} {named}; {fix}")
