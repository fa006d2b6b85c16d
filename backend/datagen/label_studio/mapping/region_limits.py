"""Limits on the work that one annotation causes, and the amounts that remain while its regions are read in order.

A region that exceeds a limit is reported as a problem. The other regions are used."""

from __future__ import annotations

from datagen.errors import BadRegion

#: Maximum number of regions read for one control of an annotation. The others are left out, and their number is
#: reported.
MAX_REGIONS = 1_000
#: Maximum number of sentences about regions of one annotation. The number of further problems is reported.
MAX_PROBLEMS = 20
#: Maximum number of corners read from all polygons of one annotation.
MAX_CORNERS_READ_IN_ALL = 400_000
#: Maximum number of corners, and of parts, of all outlines or areas of one annotation.
MAX_CORNERS_IN_ALL = 50_000
MAX_PARTS_IN_ALL = 1_000
#: Maximum totals for the brush masks of one annotation: encoded bytes, pixels of their images, and pixels of the
#: bounding boxes of the painted areas. The last total determines the cost of tracing outlines.
MAX_BRUSH_BYTES_IN_ALL = 4 * 2**20
MAX_BRUSH_PIXELS_IN_ALL = 500_000_000
MAX_PAINTED_PIXELS_IN_ALL = 40_000_000
#: Maximum number of pixels of the images of all bitmasks of one annotation. Bitmasks become brush masks, and their
#: pixels then count for the limits above as well.
MAX_BITMASK_PIXELS_IN_ALL = 500_000_000

_WHAT = {
    "corners read": (MAX_CORNERS_READ_IN_ALL, "corners", "draw them with fewer corners"),
    "corners": (MAX_CORNERS_IN_ALL, "corners", "draw them with fewer corners"),
    "parts": (MAX_PARTS_IN_ALL, "parts", "draw them with fewer crossings and strokes"),
    "brush bytes": (MAX_BRUSH_BYTES_IN_ALL, "bytes of brush masks", "paint them coarser, or draw polygons"),
    "brush pixels": (MAX_BRUSH_PIXELS_IN_ALL, "pixels of brush masks", "paint them in fewer masks, or draw polygons"),
    "bitmask pixels": (MAX_BITMASK_PIXELS_IN_ALL, "pixels of bitmasks", "paint them in fewer, or draw polygons"),
    "painted": (MAX_PAINTED_PIXELS_IN_ALL, "pixels round what is painted", "paint smaller strokes, or draw polygons"),
}


class Allowance:
    """The amounts that remain of the limits for one annotation.

    A refused region uses nothing, so that a smaller region after it can still be read. Measuring it is work too: when
    the refused amounts exceed a limit, no further region is read.
    """

    def __init__(self) -> None:
        self._used = dict.fromkeys(_WHAT, 0)
        self._refused = dict.fromkeys(_WHAT, 0)

    def check(self) -> None:
        """Check that another region may be read.

        Raises:
            BadRegion: The refused amounts of earlier regions exceed a limit.
        """
        for limit, (most, _, _) in _WHAT.items():
            if self._refused[limit] > most:
                raise self._refusal(limit)

    def take(self, limit: str, amount: int) -> None:
        """Take ``amount`` from what remains of ``limit``.

        Raises:
            BadRegion: Less remains.
        """
        if self._used[limit] + amount > _WHAT[limit][0]:
            self._refused[limit] += amount
            raise self._refusal(limit)
        self._used[limit] += amount

    def _refusal(self, limit: str) -> BadRegion:
        most, named, fix = _WHAT[limit]
        return BadRegion(f"with the regions before it, it has more than {most:,} {named}; {fix}")
