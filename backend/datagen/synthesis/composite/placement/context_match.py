"""Context match: finds places in a neighbourhood whose pixels look like the concept's own clean surroundings.

On structured pictures this aligns a concept with the edge on which it occurs. On plain texture all places match
equally, and the choice remains uniform. A place is drawn from those that fit about as well as the best one. A
difference in structure counts most. A difference in mean tone has little weight, because the blends compensate for it.
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

#: Largest search distance round a place drawn from the area, in reduced pixels, in each direction.
REACH_PX = 48
#: A cut-out is reduced until its shorter side has about this many pixels, which is enough to detect an edge. It is
#: reduced by at most this factor.
_SEEN_PX, _MAX_REDUCED = 14, 4
#: The largest search distance in pixels of the picture, which applies to the largest cut-outs.
REACH_MAX_PX = REACH_PX * _MAX_REDUCED
#: First part of the tolerance by which the mismatch of a fitting place may exceed the best mismatch, in tones.
_TOLERANCE = 3.0
#: Second part of the tolerance, as a share of the best mismatch, if the best is much better than a plain place's
#: mismatch.
_SHARE = 0.08
#: The share in place of ``_SHARE`` if the best mismatch is no better than that of a plain place. Surroundings without a
#: match, such as the noise of a texture, do not show where the concept belongs. A smaller share would select the
#: plainest places then.
_SHARE_OF_CHANCE = 1.0
#: Exponent of the transition between the two shares; at half the mismatch of a plain place, ``_SHARE`` still applies.
_SHARPNESS = 6
#: Weight of the squared difference in mean tone; the mean squared difference in structure has weight 1.
_MEAN_WEIGHT = 0.15
#: Largest rounding error of a mismatch, in tones.
_ROUNDING = 0.5
#: Up to this many places are compared one by one, without a Fourier transform.
_FEW_PLACES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of a cut-out's window, and the mismatch of the best place in its neighbourhood.

    ``top`` and ``left`` are in pixels of the picture. ``mismatch`` is a root mean square difference in tones.
    ``inside`` is false if no fitting place has its centre in the area; ``top`` and ``left`` have no meaning then.
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
    farthest: int = REACH_MAX_PX,
    held: tuple[bool, bool] = (False, False),
) -> Place | None:
    """Return a place near ``spot`` in the area where the background fits the cut-out's clean surroundings.

    Return None if the mismatch of the best place is larger than ``worst``.

    Args:
        picture: the background, [h, w] or [h, w, c].
        posed: the cut-out; its window must fit into the picture.
        spot: top and left of the window before the search, in pixels.
        strictness: above 0 and up to 1; a larger value requires a mismatch closer to the best.
        area: the reduced area [h, w], true where the window's centre may be.
        pick: in 0..1, selects one of the fitting places.
        worst: the largest accepted mismatch, in tones.
        farthest: largest distance from ``spot`` in each direction, in pixels.
        held: whether the top of ``spot`` is kept, and whether the left is.
    """
    rows, columns = posed.mask.shape
    height, width = picture.shape[:2]
    grain = min(max(min(rows, columns) // _SEEN_PX, 1), _MAX_REDUCED)
    reach = min(REACH_PX * grain, farthest)
    reach_y, reach_x = (0 if hold else reach for hold in held)
    top, left = spot
    y0, x0 = max(0, top - reach_y), max(0, left - reach_x)
    y1, x1 = min(height, top + rows + reach_y), min(width, left + columns + reach_x)
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
    fitting = good.ravel().nonzero()[0]
    if not len(fitting):
        return Place(top=top, left=left, mismatch=best, inside=False)
    y, x = divmod(int(fitting[int(pick * len(fitting))]), good.shape[1])
    top, left = settled(picture, posed, int(tops[y]), int(lefts[x]), grain)
    top, left = (start if hold else to for start, to, hold in zip(spot, (top, left), held, strict=True))
    return Place(top=top, left=left, mismatch=best, inside=True)


def _tolerance(best: float, spread: float) -> float:
    """Return by how many tones the mismatch of a fitting place may exceed the best mismatch.

    ``spread`` is the standard deviation of the surroundings' tones, which is the mismatch of a plain place.
    """
    chance = min(best / spread, 1.0) ** _SHARPNESS if spread > 0 else 1.0
    return _TOLERANCE + (_SHARE + (_SHARE_OF_CHANCE - _SHARE) * chance) * best


def settled(picture: npt.NDArray[Any], posed: Posed, top: int, left: int, grain: int) -> tuple[int, int]:
    """Return the top and left, within ``grain`` pixels of the given ones, where the mismatch is smallest.

    The result is exact to 1 pixel, or to 2 pixels for a large cut-out.
    """
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
    """Return the mismatch of ``wanted`` [h, w] with every window of ``search``, as a root mean square difference.

    The difference of the means has less weight in it. Return None if the mean tone alone makes the mismatch of every
    window larger than ``worst``. This is checked before the comparison.
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
    deviations = values - values.mean()
    deviations *= deviations
    return float(deviations.mean())


def _means(mean: Any, ground: Floats, wanted: Floats) -> Floats:
    """Return the means of ``ground``, or of its squares, over all windows of the size of ``wanted``.

    Each mean is at the top left corner of its window. ``mean`` is OpenCV's ``boxFilter``, or ``sqrBoxFilter`` for the
    squares.
    """
    size = wanted.shape[::-1]
    return np.asarray(mean(ground, cv2.CV_32F, size, anchor=(0, 0), borderType=cv2.BORDER_REPLICATE))


def _products(ground: Floats, wanted: Floats) -> Floats:
    """Return the sums of the products of ``wanted`` with the pixels of every window of ``ground``."""
    rows, columns = (side - part + 1 for side, part in zip(ground.shape, wanted.shape, strict=True))
    if rows * columns <= _FEW_PLACES:
        windows = np.lib.stride_tricks.sliding_window_view(ground, wanted.shape)
        return np.asarray(np.einsum("ijkl,kl->ij", windows, wanted))
    if 2 * wanted.shape[0] <= ground.shape[0] and 2 * wanted.shape[1] <= ground.shape[1]:
        return cv2.matchTemplate(ground, wanted, cv2.TM_CCORR)
    # of larger templates, OpenCV transforms blocks of at least 256 × 256 pixels, which takes ten times as long
    size = [cv2.getOptimalDFTSize(side) for side in ground.shape]
    spectrum = np.fft.rfft2(ground, size) * np.fft.rfft2(wanted, size).conj()
    return np.asarray(np.fft.irfft2(spectrum, size)[:rows, :columns], np.float32)


def _reduced(pixels: npt.NDArray[Any], grain: int) -> npt.NDArray[Any]:
    if grain == 1:
        return pixels
    size = (max(1, pixels.shape[1] // grain), max(1, pixels.shape[0] // grain))
    reduced = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(reduced if reduced.ndim == pixels.ndim else reduced[:, :, None])
