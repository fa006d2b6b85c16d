"""Cut sides: the borders of a photo that cut a concept off, so that it must be placed at the same borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.intensity import Bools

#: A border cuts a mask off if the mask is within this many pixels of it.
BORDER_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CutSides:
    """The gaps in pixels between a mask and the borders that cut it off; None at a border that does not cut it off."""

    left: int | None = None
    top: int | None = None
    right: int | None = None
    bottom: int | None = None

    @property
    def any(self) -> bool:
        """Whether any border cuts the concept off."""
        return self.across or self.along

    @property
    def across(self) -> bool:
        """Whether the left or the right border cuts the concept off."""
        return self.left is not None or self.right is not None

    @property
    def along(self) -> bool:
        """Whether the top or the bottom border cuts the concept off."""
        return self.top is not None or self.bottom is not None

    @property
    def opposite(self) -> bool:
        """Whether two opposite borders cut the concept off, so that it fits at no single side or corner."""
        return (self.left is not None and self.right is not None) or (self.top is not None and self.bottom is not None)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the sides at which the concept is cut off."""
        return tuple(side for side in ("left", "top", "right", "bottom") if getattr(self, side) is not None)

    def posed(self, scale: float, *, mirrored: bool) -> CutSides:
        """Return the cut sides after scaling, and after mirroring left to right if ``mirrored``."""
        if not self.any:
            return self
        left, top, right, bottom = (
            None if gap is None else round(gap * scale) for gap in (self.left, self.top, self.right, self.bottom)
        )
        if mirrored:
            left, right = right, left
        return CutSides(left=left, top=top, right=right, bottom=bottom)


#: The cut sides of a concept that lies wholly in its photo.
WHOLE = CutSides()


def cut_sides(mask: Bools, measured: Bools, frame: Frame, width: int, height: int) -> CutSides:
    """Return the borders that cut a concept off.

    Args:
        mask: the concept's mask [h, w] in the window ``frame``; at least one pixel.
        measured: the segmented pixels of the mask, [h, w]. A mask that was extended to the box may reach a border that
            the concept does not reach.
        frame: the window of the photo.
        width, height: the size of the photo in pixels.
    """
    own, gaps = (_gaps(pixels, frame, width, height) for pixels in (measured & mask, mask))
    return CutSides(**{side: gaps[side] for side, gap in own.items() if gap <= BORDER_PX})


def _gaps(mask: Bools, frame: Frame, width: int, height: int) -> dict[str, int]:
    """Return the distances in pixels between a mask and the borders of its photo, by side; empty for an empty mask."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return {}
    return {
        "left": frame.left + int(columns[0]),
        "top": frame.top + int(rows[0]),
        "right": width - 1 - frame.left - int(columns[-1]),
        "bottom": height - 1 - frame.top - int(rows[-1]),
    }
