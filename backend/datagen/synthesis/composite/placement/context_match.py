"""Where in a neighbourhood a cut-out fits: the place whose pixels look like the concept's own clean surroundings.

On structured pictures this snaps a concept to the edge it grows on; on plain texture every place is alike, and the
choice stays even. Places are sampled among those that fit about as well as the best, never the best alone. What counts
is the structure: a difference of the mean tone alone counts little, because the blends follow it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.appearance.pose import Posed
from datagen.synthesis.intensity import Bools, Floats, plain, to_tones

#: Half the side, in reduced pixels, of the neighbourhood searched round a place drawn from the area.
REACH_PX = 48
#: Cut-outs are reduced until their shorter side has about this many pixels: enough to tell an edge from none.
_SEEN_PX, _MOST_REDUCED = 14, 4
#: Places this many tones worse than the best are as good as it, …
_TOLERANCE = 3.0
#: … and so are those within this share of it, …
_SHARE = 0.08
#: … or within this one where even the best is as far off as a plain place would be: surroundings that are found
#: nowhere again, such as the noise of a texture, do not tell where the concept belongs; going by them chose the
#: plainest places.
_SHARE_OF_CHANCE = 1.0
#: How sharply the one passes into the other: surroundings found again half as well as that are not chance yet.
_SHARPNESS = 6
#: What the square of a difference in mean tone weighs beside the mean square of the difference in structure.
_MEAN_WEIGHT = 0.15
#: What rounding may add to a mismatch, in tones, at most.
_ROUNDING = 0.5
#: Up to so many places are compared one by one; OpenCV takes up to fifty times as long over so few.
_FEW_PLACES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a cut-out's window lies, and how unlike its own surroundings the best place near by is.

    ``mismatch`` is a root mean square, in tones; ``inside`` is false where no fitting place has its middle in the area,
    and top and left mean nothing then.
    """

    top: int
    left: int
    mismatch: float
    inside: bool


