"""Concepts at the edge of their carrier: a spot on a leaf's rim, a notch at a plate's border.

The mask of such a concept excludes the backdrop. The concept is continued a little over the backdrop, so that it
reaches the edge of another carrier although no two edges have the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.composite.extraction.backdrop import nearest_carrier
from datagen.synthesis.intensity import Bools, Floats, plain

#: Width in pixels of the edge of a background's carrier that belongs to its backdrop, and is not changed.
FRINGE_PX = 1
#: A mask this close to the backdrop, in pixels, touches it.
_TOUCHING_PX = 2
#: Minimum length of the contact of an edge concept with the backdrop, as a share of the root of its area.
_CONTACT_SHARE = 0.25
#: Distance over which a concept is continued beyond its edge: at least in pixels, and as a share of that root.
_BEYOND_PX, _BEYOND_SHARE = 3.0, 0.15
#: Parts of a mask below this share of the largest part are slivers that the backdrop cuts off.
_PART_SHARE = 0.1
#: Minimum share of backdrop in a notch's box, and of the box's sides along which the backdrop extends.
_NOTCH_BACKDROP, _NOTCH_EXTENT = 0.3, 0.7
#: Largest share of the carrier in a notch's box that may differ from the carrier beside it. Tones are alike within this
#: many times the median distance of those beside the box, plus tones.
_NOTCH_UNLIKE, _ALIKE_FACTOR, _ALIKE_TONES = 0.25, 2.0, 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierEdge:
    """The edge on which a concept lies, in the concept's window.

    ``backdrop`` [h, w] is true on the backdrop, without the concept. ``beyond`` [h, w] is the part of it over which the
    concept is continued. ``outward`` is the direction from the carrier to the backdrop in radians, clockwise from the
    right. ``notch``: the concept itself is backdrop.
    """

    backdrop: Bools
    beyond: Bools
    outward: float
    notch: bool


def is_notch(tones: Floats, hole: Bools, others: Bools, backdrop: Bools) -> bool:
    """Return whether a box contains nothing but carrier and backdrop, so that the concept is the carrier's absence.

    Args:
        tones: the window [h, w, c].
        hole: true inside the box.
        others: true inside the photo's other boxes.
        backdrop: true on the backdrop.
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
    """Return the edge of a notch that is ``mask``."""
    outer = backdrop & ~mask
    touching = mask & grown(outer, _TOUCHING_PX)
    return CarrierEdge(
        backdrop=outer,
        beyond=np.zeros_like(mask),
        outward=_outward(outer, touching if touching.any() else mask),
        notch=True,
    )


def split_at_edge(mask: Bools, backdrop: Bools) -> tuple[Bools, CarrierEdge | None]:
    """Return a mask without backdrop, and the edge it lies at; None if it does not touch the backdrop.

    The mask is empty if nothing but slivers is left of it.
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
    """Return the direction in which the backdrop lies at the contact, in radians."""
    smooth = cv2.GaussianBlur(backdrop.astype(np.float32), (0, 0), max(2.0, 0.25 * float(np.sqrt(contact.sum()))))
    x, y = (float(cv2.Sobel(smooth, cv2.CV_32F, *order)[contact].sum()) for order in ((1, 0), (0, 1)))
    # rounded, so that the last bits of a machine's arithmetic do not reach the picture
    return round(float(np.arctan2(y, x)), 3)


def without_slivers(mask: Bools) -> Bools:
    """Return a mask without its small parts."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= max(3, _PART_SHARE * float(areas.max())))[parts])


def open_notch(mask: Bools, backdrop: Bools) -> tuple[Bools, Bools]:
    """Return the mask of a notch in another carrier, and the backdrop that fills it.

    Where the notch opens, its mask extends over the mixed pixels of the carrier's edge. Elsewhere that edge is kept.

    Args:
        mask: the notch with the backdrop beside it.
        backdrop: the backdrop of the background, its mixed edge included.
    """
    kernel = np.ones((3, 3), np.uint8)
    cut = cv2.morphologyEx((mask & ~backdrop).astype(np.uint8), cv2.MORPH_OPEN, kernel) > 0
    pure = cv2.erode(backdrop.astype(np.uint8), kernel, iterations=2 * FRINGE_PX) > 0
    return cut | (mask & backdrop & ~pure & grown(cut, 2 * FRINGE_PX)), pure


def grown(mask: Bools, pixels: int) -> Bools:
    """Return a mask and the pixels within that distance of it, along rows and columns."""
    return cv2.dilate(mask.astype(np.uint8), np.ones((2 * pixels + 1, 2 * pixels + 1), np.uint8)) > 0
