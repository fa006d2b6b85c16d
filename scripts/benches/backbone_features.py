"""Features of a pretrained network for the critic, as ``scripts/bench critic --backbone`` compares them.

The network is EfficientNet-Lite0 (extra ``evaluation``). It sees a square crop round each instance, twice as large as
its box and resized to ``_SIDE`` pixels. Its features at steps of 8, 16 and 32 pixels are averaged over the crop, and
reduced to their first principal components.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from benches.efficientnet_lite import EfficientNetLite0, prepared
from datagen.domain.geometry import Box
from datagen.synthesis.engine import Picture
from datagen.synthesis.intensity import to_tones
from datagen.synthesis.learnable import LearnableDraw

#: Side of a crop as the network sees it, and of a crop in multiples of the longer side of the instance's box.
_SIDE, _CONTEXT = 96, 2.0
#: Index of the first of the network's levels that is used, that with a step of 8 pixels.
_FIRST_LEVEL = 2

Figures = npt.NDArray[np.float64]


class Backbone:
    """The network."""

    def __init__(self) -> None:
        """Load the weights.

        Raises:
            WeightsMissingError: the package with the weights is not installed.
        """
        self._network = EfficientNetLite0.pretrained().eval()

    def features(self, image: Picture, boxes: Sequence[Box]) -> Figures:
        """Return the features [n, d] of the instances of a sample."""
        crops = np.stack([_crop(to_tones(image), box) for box in boxes])
        with torch.inference_mode():
            levels = self._network.features(prepared(torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()))
        means = [level.mean(dim=(2, 3)).numpy() for level in levels[_FIRST_LEVEL:]]
        return np.concatenate(means, axis=1).astype(np.float64)


class Components:
    """The first principal components of features, in units of their standard deviation."""

    def __init__(self, features: Figures, count: int) -> None:
        """Fit the components to ``features`` [n, d]."""
        self._centre = features.mean(axis=0)
        _, scales, axes = np.linalg.svd(features - self._centre, full_matrices=False)
        self._axes = axes[:count] / np.maximum(scales[:count, None], 1e-9) * len(features) ** 0.5
        self.draws = tuple(
            LearnableDraw(name=f"net_{number}", words=f"component {number} of the network's features")
            for number in range(count)
        )

    def of(self, features: Figures) -> list[dict[str, float]]:
        """Return the components of each of ``features`` [n, d], by the names of ``draws``."""
        values = (features - self._centre) @ self._axes.T
        return [{draw.name: float(value) for draw, value in zip(self.draws, row, strict=True)} for row in values]


def _crop(tones: npt.NDArray[np.float32], box: Box) -> npt.NDArray[np.float32]:
    """Return the crop [_SIDE, _SIDE, 3] round a box; the picture is continued at its edge."""
    side = max(round(_CONTEXT * max(box.width, box.height)), 8)
    left, top = round(box.x + box.width / 2 - side / 2), round(box.y + box.height / 2 - side / 2)
    rows = np.clip(np.arange(top, top + side), 0, tones.shape[0] - 1)
    columns = np.clip(np.arange(left, left + side), 0, tones.shape[1] - 1)
    crop = tones[np.ix_(rows, columns)]
    crop = np.repeat(crop[..., None], 3, axis=2) if crop.ndim == 2 else np.repeat(crop, 3 // crop.shape[2], axis=2)
    return np.asarray(cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.float32)
