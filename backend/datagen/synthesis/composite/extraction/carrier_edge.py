"""Concepts at the edge of their carrier: a spot on a leaf's rim, a notch at a plate's border.

The carrier is the object that shows the concepts; the backdrop is what lies behind it. The mask of such a concept
excludes the backdrop. The concept is continued a little over the backdrop, so that it reaches the edge of another
carrier, whose edge has another shape."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.composite.extraction.backdrop import nearest_carrier
from datagen.synthesis.intensity import Bools, Floats, plain

#: On a background, a strip of this width in pixels along the carrier's edge counts as backdrop, so that it is not
#: changed.
FRINGE_PX = 1
#: A mask touches the backdrop if it is within this many pixels of it.
_TOUCHING_PX = 2
#: Minimum length of an edge concept's contact with the backdrop, as a share of the square root of its area.
_CONTACT_SHARE = 0.25
#: Distance over which a concept is continued beyond its edge: the larger of this many pixels, and this share of the
#: square root of its area.
_BEYOND_PX, _BEYOND_SHARE = 3.0, 0.15
#: Parts of a mask smaller than this share of the largest part are slivers, which the backdrop cut off from it.
_PART_SHARE = 0.1
#: Minimum share of a notch's box that is backdrop, and minimum share of the box's height and width over which the
#: backdrop extends.
_NOTCH_BACKDROP, _NOTCH_EXTENT = 0.3, 0.7
#: Largest share of the carrier in a notch's box that may differ from the carrier beside the box. Tones differ if their
#: distance from the median tone beside the box exceeds a limit. The limit is this many times the median distance of the
#: tones beside the box, plus this many tones.
_NOTCH_UNLIKE, _ALIKE_FACTOR, _ALIKE_TONES = 0.25, 2.0, 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierEdge:
    """The edge at which a concept lies, in the concept's window.

    ``backdrop`` [h, w] is true on the backdrop outside the concept. ``beyond`` [h, w] is the part of the backdrop over
    which the concept is continued. ``outward`` is the direction from the carrier to the backdrop in radians, clockwise
    from the right. ``notch`` is true if the concept is a gap in the carrier and therefore consists of backdrop.
    """

    backdrop: Bools
    beyond: Bools
    outward: float
    notch: bool


def is_notch(tones: Floats, hole: Bools, others: Bools, backdrop: Bools) -> bool:
    """Return whether a box shows nothing but carrier and backdrop, so that the concept is a gap in the carrier.

    Args:
        tones: the window's tones [h, w, c].
        hole: true inside the box, [h, w].
        others: true inside the photo's other boxes, [h, w].
        backdrop: true on the backdrop, [h, w].
    """
    carrier, beside, open_box = hole & ~backdrop, ~hole & ~backdrop & ~others, hole & backdrop
    if open_box.sum() < _NOTCH_BACKDROP * hole.sum() or not beside.any():
        return False
    if any(open_box.any(axis=axis).sum() < _NOTCH_EXTENT * hole.any(axis=axis).sum() for axis in (0, 1)):
        return False
    if not carrier.any():
        return True
    distance = np.sqrt(plain(np.square(tones - np.median(tones[beside], axis=0))))
    alike = _ALIKE_FACTOR * float(np.median(distance[beside])) + _ALIKE_TONES
    return float((distance[carrier] > alike).mean()) < _NOTCH_UNLIKE


def notch_edge(mask: Bools, backdrop: Bools) -> CarrierEdge:
    """Return the edge of a notch with this mask."""
    outer = backdrop & ~mask
    touching = mask & grown(outer, _TOUCHING_PX)
    return CarrierEdge(
        backdrop=outer,
        beyond=np.zeros_like(mask),
        outward=_outward(outer, touching if touching.any() else mask),
        notch=True,
    )


def split_at_edge(mask: Bools, backdrop: Bools) -> tuple[Bools, CarrierEdge | None]:
    """Return the mask without backdrop, and the carrier's edge at which it lies.

    The edge is None if the mask does not touch the backdrop. The returned mask is empty if only slivers would be left.
    """
    kept = without_slivers(mask & ~backdrop)
    if not kept.any():
        return kept, None
    size = float(np.sqrt(kept.sum()))
    contact = backdrop & grown(kept, _TOUCHING_PX)
    if contact.sum() < _TOUCHING_PX * max(3.0, _CONTACT_SHARE * size):
        return kept, None
    distance, near_y, near_x = nearest_carrier(backdrop)
    beyond = backdrop & kept[near_y, near_x] & (distance <= max(_BEYOND_PX, _BEYOND_SHARE * size))
    edge = CarrierEdge(backdrop=backdrop, beyond=beyond, outward=_outward(backdrop, contact), notch=False)
    return kept, edge


def _outward(backdrop: Bools, contact: Bools) -> float:
    """Return the direction from the contact to the backdrop, in radians clockwise from the right."""
    smooth = cv2.GaussianBlur(backdrop.astype(np.float32), (0, 0), max(2.0, 0.25 * float(np.sqrt(contact.sum()))))
    x, y = (float(cv2.Sobel(smooth, cv2.CV_32F, *order)[contact].sum()) for order in ((1, 0), (0, 1)))
    # rounded, so that the last bits of a machine's arithmetic do not reach the picture
    return round(float(np.arctan2(y, x)), 3)


def without_slivers(mask: Bools) -> Bools:
    """Return the mask without the parts that are small compared with its largest part."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= max(3, _PART_SHARE * float(areas.max())))[parts])


def open_notch(mask: Bools, backdrop: Bools) -> tuple[Bools, Bools]:
    """Return the mask of a notch in another carrier, and the backdrop that fills it.

    At the opening of the notch, its mask includes the mixed pixels of the carrier's edge. Elsewhere, this edge is kept.

    Args:
        mask: the notch and the backdrop beside it, [h, w].
        backdrop: the backdrop of the background, including its mixed edge, [h, w].
    """
    kernel = np.ones((3, 3), np.uint8)
    cut = cv2.morphologyEx((mask & ~backdrop).astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
    pure = cv2.erode(backdrop.astype(np.uint8), kernel, iterations=2 * FRINGE_PX) > 0
    return cut | (mask & backdrop & ~pure & grown(cut, 2 * FRINGE_PX)), pure


def grown(mask: Bools, pixels: int) -> Bools:
    """Return the mask with all pixels that are within ``pixels`` rows and ``pixels`` columns of it."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)) > 0
