"""From a box to the thing in it: several mattes, each scored, the best first.

No method wins everywhere (a round hole suits GrabCut, a thin crack the residual, a circuit the two levels), so all are
run and judged by the contrast along the boundary they draw. An outline drawn by the annotator needs none of this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Polygon
from datagen.synthesis.fill import Frame
from datagen.synthesis.outlines import rasterize
from datagen.synthesis.tones import Bools, Floats, spread

#: A matte that covers less of its box than this is a speck, one that covers more is the box itself.
LEAST_SHARE, MOST_SHARE = 0.04, 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class Matte:
    """Which pixels of a window are the thing.

    ``score`` is how sharply the boundary parts inside from outside, in standard deviations of the two sides.
    """

    method: str
    mask: Bools
    score: float


def drawn_matte(outline: Sequence[Polygon], frame: Frame) -> Matte | None:
    """The matte of an outline drawn by the annotator (image pixels); None where it covers no pixel of the window."""
    mask = np.zeros(frame.shape, bool)
    for polygon in outline:
        mask |= rasterize(np.asarray(polygon.points) - (frame.left, frame.top), frame.shape)
    return Matte(method="drawn", mask=mask, score=float("inf")) if mask.any() else None


def mattes(tones: Floats, clean: Floats, hole: Bools) -> tuple[Matte, ...]:
    """The mattes of what is in ``hole``, best first; at least one.

    Args:
        tones: the window as photographed, [h, w, c], 0 to 255.
        clean: the same window without the thing.
        hole: true inside the box, [h, w].
    """
    made = {
        "residual": _residual(tones, clean, hole),
        "grabcut": _grabcut(tones, hole),
        "two-level": _two_level(tones, clean, hole),
    }
    found = [
        Matte(method=name, mask=mask, score=_contrast(tones, clean, mask))
        for name, mask in made.items()
        if mask is not None and LEAST_SHARE <= mask.sum() / hole.sum() <= MOST_SHARE
    ]
    if not found:
        return (Matte(method="box", mask=_ellipse(hole), score=0.0),)
    return tuple(sorted(found, key=lambda matte: (-matte.score, matte.method)))


def _residual(tones: Floats, clean: Floats, hole: Bools) -> Bools | None:
    """What differs from the clean fill: hysteresis between the noise of the surroundings and half the peak."""
    difference = np.sqrt(np.square(tones - clean).sum(axis=2))
    smooth = cv2.GaussianBlur(difference, (0, 0), 0.8)
    peak = float(np.quantile(smooth[hole], 0.95))
    # texture, not sensor noise, is what a difference must exceed: local deviation from the surroundings' own blur
    rough = np.sqrt(np.square(tones - cv2.blur(tones, (9, 9)).reshape(tones.shape)).sum(axis=2))
    noise = max(float(np.median(rough[~hole])) if (~hole).any() else 0.0, 0.5)
    if peak < 2 * noise:
        return None
    high, low = max(0.5 * peak, 2 * noise), max(0.3 * peak, 1.5 * noise)
    weak = (smooth > low) & hole
    return _solid(_hysteresis(weak, (smooth > high) & hole))


def _grabcut(tones: Floats, hole: Bools) -> Bools | None:
    """GrabCut (Rother et al. 2004) with the box as the only hint."""
    if hole.all() or min(hole.shape) < 5:
        return None
    low, high = np.quantile(tones, (0.005, 0.995))
    if high - low < 1e-3:
        return None
    view = np.clip((tones - low) * (255.0 / (high - low)), 0, 255).astype(np.uint8)
    view = np.ascontiguousarray(np.repeat(view, 3, axis=2) if view.shape[2] == 1 else view)
    state = np.where(hole, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    # its k-means draws from OpenCV's generator
    cv2.setRNGSeed(7)
    models = np.zeros((2, 1, 65), np.float64)
    cv2.grabCut(view, state, (0, 0, 0, 0), models[0], models[1], 4, cv2.GC_INIT_WITH_MASK)
    return _solid((state == cv2.GC_FGD) | (state == cv2.GC_PR_FGD))


def _two_level(tones: Floats, clean: Floats, hole: Bools) -> Bools | None:
    """Where a picture of two tones shows the other tone than the clean fill does, specks opened away."""
    plain, without = tones.mean(axis=2), clean.mean(axis=2)
    low, high = (float(v) for v in np.quantile(plain, (0.02, 0.98)))
    middle = 0.5 * (low + high)
    if high - low < 1e-3:
        return None
    below, above = plain[plain < middle], plain[plain >= middle]
    if below.size == 0 or above.size == 0 or spread(below) + spread(above) > 0.1 * (high - low):
        return None
    flipped = ((plain > middle) != (without > middle)) & hole
    return _solid(flipped)


def _hysteresis(weak: Bools, strong: Bools) -> Bools:
    """The parts of ``weak`` that hold a pixel of ``strong`` (Canny's second step)."""
    _, parts = cv2.connectedComponents(weak.astype(np.uint8), connectivity=8)
    kept = np.unique(parts[strong & weak])
    return np.isin(parts, kept[kept > 0])


def _solid(mask: Bools) -> Bools | None:
    """``mask`` without specks (parts under a tenth of the largest) and without holes; None where nothing is left."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return None
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = 1 + np.flatnonzero(areas >= max(3, 0.1 * areas.max()))
    if kept.size == 0:
        return None
    solid = np.isin(parts, kept).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(solid, contours, -1, 1, cv2.FILLED)
    return solid > 0


def _ellipse(hole: Bools) -> Bools:
    """The ellipse inscribed in the box: what is left to say when nothing stands out in it."""
    ys, xs = np.nonzero(hole)
    centre_y, centre_x = (ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2
    half_y, half_x = (np.ptp(ys) + 1) / 2, (np.ptp(xs) + 1) / 2
    grid_y, grid_x = np.indices(hole.shape)
    inner: npt.NDArray[np.bool_] = ((grid_y - centre_y) / half_y) ** 2 + ((grid_x - centre_x) / half_x) ** 2 <= 1
    return inner & hole


def _contrast(tones: Floats, clean: Floats, mask: Bools) -> float:
    """How well the residual parts a thin band inside the boundary from one outside, in pooled deviations."""
    kernel = np.ones((5, 5), np.uint8)
    solid = mask.astype(np.uint8)
    inner = mask & ~cv2.erode(solid, kernel).astype(bool)
    outer = cv2.dilate(solid, kernel).astype(bool) & ~mask
    if not inner.any() or not outer.any():
        return 0.0
    difference = np.sqrt(np.square(tones - clean).sum(axis=2))
    deviation = float(np.sqrt(0.5 * (difference[inner].var() + difference[outer].var()))) + 1.0
    return float(difference[inner].mean() - difference[outer].mean()) / deviation
