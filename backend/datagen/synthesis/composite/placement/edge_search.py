"""Search of a background for places at its carrier's edge that suit a concept at such an edge.

First, a cell of the reduced picture at the edge is drawn. The concept is turned to the edge if its pose allows this.
Then the place in the neighbourhood is chosen whose backdrop agrees best with the concept's own (template matching of
the two masks). The place is accepted if the backdrop lies on the same sides of the concept as in its photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.appearance.pose import Posed
from datagen.synthesis.composite.extraction.backdrop import Backdrop
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.carrier_edge import FRINGE_PX, grown
from datagen.synthesis.intensity import Bools, Floats

#: A cell is at the carrier's edge if it is within this many cells of the sure backdrop.
_NEAR_CELLS = 2
#: Standard deviation, in cells, of the blur from which the direction of an edge is measured.
_DIRECTION_CELLS = 2.0
#: Largest angle in degrees between a concept's edge and the carrier's edge, if the concept is not turned to it.
_MAX_TURN = 25.0
#: Share of the drawn rotation that is added to the rotation towards the edge, as a random deviation.
_LOOSE_TURN = 0.05
#: Largest search distance as a share of the window's longer side, and the shorter side in pixels to which the window is
#: reduced.
_REACH_SHARE, _SEEN_PX = 0.35, 20
#: Width in pixels of the ring round the concept in which the two backdrops are compared. Of the ring's pixels that are
#: backdrop in the concept's photo, at least this share must be backdrop here; of the others, this share must be
#: carrier.
_RING_PX, _AGREEING = 2, 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """The carrier on a background, for one label.

    ``model`` is the backdrop model, and ``sure`` [h, w] is the sure backdrop of the reduced picture. ``area`` [h, w] is
    the area of the label, extended by one cell. ``places`` [n] are the flat indices of its cells at the carrier's edge.
    ``outward`` [n] are the directions to the backdrop there, in radians clockwise from the right.
    """

    model: Backdrop
    sure: Bools
    area: Bools
    places: npt.NDArray[np.uint16]
    outward: Floats

    def backdrop(self, picture: npt.NDArray[Any], frame: Frame) -> Bools | None:
        """Return which pixels of a window of the background are backdrop, [h, w]; None if none is."""
        backdrop = self.model.inside(picture, frame, self.sure, FRINGE_PX)
        return backdrop if backdrop.any() else None


def find_carrier(model: Backdrop, picture: npt.NDArray[Any], area: Bools) -> Carrier:
    """Return the carrier on a background; ``area`` [h, w] is the area of the label in the reduced picture."""
    sure = model.sure(picture)
    near = grown(sure, _NEAR_CELLS) & ~sure
    extended = grown(area, 1)
    places = (near & extended).ravel().nonzero()[0]
    smooth = cv2.GaussianBlur(sure.astype(np.float32), (0, 0), _DIRECTION_CELLS)
    x, y = (cv2.Sobel(smooth, cv2.CV_32F, *order).ravel()[places] for order in ((1, 0), (0, 1)))
    # rounded, so that the last bits of a machine's arithmetic do not reach the picture
    return Carrier(
        model=model,
        sure=sure,
        area=extended,
        places=places.astype(np.uint16),
        outward=np.round(np.arctan2(y, x), 3).astype(np.float32),
    )


def edge_place(
    carrier: Carrier, outward: float, *, degrees: float, turn_limit: float, at: float
) -> tuple[int, float] | None:
    """Return the flat index of a cell at the carrier's edge, and the concept's rotation there in degrees.

    Return None if no edge suits the concept.

    Args:
        carrier: the carrier.
        outward: the direction from the concept to its backdrop before rotation, in radians.
        degrees: the drawn rotation.
        turn_limit: the largest rotation in degrees by which the concept may be turned to the edge; 0 if it keeps the
            drawn rotation.
        at: in 0..1, selects one of the suitable cells.
    """
    turns = _wrapped(np.rad2deg(carrier.outward - outward))
    free = turn_limit >= _MAX_TURN
    suitable = np.abs(turns) <= turn_limit if free else np.abs(_wrapped(turns - degrees)) <= _MAX_TURN
    cells = suitable.nonzero()[0]
    if not len(cells):
        return None
    cell = int(cells[int(at * len(cells))])
    rotation = round(float(turns[cell]) + _LOOSE_TURN * degrees, 2) if free else degrees
    return int(carrier.places[cell]), rotation


def edge_corner(
    picture: npt.NDArray[Any], carrier: Carrier, posed: Posed, spot: tuple[float, float], *, notch: bool
) -> tuple[int, int] | None:
    """Return top and left of a window in which the background's backdrop agrees with the concept's own backdrop.

    Return None if there is no such window.

    Args:
        picture: the background.
        carrier: the background's carrier.
        posed: the concept, with its backdrop.
        spot: y and x, in pixels, of the place at the carrier's edge.
        notch: whether the concept is a notch, whose pixels may be carrier or backdrop before it is placed.
    """
    assert posed.backdrop is not None
    rows, columns = posed.mask.shape
    height, width = picture.shape[:2]
    if rows > height or columns > width:
        return None
    contact = _ring(posed.mask, 1) & posed.backdrop
    ys, xs = (contact if contact.any() else posed.mask).nonzero()
    top = int(min(max(spot[0] - ys.mean(), 0), height - rows))
    left = int(min(max(spot[1] - xs.mean(), 0), width - columns))
    reach = round(_REACH_SHARE * max(rows, columns)) + _NEAR_CELLS * -(-max(height, width) // max(carrier.sure.shape))
    frame = Frame(
        left=max(0, left - reach),
        top=max(0, top - reach),
        right=min(width, left + columns + reach),
        bottom=min(height, top + rows + reach),
    )
    backdrop = carrier.backdrop(picture, frame)
    if backdrop is None:
        return None
    grain = max(1, min(rows, columns) // _SEEN_PX)
    search = _reduced(backdrop, grain)
    # rounding may make the template larger than what is searched
    wanted, own = (_reduced(m, grain)[: search.shape[0], : search.shape[1]] for m in (posed.backdrop, posed.mask))
    if notch:
        cost = cv2.matchTemplate(search, wanted, cv2.TM_SQDIFF, mask=1 - own)
    else:
        cost = cv2.matchTemplate(search, wanted, cv2.TM_SQDIFF)
    y, x = divmod(int(np.argmin(cost)), cost.shape[1])
    y, x = min(y * grain, backdrop.shape[0] - rows), min(x * grain, backdrop.shape[1] - columns)
    agrees = _agrees(posed, backdrop[y : y + rows, x : x + columns])
    return (frame.top + y, frame.left + x) if agrees else None


def _agrees(posed: Posed, backdrop: Bools) -> bool:
    """Return whether the backdrop lies on the same sides of the concept as in its photo."""
    assert posed.backdrop is not None
    assert posed.beyond is not None
    ring = _ring(posed.mask | posed.beyond, _RING_PX)
    outer, inner = ring & posed.backdrop, ring & ~posed.backdrop
    if not outer.any():
        return False
    closed = 1.0 if not inner.any() else 1 - float(backdrop[inner].mean())
    return min(float(backdrop[outer].mean()), closed) >= _AGREEING


def _ring(mask: Bools, pixels: int) -> Bools:
    """Return the pixels outside the mask that are within ``pixels`` rows and columns of it."""
    return grown(mask, pixels) & ~mask


def _reduced(mask: Bools, grain: int) -> Floats:
    size = (max(1, mask.shape[1] // grain), max(1, mask.shape[0] // grain))
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)


def _wrapped(degrees: Floats) -> Floats:
    """Return the same angles in degrees, from -180 to 180."""
    return np.asarray((degrees + 180) % 360 - 180)
