"""Measures the mask from |painted − background|, and chooses the best of several candidates.

A model does not fill the given mask exactly: it leaves parts unchanged, or fades out before the edge. The label must
match the pixels, so the mask is measured. The autoencoder reproduces unchanged pixels only approximately. This error of
the model is estimated outside the room (the pixels that may change, see ``models.crops``)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from datagen.synthesis.composite.appearance.visibility import visible
from datagen.synthesis.composite.extraction.background_inpainting import membrane
from datagen.synthesis.diffusion.models.crops import Place
from datagen.synthesis.intensity import Bools, Floats

#: Hysteresis thresholds, in multiples of the model's own error. A pixel above the first surely changed. A pixel above
#: the second changed if it is connected to one that surely changed.
_SURE, _LIKELY = 2.0, 1.2
#: Bounds of these two thresholds, in tones: smaller changes are invisible, larger ones always visible.
_SURE_RANGE, _LIKELY_RANGE = (6.0, 24.0), (3.0, 14.0)
#: A part of a mask is removed as a speck if it is smaller than this share of the largest part, or than this many
#: pixels.
_SPECK_SHARE, _SPECK_PX = 0.05, 4
#: A candidate counts as not painted if it changed less than this share of its intended outline.
_MIN_COVER = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """One candidate: its tones [h, w, c] in the window, the mask [h, w] of changed pixels, and its scores.

    ``contrast`` is the contrast-to-noise ratio of the change. ``cover`` is the changed share of the intended outline.
    ``difference`` is the distance from the background inside the room, in tones. Higher scores are better.
    """

    tones: Floats
    mask: Bools
    contrast: float
    cover: float
    difference: float

    def is_seen(self, min_contrast: float) -> bool:
        """Return whether a person would see the change."""
        return bool(self.mask.any()) and self.cover >= _MIN_COVER and self.contrast >= min_contrast


def measure(before: Floats, after: Floats, place: Place) -> Painted:
    """Return the painted tones of a place with the mask and the scores of the change.

    Args:
        before: The background's tones in the window, [h, w, c].
        after: The painted tones in the window, of the same shape.
        place: The window's room and outline.
    """
    # subtract the shift of the whole window (the autoencoder's tint), interpolated into the room from its border
    tones = np.clip(after - _tint(before, after, place.room), 0, 255).astype(np.float32)
    change = np.sqrt(np.square(tones - before).mean(axis=2))
    own_error = float(np.quantile(change[~place.room], 0.95)) if (~place.room).any() else 0.0
    smoothed = cv2.GaussianBlur(change, (3, 3), 0.7)
    sure, likely = (
        float(np.clip(times * own_error, *within)) for times, within in ((_SURE, _SURE_RANGE), (_LIKELY, _LIKELY_RANGE))
    )
    # sure pixels use the smoothed change, without grain; likely pixels use the change itself, so that edges do not grow
    mask = _solid(_hysteresis((change > likely) & place.room, (smoothed > sure) & place.room)) & place.room
    return Painted(
        tones=tones,
        mask=mask,
        contrast=visible(before, tones, mask)[1] if mask.any() else 0.0,
        cover=float(mask[place.laid].mean()) if place.laid.any() else 0.0,
        difference=_difference(before, tones, place.room),
    )


def best(candidates: list[Painted], min_contrast: float) -> int | None:
    """Return the index of the visible candidate that differs most from the background; None if none is visible.

    The criterion is DefectFill's (CVPR 2025).
    """
    visible_ones = [number for number, candidate in enumerate(candidates) if candidate.is_seen(min_contrast)]
    return max(visible_ones, key=lambda number: candidates[number].difference, default=None)


def _tint(before: Floats, after: Floats, room: Bools) -> Floats:
    """Return the smooth part of the model's error in tones, [h, w, c].

    It is measured outside the room and interpolated inside the room.
    """
    outside = ~room
    if not outside.any():
        return np.zeros_like(before)
    weight = cv2.blur(outside.astype(np.float32), (9, 9))[:, :, None]
    error = cv2.blur((after - before) * outside[:, :, None], (9, 9)).reshape(before.shape)
    smooth = (error / np.maximum(weight, 1e-3)).astype(np.float32)
    return np.asarray(membrane(smooth, outside), np.float32)


def _hysteresis(likely: Bools, sure: Bools) -> Bools:
    """Return the connected parts of ``likely`` [h, w] that contain a pixel of ``sure`` [h, w] (Canny 1986).

    Gaps of one pixel in ``likely`` are closed first.
    """
    closed = cv2.morphologyEx(likely.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(closed, connectivity=8)
    chosen = np.unique(parts[sure])
    return np.asarray(np.isin(parts, chosen[chosen > 0]))


def _solid(mask: Bools) -> Bools:
    """Return the mask with its holes filled and its specks removed."""
    filled = np.asarray(ndimage.binary_fill_holes(mask))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(filled.astype(np.uint8), connectivity=8)
    if count <= 1:
        return filled
    areas = stats[:, cv2.CC_STAT_AREA]
    least = max(_SPECK_PX, _SPECK_SHARE * float(areas[1:].max()))
    keep = np.flatnonzero(areas >= least)
    return np.asarray(np.isin(parts, keep[keep > 0]))


def _difference(before: Floats, after: Floats, room: Bools) -> float:
    """Return the root mean square difference in the room in tones, as the mean over three scales.

    The three scales make both blobs and textures count.
    """
    total = 0.0
    change = np.where(room[:, :, None], after - before, 0).astype(np.float32)
    share = float(room.mean())
    for scale in (1, 2, 4):
        coarse = cv2.blur(change, (scale, scale)) if scale > 1 else change
        total += float(np.sqrt(np.square(coarse).mean() / max(share, 1e-6)))
    return total / 3
