"""Hard negatives: background pixels that could be mistaken for the concept because they have its tones.

A model that detects platelets must be trained on platelets next to cells with the same stain. Otherwise it mistakes the
cells for platelets. Some instances are therefore placed near such lookalikes (hard negatives, Sung and Poggio 1998).
Lookalikes are never drawn into an image, because nothing outside a mask may change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.geometry import Box
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.composite.reduced_scale import reduced_shape
from datagen.synthesis.intensity import Bools, Floats, channels_as, is_two_level, to_tones

#: Share of the places drawn that are near a lookalike, in addition to those that are near one by chance.
BESIDE_SHARE = 1 / 3
#: A tone is alike if it is within this many standard deviations of the concept's tones.
_ALIKE = 2.5
#: If more than this share of a picture is alike, tones do not distinguish the concept, and no place counts as near.
_MAX_SHARE = 0.3
#: Minimum standard deviation of tones: a camera's noise on a single tone.
_MIN_DEVIATION = 4.0
#: A place is near a lookalike if it is within this distance, in lengths of the concept.
_REACH = 1.0
#: Longest side, in pixels, of the reduced picture in which lookalikes are counted.
COUNTED_PX = 256
#: A part has about the concept's size if the ratio of the areas is at most this, either way.
_SIZE_RANGE = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The tones of a concept (``own``) and of its background (``around``), and the concept's size.

    Tones are given by their mean [c] and inverse covariance [c, c]. ``length`` is the median of the longer side of the
    boxes in pixels. ``area`` is the median of the masks' areas in square pixels.
    """

    own: Floats
    own_precision: Floats
    around: Floats
    around_precision: Floats
    length: float
    area: float


def learn_look(exemplars: Sequence[Exemplar]) -> Look | None:
    """Return the look of one label's exemplars; None if most of them lie in two-level pictures."""
    if sum(is_two_level(e.patch[~e.mask]) for e in exemplars) > len(exemplars) / 2:
        return None
    channels = min(e.patch.shape[2] for e in exemplars)
    own, own_precision = _spread([channels_as(e.patch, channels)[e.mask & (e.opacity >= 1)] for e in exemplars])
    around, around_precision = _spread([channels_as(e.clean, channels)[e.mask] for e in exemplars])
    length = float(np.median([max(e.box.width, e.box.height) for e in exemplars]))
    return Look(
        own=own,
        own_precision=own_precision,
        around=around,
        around_precision=around_precision,
        length=length,
        area=float(np.median([max(int(e.mask.sum()), 1) for e in exemplars])),
    )


def near_lookalikes(look: Look, picture: npt.NDArray[Any]) -> Bools:
    """Return which pixels of the reduced picture (``reduced_scale``) are near a lookalike of the concept, [h, w]."""
    alike = _alike(look, picture, reduced_shape(*picture.shape[:2]))
    rows, columns = alike.shape
    if not 0 < float(alike.mean()) <= _MAX_SHARE:
        return np.zeros((rows, columns), bool)
    reach = max(1, round(_REACH * look.length * columns / picture.shape[1]))
    distance = cv2.distanceTransform(1 - alike, cv2.DIST_L2, 3)
    return np.asarray(distance <= reach)


def count_lookalikes(look: Look, picture: npt.NDArray[Any], known: Sequence[Box] = ()) -> int:
    """Return how many parts of a picture have the tones and about the size of the concept.

    Args:
        look: the concept's look.
        picture: the picture.
        known: boxes in pixels; parts inside them are not counted.
    """
    height, width = picture.shape[:2]
    shrink = min(1.0, COUNTED_PX / max(height, width))
    alike = _alike(look, picture, (max(1, round(height * shrink)), max(1, round(width * shrink))))
    for box in known:
        top, left = (max(0, int(side * shrink) - 1) for side in (box.y, box.x))
        alike[top : int(box.bottom * shrink) + 2, left : int(box.right * shrink) + 2] = 0
    _, _, stats, _ = cv2.connectedComponentsWithStats(alike, connectivity=8)
    sizes = stats[1:, cv2.CC_STAT_AREA] / (look.area * shrink**2)
    return int(np.count_nonzero((sizes >= 1 / _SIZE_RANGE) & (sizes <= _SIZE_RANGE)))


def _alike(look: Look, picture: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return which pixels of the picture, reduced to ``shape``, have the concept's tones: 1 for these, else 0."""
    small = cv2.resize(picture, shape[::-1], interpolation=cv2.INTER_AREA)
    tones = channels_as(to_tones(small), len(look.own))
    own, around = (
        np.einsum("ijc,cd,ijd->ij", offset, precision, offset)
        for offset, precision in (
            (tones - look.own, look.own_precision),
            (tones - look.around, look.around_precision),
        )
    )
    alike = ((own < _ALIKE**2) & (own < around)).astype(np.uint8)
    # remove single pixels; the even kernel is anchored at its opposite end in the dilation
    kernel = np.ones((2, 2), np.uint8)
    return np.asarray(cv2.dilate(cv2.erode(alike, kernel), kernel, anchor=(0, 0)), np.uint8)


def places(area: Bools, near: Bools | None) -> npt.NDArray[np.uint16]:
    """Return the flat indices of an area's pixels. Those near a lookalike are repeated.

    The repetitions are BESIDE_SHARE of the result. ``area`` and ``near`` are [h, w]; ``near`` is None without
    lookalikes.
    """
    everywhere = area.ravel().nonzero()[0].astype(np.uint16)
    if near is None or not (area & near).any():
        return everywhere
    near_lookalike = (area & near).ravel().nonzero()[0].astype(np.uint16)
    repeated = BESIDE_SHARE / (1 - BESIDE_SHARE) * len(everywhere)
    return np.concatenate([everywhere, np.resize(near_lookalike, round(repeated))])


def _spread(tones: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return the mean [c] and the inverse covariance [c, c] of the exemplars' tones.

    ``tones`` holds an array [n, c] for each exemplar. At most a few hundred pixels of each are used, so that a large
    exemplar has no more weight.
    """
    sampled = np.concatenate([values[:: max(1, len(values) // 200)] for values in tones if len(values)])
    mean = sampled.mean(axis=0)
    centred = (sampled - mean).astype(np.float64)
    covariance = centred.T @ centred / max(len(centred) - 1, 1) + _MIN_DEVIATION**2 * np.eye(len(mean))
    # rounded, so that the last bits of a machine's linear algebra do not reach the choice of a place
    return mean.astype(np.float32), np.round(np.linalg.inv(covariance), 7).astype(np.float32)
