"""Background inpainting: fills a box as if the concept were absent, and estimates the error of the fill.

Three fills are tried. *Twin* copies the window of the same photo whose surroundings are most similar to those of the
box (exemplar-based filling, Criminisi et al. 2004, with the whole box as one patch). Its tones are shifted by a smooth
membrane to match the rim of the box. *Grain*, on a texture with one direction, continues every line through the box.
*Membrane* interpolates the rim's tones smoothly inwards (pull-push, Gortler et al. 1996).

The fill that best predicts a held-out ring just outside the box is kept. An aligned clean photo (``template``) that
predicts the ring about as well is preferred, because it alone shows the actual background inside the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.synthesis.intensity import NEAR_A_LEVEL, Bools, Floats, grey, is_two_level, lengths, plain, to_tones

#: Largest distance at which a twin is searched, in sides of the window; textures repeat within it.
_REACH = 6.0
#: Largest distance in pixels, in each direction, at which a twin is searched; the search time is quadratic in it.
_REACH_PX = 160
#: Minimum coherence (0 none, 1 parallel lines) of a texture that has a direction.
COHERENT = 0.35
#: A template is used if its error on the ring is at most this many times the error of the best fill. It is also used if
#: its error is at most this many tones.
_TEMPLATE_SHARE, _TEMPLATE_TONES = 1.5, 6.0
#: Number of known pixels that are averaged at each end of a texture line through the hole.
_LINE_PX = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A window of whole pixels in an image. The column ``right`` and the row ``bottom`` are outside it."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """The window's rows and columns, as slices of the image."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        """The window's height and width in pixels."""
        return self.bottom - self.top, self.right - self.left


def around(box: Box, margin: float, width: int, height: int) -> Frame:
    """Return the frame of all pixels within ``margin`` pixels of ``box``.

    The frame is clipped to an image of ``width`` by ``height`` pixels.
    """
    return Frame(
        left=max(0, int(np.floor(box.x - margin))),
        top=max(0, int(np.floor(box.y - margin))),
        right=min(width, int(np.ceil(box.right + margin))),
        bottom=min(height, int(np.ceil(box.bottom + margin))),
    )


def inside(box: Box, frame: Frame) -> Bools:
    """Return which pixels of ``frame`` the box touches, [h, w]."""
    rows, columns = frame.shape
    hole = np.zeros((rows, columns), bool)
    hole[
        max(0, int(np.floor(box.y)) - frame.top) : max(0, int(np.ceil(box.bottom)) - frame.top),
        max(0, int(np.floor(box.x)) - frame.left) : max(0, int(np.ceil(box.right)) - frame.left),
    ] = True
    return hole


def membrane(values: Floats, known: Bools) -> Floats:
    """Return ``values`` [h, w, c] with its unknown pixels filled smoothly (pull-push).

    ``known`` [h, w] is true on the pixels whose values are kept.
    """
    if known.all():
        return values
    if not known.any():
        return np.full_like(values, float(values.mean()))
    levels: list[tuple[Floats, Floats]] = []
    weight = known.astype(np.float32)[:, :, None]
    total = values * weight
    while True:
        levels.append((total, weight))
        height, width = weight.shape[:2]
        if float(weight.min()) > 0 or max(height, width) <= 1:
            break
        size = ((width + 1) // 2, (height + 1) // 2)
        total = _atleast_3d(cv2.resize(total, size, interpolation=cv2.INTER_AREA))
        weight = _atleast_3d(cv2.resize(weight, size, interpolation=cv2.INTER_AREA))
    filled = levels[-1][0] / np.maximum(levels[-1][1], 1e-6)
    for total, weight in reversed(levels[1:-1]):
        up = _enlarged(filled, weight.shape)
        share = np.minimum(weight, 1.0)
        filled = np.where(weight > 0, total / np.maximum(weight, 1e-6), 0) * share + up * (1 - share)
    return np.where(known[:, :, None], values, _enlarged(filled, known.shape)).astype(np.float32)


def _enlarged(values: Floats, shape: tuple[int, ...]) -> Floats:
    """Return values [h, w, c], interpolated to the height and width of ``shape``."""
    return _atleast_3d(cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR))


@dataclass(frozen=True, slots=True, kw_only=True)
class Clean:
    """A window without its concept.

    ``tones`` [h, w, c] is the filled window. ``error`` is the median error of the fill on a held-out ring of pixels,
    and ``worst`` is the 90th percentile. The error of a pixel is the distance in tones over all channels together.
    ``method`` names the fill.
    """

    tones: Floats
    error: float
    worst: float
    method: str


def clean_fill(
    picture: npt.NDArray[Any], box: Box, frame: Frame, taken: Sequence[Box], template: Floats | None = None
) -> Clean:
    """Return ``frame`` as it would be without the concept in ``box``.

    Args:
        picture: the whole photo.
        box: the area to fill; inside ``frame``.
        frame: the window to return.
        taken: all boxes of the photo; a twin overlaps none of them.
        template: the same window in an aligned clean photo, tones [h, w, c]; None if there is no such photo.
    """
    tones = to_tones(picture[frame.slices])
    hole = inside(box, frame)
    others = np.zeros_like(hole)
    for other in taken:
        if other != box:
            others |= inside(other, frame)
    known = ~hole & ~others
    if not known.any():
        return Clean(tones=tones, error=0.0, worst=0.0, method="none")
    # every fill is evaluated on a ring that is held out
    ring = cv2.dilate(hole.astype(np.uint8), np.ones((7, 7), np.uint8)).astype(bool) & known
    blind = known & ~ring if (known & ~ring).any() else known
    fills: dict[str, Callable[[Bools], Floats]] = {"membrane": lambda seen: membrane(tones, seen)}
    twin = _twin(picture, frame, known, taken)
    if twin is not None:
        fills["twin"] = lambda seen: twin + membrane(tones - twin, seen)
    direction = grain_direction(tones, known)
    if direction is not None:
        fills["grain"] = lambda seen: along_grain(tones, seen, direction)
    average: Callable[[Floats], Any] = np.median
    if is_two_level(tones[known]):
        # any fill predicts the median pixel of such a picture; only the mean shows a missed edge
        fills, average = {name: _without_greys(fill, tones, known) for name, fill in fills.items()}, np.mean
    misses = {name: _distance(fill(blind), tones, ring) for name, fill in fills.items()}
    best = min(misses, key=lambda name: (average(misses[name]), name))
    if template is not None:
        fills["template"] = lambda seen: template + membrane(tones - template, seen)
        misses["template"] = _distance(fills["template"](blind), tones, ring)
        if np.median(misses["template"]) <= max(_TEMPLATE_SHARE * np.median(misses[best]), _TEMPLATE_TONES):
            best = "template"
    error, worst = (float(v) for v in np.quantile(misses[best], (0.5, 0.9)))
    filled = np.where(known[:, :, None], tones, np.clip(fills[best](known), 0, 255)).astype(np.float32)
    return Clean(tones=filled, error=error, worst=worst, method=best)


def grain_direction(tones: Floats, known: Bools) -> tuple[float, float] | None:
    """Return the direction of the texture in the known pixels as a unit vector (x, y); None if it has no direction."""
    middle = plain(tones)
    dx, dy = (cv2.Sobel(middle, cv2.CV_32F, *order, ksize=3) for order in ((1, 0), (0, 1)))
    sure = cv2.erode(known.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool)
    dx, dy = dx[sure], dy[sure]
    # gradients are weighted by strength, not by its square, so that one strong border does not dominate
    weight = 1 / (np.hypot(dx, dy) + 1.0)
    xx, yy, xy = (float((a * b * weight).sum()) for a, b in ((dx, dx), (dy, dy), (dx, dy)))
    if float(np.hypot(xx - yy, 2 * xy)) < COHERENT * (xx + yy + 1e-6):
        return None
    angle = 0.5 * float(np.arctan2(2 * xy, xx - yy)) + np.pi / 2
    return float(np.cos(angle)), float(np.sin(angle))


def along_grain(tones: Floats, known: Bools, direction: tuple[float, float]) -> Floats:
    """Return ``tones`` [h, w, c] with the unknown pixels interpolated along the lines of the texture.

    The nearer of a line's two ends has more weight. Pixels whose line reaches no known pixel are filled by
    ``membrane``.
    """
    filled = membrane(tones, known)
    ys, xs = (v.astype(np.float32) for v in np.nonzero(~known))
    total = np.zeros((len(ys), tones.shape[2]), np.float32)
    weights = np.zeros(len(ys), np.float32)
    height, width = known.shape
    for sign in (1.0, -1.0):
        sums, count = np.zeros_like(total), np.zeros(len(ys), np.float32)
        reach = np.zeros(len(ys), np.float32)
        for step in range(1, height + width):
            px, py = xs + sign * step * direction[0], ys + sign * step * direction[1]
            column, row = np.rint(px).astype(int), np.rint(py).astype(int)
            within = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            incomplete = within & (count < _LINE_PX)
            if not incomplete.any():
                break
            hit = np.flatnonzero(incomplete)
            hit = hit[known[row[hit], column[hit]]]
            sums[hit] += tones[row[hit], column[hit]]
            count[hit] += 1
            reach[hit[reach[hit] == 0]] = step
        has_known = count > 0
        weight = np.where(has_known, 1 / (reach + _LINE_PX), 0).astype(np.float32)
        total[has_known] += (sums[has_known] / count[has_known][:, None]) * weight[has_known][:, None]
        weights += weight
    reached = weights > 0
    rows, columns = ys[reached].astype(int), xs[reached].astype(int)
    filled[rows, columns] = total[reached] / weights[reached][:, None]
    return filled


def _without_greys(fill: Callable[[Bools], Floats], tones: Floats, known: Bools) -> Callable[[Bools], Floats]:
    """Return ``fill`` for a two-level picture: it replaces each intermediate tone by the nearer of the two tones."""
    means = tones[known].mean(axis=1)
    bright = means > 0.5 * (means.min() + means.max())
    low, high = tones[known][~bright].mean(axis=0), tones[known][bright].mean(axis=0)
    span = np.square(high - low).sum()

    def of_two_tones(seen: Bools) -> Floats:
        filled = fill(seen)
        # position between the dark tone (0) and the bright one (1)
        share = ((filled - low) @ (high - low) / span)[:, :, None]
        between = np.abs(share - 0.5) < 0.5 - NEAR_A_LEVEL
        return np.where(between, np.where(share > 0.5, high, low), filled).astype(np.float32)

    return of_two_tones


def _distance(guess: Floats, truth: Floats, ring: Bools) -> Floats:
    """Return the error in tones of each pixel of the ring, [n]; one zero if the ring is empty."""
    return lengths(guess - truth)[ring] if ring.any() else np.zeros(1, np.float32)


def _twin(picture: npt.NDArray[Any], frame: Frame, known: Bools, taken: Sequence[Box]) -> Floats | None:
    """Return the tones of another window of the photo whose known pixels are most similar to those of ``frame``.

    Return None if no other window is possible.
    """
    height, width = picture.shape[:2]
    rows, columns = frame.shape
    reach_x, reach_y = (int(min(_REACH_PX, _REACH * side)) for side in (columns, rows))
    left, top = max(0, frame.left - reach_x), max(0, frame.top - reach_y)
    search = picture[top : min(height, frame.bottom + reach_y), left : min(width, frame.right + reach_x)]
    if search.shape[0] <= rows and search.shape[1] <= columns:
        return None
    cost = _squared_differences(grey(search), grey(picture[frame.slices]), known)
    hole_rows, hole_columns = np.flatnonzero((~known).any(axis=1)), np.flatnonzero((~known).any(axis=0))
    for box in taken:
        # the hole at the candidate position must not touch a box
        y0 = int(np.floor(box.y)) - top - int(hole_rows[-1])
        x0 = int(np.floor(box.x)) - left - int(hole_columns[-1])
        y1 = int(np.ceil(box.bottom)) - top - int(hole_rows[0])
        x1 = int(np.ceil(box.right)) - left - int(hole_columns[0])
        cost[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = np.inf
    best = int(np.argmin(cost))
    y, x = divmod(best, cost.shape[1])
    if not np.isfinite(cost[y, x]):
        return None
    return to_tones(search[y : y + rows, x : x + columns])


def _squared_differences(search: npt.NDArray[Any], target: npt.NDArray[Any], known: Bools) -> npt.NDArray[np.float64]:
    """Return the sums of squared differences of ``target`` [h, w] at every position in ``search``, both grey.

    Only pixels of the target that are ``known`` [h, w] count. This is OpenCV's TM_SQDIFF with a mask, in a third of the
    time and without its rounding.
    """
    size = [cv2.getOptimalDFTSize(side) for side in search.shape]
    tones, weights = search.astype(np.float64), known.astype(np.float64)
    wanted = target * weights
    squares, pixels, mask, part = (np.fft.rfft2(array, size) for array in (tones * tones, tones, weights, wanted))
    spectrum = squares * mask.conj() - 2 * pixels * part.conj()
    rows, columns = (side - part + 1 for side, part in zip(search.shape, target.shape, strict=True))
    correlations = np.fft.irfft2(spectrum, size)[:rows, :columns]
    # whole numbers, so that equal windows stay equal
    return np.asarray(np.rint(correlations + (wanted * wanted).sum()))


def _atleast_3d(values: npt.NDArray[Any]) -> Floats:
    return values[:, :, None] if values.ndim == 2 else values
