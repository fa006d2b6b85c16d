"""Training images of a judge (a trained segmenter, see ``judging``), and varied crops of them.

A judge sees photos at one scale, which depends on the given concepts. A crop is large enough for the largest of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.synthesis.intensity import channels_as, to_tones

#: Minimum width of a crop, in widths of the largest concept.
_MARGIN = 1.25
#: Largest standard deviation of the logarithm of a crop's scale.
_ZOOM_SD = 0.15


@dataclass(frozen=True, slots=True)
class Labelled:
    """An image [h, w] or [h, w, 3] and its mask [h, w], which is true on the concept.

    ``pasted`` has, for each concept in the image, its box and the key of its exemplar. It is empty if no exemplar was
    pasted.
    """

    image: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_]
    pasted: tuple[tuple[Box, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """Training images, and the share of the crops that come from them."""

    images: Sequence[Labelled]
    share: float


@dataclass(frozen=True, slots=True)
class View:
    """How a judge sees photos: resized by ``scale``, in square crops of ``crop_px`` pixels of the resized photo."""

    scale: float
    crop_px: int


def fitting_view(sizes: Sequence[float], *, crop_px: tuple[int, int], usual_px: float, max_scale: float) -> View:
    """Return the view for concepts whose longest sides are ``sizes``, in pixels.

    Small concepts are enlarged until the median one has ``usual_px`` pixels, at most by the factor ``max_scale``. The
    side of a crop is between the two values of ``crop_px``, and large enough for the largest concept. If the larger
    value is too small for it, the photo is reduced.
    """
    largest = _MARGIN * max(sizes)
    scale = min(max(1.0, usual_px / float(np.median(sizes))), max_scale)
    scale = min(scale, crop_px[1] / largest)
    side = -(-round(largest * scale) // 16) * 16
    return View(scale=scale, crop_px=min(max(side, crop_px[0]), crop_px[1]))


def resized(tones: npt.NDArray[Any], scale: float) -> npt.NDArray[Any]:
    """Return an image [h, w] or [h, w, c] resized by ``scale``. If it is reduced, pixels are averaged."""
    if scale == 1:
        return tones
    size = tuple(max(1, round(side * scale)) for side in tones.shape[1::-1])
    return np.asarray(cv2.resize(tones, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR))


class Crops:
    """Draws crops of sources, varied by flips, quarter turns, scale, contrast and brightness."""

    def __init__(self, sources: Sequence[Source], view: View, chance: np.random.Generator) -> None:
        sources = [source for source in sources if source.images]
        self._shares = np.cumsum([source.share for source in sources]) / sum(source.share for source in sources)
        self._images = [[_Prepared.of(image, view.scale) for image in source.images] for source in sources]
        self._side, self._chance = view.crop_px, chance

    def draw(self, count: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Return ``count`` crops: tones [count, side, side, 3], 0 to 255, and masks [count, side, side], 0 to 1.

        A mask has values between 0 and 1 only at edges. Every second crop is centred near a pixel of the concept; the
        others have random positions.
        """
        crops = []
        for number in range(count):
            source = self._images[int(np.searchsorted(self._shares, self._chance.random(), side="right"))]
            crops.append(_crop(source, self._side, self._chance, centred=number % 2 == 0))
        return np.stack([tones for tones, _ in crops]), np.stack([mask for _, mask in crops])


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A resized image with its mask, and the flat indices of the mask's pixels."""

    image: npt.NDArray[Any]
    mask: npt.NDArray[np.float32]
    positive: npt.NDArray[np.int32]

    @classmethod
    def of(cls, labelled: Labelled, scale: float) -> _Prepared:
        # a concept that is thinner than a pixel of the smaller photo keeps its share of the pixel
        mask = resized(labelled.mask.astype(np.float32), scale)
        positive = np.flatnonzero(mask >= min(0.5, float(mask.max()) or 1.0)).astype(np.int32)
        return cls(resized(labelled.image, scale), mask, positive)


def _crop(
    images: Sequence[_Prepared], crop_px: int, chance: np.random.Generator, *, centred: bool
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    for _ in range(20):
        chosen = images[int(chance.integers(len(images)))]
        if not centred or len(chosen.positive):
            break
    height, width = chosen.mask.shape
    side = crop_px / float(np.exp(chance.normal() * _ZOOM_SD))
    if centred and len(chosen.positive):
        near = divmod(int(chosen.positive[int(chance.integers(len(chosen.positive)))]), width)
        y, x = (np.array(near) + chance.uniform(-0.35, 0.35, 2) * side).tolist()
    else:
        y, x = chance.uniform(0, height), chance.uniform(0, width)
    # turn and mirror by whole quarters about the crop's middle, scale, one resampling
    half, zoom = crop_px / 2, crop_px / side
    quarter, mirror = int(chance.integers(4)), chance.random() < 0.5
    cos, sin = (1, 0, -1, 0)[quarter] * zoom, (0, 1, 0, -1)[quarter] * zoom
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    # a crop stays inside the photo as far as the photo is large enough; a narrow one is centred and mirrored at its rim
    y = float(np.clip(y, min(side / 2, height / 2), max(height - side / 2, height / 2)))
    x = float(np.clip(x, min(side / 2, width / 2), max(width - side / 2, width / 2)))
    matrix = np.hstack([linear, np.array([[half], [half]]) - linear @ np.array([[x], [y]])])
    # only the pixels it needs are turned into floats
    reach = int(side) + 2
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    cut = (slice(top, int(y) + reach), slice(left, int(x) + reach))
    matrix[:, 2] += linear @ np.array([left, top])
    size = (crop_px, crop_px)
    tones = channels_as(to_tones(chosen.image[cut]), 3)
    # the mask is mirrored with the pixels: else a mirrored concept would be called plain
    how = {"flags": cv2.INTER_LINEAR, "borderMode": cv2.BORDER_REFLECT_101}
    tones = cv2.warpAffine(tones, matrix, size, **how)
    mask = cv2.warpAffine(chosen.mask[cut], matrix, size, **how)
    contrast, brightness = float(np.exp(chance.normal() * 0.15)), float(chance.normal() * 10)
    tones = np.clip((tones - 128) * contrast + 128 + brightness, 0, 255)
    tones += chance.normal(0, 2, tones.shape)
    return tones.astype(np.float32), mask
