"""Where in a neighbourhood a cut-out fits: the place whose pixels look like the concept's own clean surroundings.

On structured pictures this snaps a concept to the edge it grows on; on plain texture every place is alike, and the
choice stays even. Places are sampled among those that fit about as well as the best, never the best alone. What counts
is the structure: a difference of the mean tone alone counts little, because the blends follow it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.pose import Posed
from datagen.synthesis.tones import Floats, to_tones

#: Half the side, in reduced pixels, of the neighbourhood searched round a place drawn from the area.
REACH_PX = 56
#: Cut-outs are reduced until their shorter side has about this many pixels: enough to tell an edge from none.
_SEEN_PX, _MOST_REDUCED = 14, 4
#: Places this many tones worse than the best are as good as it …
_TOLERANCE = 3.0
#: … and so are those within this share of it.
_SHARE = 0.08
#: What the square of a difference in mean tone weighs beside the mean square of the difference in structure.
_MEAN_WEIGHT = 0.15


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Top left corners (y, x) where the cut-out fits, to within ``grain`` pixels; and how far off the best is.

    ``mismatch`` is a root mean square, in tones.
    """

    corners: npt.NDArray[np.int64]
    mismatch: float
    grain: int


def fitting_places(picture: npt.NDArray[Any], posed: Posed, top: int, left: int, strictness: float) -> Fit:
    """The places round (top, left) where the background fits the cut-out's clean surroundings.

    Args:
        picture: the background, [h, w] or [h, w, c].
        posed: the cut-out; its window must fit into the picture.
        top, left: where its corner would be.
        strictness: above 0 and up to 1: how nearly as good as the best a place must be.
    """
    rows, columns = posed.mask.shape
    grain = int(np.clip(min(rows, columns) // _SEEN_PX, 1, _MOST_REDUCED))
    reach = REACH_PX * grain
    y0, x0 = max(0, top - reach), max(0, left - reach)
    y1, x1 = min(picture.shape[0], top + rows + reach), min(picture.shape[1], left + columns + reach)
    search, wanted = _plain(to_tones(_reduced(picture[y0:y1, x0:x1], grain))), _plain(_reduced(posed.clean, grain))
    # rounding may make the template larger than what is searched
    wanted = wanted[: search.shape[0], : search.shape[1]]
    mismatch = _mismatch(search, wanted)
    best = float(mismatch.min())
    found = np.argwhere(mismatch <= best + (_TOLERANCE + _SHARE * best) * 0.5 / strictness) * grain
    last = (picture.shape[0] - rows, picture.shape[1] - columns)
    return Fit(corners=np.minimum(found + np.array([y0, x0]), last), mismatch=best, grain=grain)


def settled(picture: npt.NDArray[Any], posed: Posed, top: int, left: int, grain: int) -> tuple[int, int]:
    """The corner within ``grain`` pixels of (top, left) that fits best, to the pixel."""
    if grain <= 1:
        return top, left
    rows, columns = posed.mask.shape
    y0, x0 = max(0, top - grain), max(0, left - grain)
    cut = picture[y0 : min(picture.shape[0], top + rows + grain), x0 : min(picture.shape[1], left + columns + grain)]
    mismatch = _mismatch(_plain(to_tones(cut)), _plain(posed.clean))
    y, x = divmod(int(np.argmin(mismatch)), mismatch.shape[1])
    return y0 + y, x0 + x


def _mismatch(search: Floats, wanted: Floats) -> Floats:
    """Root mean square difference of ``wanted`` from every window of ``search``, the means' share weighed down."""
    rows, columns = wanted.shape
    middle = float(wanted.mean())
    both = cv2.matchTemplate(search - middle, wanted - middle, cv2.TM_CCORR)
    total, square = (
        np.asarray(sums[rows:, columns:] - sums[:-rows, columns:] - sums[rows:, :-columns] + sums[:-rows, :-columns])
        / wanted.size
        for sums in cv2.integral2(search - middle, sdepth=cv2.CV_64F, sqdepth=cv2.CV_64F)
    )
    # with the template's mean at 0, a window's mean is the difference of means
    structure = square - total * total + float(wanted.var()) - 2 * both / wanted.size
    return np.asarray(np.sqrt(np.maximum(structure + _MEAN_WEIGHT * total * total, 0)), np.float32)


def _reduced(pixels: npt.NDArray[Any], grain: int) -> npt.NDArray[Any]:
    if grain == 1:
        return pixels
    size = (max(1, pixels.shape[1] // grain), max(1, pixels.shape[0] // grain))
    reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced if reduced.ndim == pixels.ndim else reduced[:, :, None])


def _plain(tones: Floats) -> Floats:
    return np.ascontiguousarray(tones.mean(axis=2)) if tones.shape[2] > 1 else np.ascontiguousarray(tones[:, :, 0])
