"""Measurements of an instance in its picture, by any engine: how it differs from what surrounds it.

They describe what a person sees and what no draw records, such as a seam. ``learning.critic`` compares them with
verdicts. Every measurement is a finite number; they are computed from the picture and its mask alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import Bools, Floats, plain, to_tones
from datagen.synthesis.learnable import LearnableDraw

#: What is measured, in the order of the measurements.
CROP_FEATURES = (
    LearnableDraw(name="seen_size", words="size in the picture", scale="log", spread=0.5),
    LearnableDraw(name="seen_contrast", words="contrast to the ring round it", scale="log", spread=0.7),
    LearnableDraw(name="seen_difference", words="lightness compared with the ring round it", spread=20.0),
    LearnableDraw(name="seen_lightness", words="lightness of the ring round it", spread=40.0),
    LearnableDraw(name="seen_seam", words="steepness of its seam", scale="log", spread=0.5),
    LearnableDraw(name="seen_sharpness", words="sharpness compared with the ring round it", scale="log", spread=0.5),
    LearnableDraw(name="seen_noise", words="grain compared with the ring round it", scale="log", spread=0.5),
    LearnableDraw(name="x", words="place from left to right", spread=0.25),
    LearnableDraw(name="y", words="place from top to bottom", spread=0.25),
)
#: Width of the ring round an instance, as a share of its side, and its limits in pixels.
_RING, _NARROWEST_PX, _WIDEST_PX = 0.35, 3, 24
#: Longest side of the window that is measured, in pixels; larger windows are reduced to it.
_LONGEST_PX = 256
#: Smallest tone, slope or deviation that is told from none; it avoids divisions by zero.
_LEAST = 0.25


def crop_features(image: Picture, mask: Mask, boxes: Sequence[Box]) -> tuple[Mapping[str, float], ...]:
    """Return the measurements of each instance of a sample; an instance without a ring has those that exist.

    Args:
        image: the sample's pixels.
        mask: [h, w], i + 1 inside instance i.
        boxes: the tight box of each instance, in whole pixels.
    """
    return tuple(_measured(image, mask, number, box) for number, box in enumerate(boxes, start=1))


def _measured(image: Picture, mask: Mask, number: int, box: Box) -> Mapping[str, float]:
    left, top, width, height = round(box.x), round(box.y), round(box.width), round(box.height)
    own = mask[top : top + height, left : left + width] == number
    if not own.any():
        return {}
    rows, columns = mask.shape
    ys, xs = own.nonzero()
    side = float(np.sqrt(len(ys)))
    extent = int(np.clip(round(_RING * side), _NARROWEST_PX, _WIDEST_PX))
    window = np.s_[
        max(top - extent - 1, 0) : top + height + extent + 1, max(left - extent - 1, 0) : left + width + extent + 1
    ]
    grey, labels = plain(to_tones(image[window])), mask[window]
    shrink = _LONGEST_PX / max(labels.shape)
    if shrink < 1:
        size = (max(1, round(labels.shape[1] * shrink)), max(1, round(labels.shape[0] * shrink)))
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
        labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
        extent = max(_NARROWEST_PX, round(extent * shrink))
    inside = labels == number
    figures = {
        "seen_size": side / min(rows, columns),
        "x": (left + float(xs.mean()) + 0.5) / columns,
        "y": (top + float(ys.mean()) + 0.5) / rows,
    }
    ring = _grown(inside, extent) & (labels == 0)
    if inside.any() and ring.any():
        figures |= _compared(grey, inside, ring)
    return {name: round(float(value), 4) for name, value in figures.items()}


def _compared(grey: Floats, inside: Bools, ring: Bools) -> dict[str, float]:
    """Return the measurements that compare an instance with its ring; ``grey`` [h, w] are tones."""
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 1.5)
    slope = cv2.magnitude(*(cv2.Sobel(grey, cv2.CV_32F, *order, ksize=3) / 8 for order in ((1, 0), (0, 1))))
    seam = _grown(inside, 1) & ~_shrunk(inside, 1)
    core = _shrunk(inside, 2)
    core = core if core.any() else inside
    clear = ring & ~_grown(inside, 1)
    clear = clear if clear.any() else ring
    difference = float(grey[inside].mean()) - float(grey[ring].mean())
    strongest = float(np.quantile(np.abs(grey[inside] - np.median(grey[ring])), 0.9))
    return {
        "seen_contrast": (strongest + _LEAST) / (float(grey[ring].std()) + 1.0),
        "seen_difference": difference,
        "seen_lightness": float(grey[ring].mean()),
        "seen_seam": (float(slope[seam].mean()) + _LEAST) / (float(slope[clear].mean()) + _LEAST),
        "seen_sharpness": (float(slope[core].mean()) + _LEAST) / (float(slope[clear].mean()) + _LEAST),
        "seen_noise": (_deviation(detail[core]) + _LEAST) / (_deviation(detail[clear]) + _LEAST),
    }


def _deviation(values: Floats) -> float:
    """Return a robust standard deviation of values round 0."""
    return 1.4826 * float(np.median(np.abs(values)))


def _grown(area: Bools, pixels: int) -> Bools:
    return np.asarray(cv2.dilate(area.view(np.uint8), _disc(pixels)), bool)


def _shrunk(area: Bools, pixels: int) -> Bools:
    return np.asarray(cv2.erode(area.view(np.uint8), _disc(pixels), borderValue=0), bool)


def _disc(pixels: int) -> npt.NDArray[np.uint8]:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1)).astype(np.uint8)