def fitting_place(
    picture: npt.NDArray[Any],
    posed: Posed,
    spot: tuple[int, int],
    strictness: float,
    area: Bools,
    pick: float,
    worst: float = math.inf,
) -> Place | None:
    """A place round ``spot`` where the background fits the cut-out's clean surroundings, and that is in the area.

    None where even the best place's mismatch is larger than ``worst``.

    Args:
        picture: the background, [h, w] or [h, w, c].
        posed: the cut-out; its window must fit into the picture.
        spot: top and left of where its corner would be.
        strictness: above 0 and up to 1: how nearly as good as the best a place must be.
        area: the reduced area, true where the window's middle may be.
        pick: in 0..1, which of the places is taken.
        worst: the largest mismatch that is put up with, in tones.
    """
    rows, columns = posed.mask.shape
    height, width = picture.shape[:2]
    grain = min(max(min(rows, columns) // _SEEN_PX, 1), _MOST_REDUCED)
    reach = REACH_PX * grain
    top, left = spot
    y0, x0 = max(0, top - reach), max(0, left - reach)
    y1, x1 = min(height, top + rows + reach), min(width, left + columns + reach)
    search, wanted = plain(to_tones(_reduced(picture[y0:y1, x0:x1], grain))), plain(_reduced(posed.clean, grain))
    # rounding may make the template larger than what is searched
    mismatch = _mismatch(search, wanted[: search.shape[0], : search.shape[1]], worst)
    best = math.inf if mismatch is None else float(mismatch.min())
    if mismatch is None or best > worst:
        return None
    good = mismatch <= best + _tolerance(best, float(wanted.std())) * 0.5 / strictness
    tops = np.minimum(y0 + np.arange(good.shape[0]) * grain, height - rows)
    lefts = np.minimum(x0 + np.arange(good.shape[1]) * grain, width - columns)
    seen_rows = (tops + rows // 2) * area.shape[0] // height
    good &= area[seen_rows[:, None], (lefts + columns // 2) * area.shape[1] // width]
    found = good.ravel().nonzero()[0]
    if not len(found):
        return Place(top=top, left=left, mismatch=best, inside=False)
    y, x = divmod(int(found[int(pick * len(found))]), good.shape[1])
    top, left = settled(picture, posed, int(tops[y]), int(lefts[x]), grain)
    return Place(top=top, left=left, mismatch=best, inside=True)


def _tolerance(best: float, spread: float) -> float:
    """How much worse than the best a place may be and is as good, in tones.

    ``spread`` is the surroundings' own: the mismatch of a plain place.
    """
    chance = min(best / spread, 1.0) ** _SHARPNESS if spread > 0 else 1.0
    return _TOLERANCE + (_SHARE + (_SHARE_OF_CHANCE - _SHARE) * chance) * best


def settled(picture: npt.NDArray[Any], posed: Posed, top: int, left: int, grain: int) -> tuple[int, int]:
    """The corner within ``grain`` pixels of (top, left) that fits best: to the pixel, large cut-outs to two."""
    if grain <= 1:
        return top, left
    rows, columns = posed.mask.shape
    fine = 1 if grain == 2 else 2
    y0, x0 = max(0, top - grain), max(0, left - grain)
    cut = picture[y0 : min(picture.shape[0], top + rows + grain), x0 : min(picture.shape[1], left + columns + grain)]
    search, wanted = plain(to_tones(_reduced(cut, fine))), plain(_reduced(posed.clean, fine))
    mismatch = _mismatch(search, wanted[: search.shape[0], : search.shape[1]])
    assert mismatch is not None, "nothing is too bad here"
    y, x = divmod(int(np.argmin(mismatch)), mismatch.shape[1])
    return min(y0 + y * fine, picture.shape[0] - rows), min(x0 + x * fine, picture.shape[1] - columns)


def _mismatch(search: Floats, wanted: Floats, worst: float = math.inf) -> Floats | None:
    """Root mean square difference of ``wanted`` from every window of ``search``, the means' share weighed down.

    None where every window's is larger than ``worst`` for its mean tone alone: that is known before they are compared.
    """
    rows, columns = wanted.shape
    middle = float(wanted.mean())
    ground, wanted = search - middle, wanted - middle
    valid = (slice(ground.shape[0] - rows + 1), slice(ground.shape[1] - columns + 1))
    # with the template's mean at 0, a window's mean is the difference of means
    total = _means(cv2.boxFilter, ground, wanted)[valid]
    if math.sqrt(_MEAN_WEIGHT) * max(float(total.min()), -float(total.max())) > worst + _ROUNDING:
        return None
    square = _means(cv2.sqrBoxFilter, ground, wanted)[valid]
    both = _products(ground, wanted)
    # square + (weight - 1) total² + variance - 2 both / size, in place: the map is as large as the neighbourhood
    structure = np.float32(_MEAN_WEIGHT - 1) * total
    structure *= total
    structure += square
    structure += np.float32(_variance(wanted))
    both *= 2
    both /= wanted.size
    structure -= both
    np.maximum(structure, 0, out=structure)
    return np.asarray(np.sqrt(structure, out=structure))


def _variance(values: Floats) -> float:
    off = values - values.mean()
    off *= off
    return float(off.mean())


def _means(mean: Any, ground: Floats, wanted: Floats) -> Floats:
    """The means of ``ground``, or of its squares, over windows of the size of ``wanted``, at their top left corners."""
    size = wanted.shape[::-1]
    return np.asarray(mean(ground, cv2.CV_32F, size, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE))


def _products(ground: Floats, wanted: Floats) -> Floats:
    """The sum of products of ``wanted`` with every window of ``ground``."""
    places = (ground.shape[0] - wanted.shape[0] + 1) * (ground.shape[1] - wanted.shape[1] + 1)
    if places > _FEW_PLACES:
        return cv2.matchTemplate(ground, wanted, cv2.TM_CCORR)
    windows = np.lib.stride_tricks.sliding_window_view(ground, wanted.shape)
    return np.asarray(np.einsum("ijkl,kl->ij", windows, wanted))


def _reduced(pixels: npt.NDArray[Any], grain: int) -> npt.NDArray[Any]:
    if grain == 1:
        return pixels
    size = (max(1, pixels.shape[1] // grain), max(1, pixels.shape[0] // grain))
    reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced if reduced.ndim == pixels.ndim else reduced[:, :, None])
