"""What paint really changed: the mask measured from |painted − background|, and which of several candidates is kept.

A model is asked to paint inside a mask and does as it likes: it leaves part of it plain, or fades out before the edge.
The label has to follow the pixels, so the mask is measured, not believed. The model's own error (its autoencoder
reproduces even what it should leave alone only nearly) is read off where it should have changed nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from datagen.synthesis.composite.appearance.visibility import visible
from datagen.synthesis.composite.extraction.background_inpainting import membrane
from datagen.synthesis.diffusion.models.crops import Place
from datagen.synthesis.intensity import Bools, Floats

#: A pixel surely changed by this many times the model's own error, and belongs to such a one from the second on.
_SURE, _LIKELY = 2.0, 1.2
#: … in tones: no less (what no eye sees is no change), and no more (what any eye sees is one).
_SURE_RANGE, _LIKELY_RANGE = (6.0, 24.0), (3.0, 14.0)
#: Parts smaller than this share of the largest, or than so many pixels, are specks.
_SPECK_SHARE, _SPECK_PX = 0.05, 4
#: A concept that covers less than this share of the outline it was meant for was not painted.
_LEAST_COVER = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Painted:
    """One candidate: its tones [h, w, c] in the window, the mask [h, w] of what changed, and what speaks for it.

    ``contrast`` is the contrast-to-noise ratio of the change, ``cover`` the changed share of the outline it was meant
    for, ``difference`` how unlike the background it is inside the room: the more, the better.
    """

    tones: Floats
    mask: Bools
    contrast: float
    cover: float
    difference: float

    def is_seen(self, least_contrast: float) -> bool:
        """Whether a person would find it."""
        return bool(self.mask.any()) and self.cover >= _LEAST_COVER and self.contrast >= least_contrast


def measure(before: Floats, after: Floats, place: Place) -> Painted:
    """What painting changed at a place.

    Args:
        before: the background's tones in the window, [h, w, c].
        after: the painted tones there, of the same shape.
        place: the window's room and outline.
    """
    # what the whole window was shifted by (an autoencoder's tint) is no paint: taken off through the room's rim
    tones = np.clip(after - _tint(before, after, place.room), 0, 255).astype(np.float32)
    change = np.sqrt(np.square(tones - before).mean(axis=2))
    own_error = float(np.quantile(change[~place.room], 0.95)) if (~place.room).any() else 0.0
    calm = cv2.GaussianBlur(change, (3, 3), 0.7)
    sure, likely = (
        float(np.clip(times * own_error, *within)) for times, within in ((_SURE, _SURE_RANGE), (_LIKELY, _LIKELY_RANGE))
    )
    # sure by what is left of a change when grain is blurred away; likely by the pixel itself, or edges would grow
    mask = _solid(_hysteresis((change > likely) & place.room, (calm > sure) & place.room)) & place.room
    return Painted(
        tones=tones,
        mask=mask,
        contrast=visible(before, tones, mask)[1] if mask.any() else 0.0,
        cover=float(mask[place.laid].mean()) if place.laid.any() else 0.0,
        difference=_difference(before, tones, place.room),
    )


def best(candidates: list[Painted], least_contrast: float) -> int | None:
    """Of the candidates that can be seen, the one least like the background inside the room (DefectFill, CVPR 2025).

    None where none can be seen.
    """
    seen = [number for number, one in enumerate(candidates) if one.is_seen(least_contrast)]
    return max(seen, key=lambda number: candidates[number].difference, default=None)


def _tint(before: Floats, after: Floats, room: Bools) -> Floats:
    """The smooth part of the error outside the room, carried on into it, [h, w, c]."""
    outside = ~room
    if not outside.any():
        return np.zeros_like(before)
    weight = cv2.blur(outside.astype(np.float32), (9, 9))[:, :, None]
    error = cv2.blur((after - before) * outside[:, :, None], (9, 9)).reshape(before.shape)
    smooth = (error / np.maximum(weight, 1e-3)).astype(np.float32)
    return np.asarray(membrane(smooth, outside), np.float32)


def _hysteresis(likely: Bools, sure: Bools) -> Bools:
    """The parts of ``likely``, its gaps of a pixel closed, that hang together with a sure pixel (Canny 1986)."""
    closed = cv2.morphologyEx(likely.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    _, parts = cv2.connectedComponents(closed, connectivity=8)
    chosen = np.unique(parts[sure])
    return np.asarray(np.isin(parts, chosen[chosen > 0]))


def _solid(mask: Bools) -> Bools:
    """Without holes and specks."""
    filled = np.asarray(ndimage.binary_fill_holes(mask))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(filled.astype(np.uint8), connectivity=8)
    if count <= 1:
        return filled
    areas = stats[:, cv2.CC_STAT_AREA]
    least = max(_SPECK_PX, _SPECK_SHARE * float(areas[1:].max()))
    keep = np.flatnonzero(areas >= least)
    return np.asarray(np.isin(parts, keep[keep > 0]))


def _difference(before: Floats, after: Floats, room: Bools) -> float:
    """Root mean square difference inside the room over three scales: a blob and a texture both count."""
    total = 0.0
    change = np.where(room[:, :, None], after - before, 0).astype(np.float32)
    share = float(room.mean())
    for scale in (1, 2, 4):
        coarse = cv2.blur(change, (scale, scale)) if scale > 1 else change
        total += float(np.sqrt(np.square(coarse).mean() / max(share, 1e-6)))
    return total / 3
