"""The windows of a picture in which a segmentation model sees its boxes.

A model reduces every picture to about a thousand pixels. A small object in a large photo would vanish, so its
window is enlarged instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from datagen.domain.geometry import Box

#: A box is small if its longer side is less than this share of the picture's longer side.
_SMALL = 1 / 16
#: Side of the window of a small box, in multiples of the box's longer side, and its minimum in pixels.
_TIMES, _MIN_PX = 8.0, 128


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A window of a picture, in whole pixels, and the numbers of the boxes that are segmented in it.

    The column ``right`` and the row ``bottom`` are outside.
    """

    left: int
    top: int
    right: int
    bottom: int
    numbers: list[int] = field(default_factory=list)

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window's rows and columns, as slices of the picture."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def suits(self, box: Box) -> bool:
        """Return whether the box lies wholly in the window, and no smaller window would show it larger."""
        inside = self.left <= box.x and self.top <= box.y and box.right <= self.right and box.bottom <= self.bottom
        width, height = self.right - self.left, self.bottom - self.top
        return inside and (max(width, height) <= _MIN_PX or not _is_small(box, width, height))


def views(boxes: Sequence[Box], width: int, height: int) -> list[View]:
    """Return the windows of a picture of ``width`` by ``height`` pixels that show every box large enough.

    The first is the whole picture, unless every box is small.
    """
    whole = View(left=0, top=0, right=width, bottom=height)
    windows: list[View] = []
    for number, box in enumerate(boxes):
        side = max(_MIN_PX, round(_TIMES * max(box.width, box.height)))
        if not _is_small(box, width, height) or side >= max(width, height):
            whole.numbers.append(number)
            continue
        window = next((view for view in windows if view.suits(box)), None)
        if window is None:
            window = _window(box, side, width, height)
            windows.append(window)
        window.numbers.append(number)
    return [whole, *windows] if whole.numbers else windows


def _is_small(box: Box, width: int, height: int) -> bool:
    return max(box.width, box.height) < _SMALL * max(width, height)


def _window(box: Box, side: int, width: int, height: int) -> View:
    """Return a window of ``side`` pixels around a box, moved into the picture, and clipped to it."""
    across, down = min(side, width), min(side, height)
    left = min(max(0, round(box.x + box.width / 2 - across / 2)), width - across)
    top = min(max(0, round(box.y + box.height / 2 - down / 2)), height - down)
    return View(left=left, top=top, right=left + across, bottom=top + down)
