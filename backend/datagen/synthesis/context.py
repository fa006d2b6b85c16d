"""Where in a neighbourhood a cut-out fits: the place whose pixels look like the concept's own clean surroundings.

On structured pictures this snaps a concept to the edge it grows on; on plain texture every place is alike, and the
choice stays even. Places are sampled among those that fit about as well as the best, never the best alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.pose import Posed
from datagen.synthesis.tones import Floats, to_tones

#: Half the side, in pixels, of the neighbourhood searched round a place drawn from the area, beyond the cut-out.
REACH_PX = 40
#: Places this many tones worse than the best are as good as it …
_TOLERANCE = 3.0
#: … and so are those within this share of it.
_SHARE = 0.08


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Top left corners (y, x) where the cut-out fits, and how far off the best is: root mean square, in tones."""

    corners: npt.NDArray[np.int64]
    mismatch: float


def fitting_places(
    picture: npt.NDArray[Any], posed: Posed, top: int, left: int, strictness: float, reach: int = REACH_PX
) -> Fit:
    """The places within ``reach`` pixels of (top, left) where the background fits the cut-out's clean surroundings.

    Args:
        picture: the background, [h, w] or [h, w, c].
        posed: the cut-out; its window must fit into the picture.
        top, left: where its corner would be.
        strictness: 0 takes every place, 1 those nearly as good as the best.
        reach: how far to look, pixels.
    """
    rows, columns = posed.mask.shape
    y0, x0 = max(0, top - reach), max(0, left - reach)
    cut = picture[y0 : min(picture.shape[0], top + rows + reach), x0 : min(picture.shape[1], left + columns + reach)]
    search, wanted = (_plain(t) for t in (to_tones(cut), posed.clean))
    cost = cv2.matchTemplate(search, wanted, cv2.TM_SQDIFF)
    mismatch = np.sqrt(np.maximum(cost, 0) / wanted.size)
    best = float(mismatch.min())
    slack = (_TOLERANCE + _SHARE * best) * 0.5 / max(strictness, 1e-3)
    corners = np.argwhere(mismatch <= best + slack) if strictness > 0 else np.array([[top - y0, left - x0]])
    return Fit(corners=corners + np.array([y0, x0]), mismatch=best)


def _plain(tones: Floats) -> Floats:
    return np.ascontiguousarray(tones.mean(axis=2)) if tones.shape[2] > 1 else np.ascontiguousarray(tones[:, :, 0])
