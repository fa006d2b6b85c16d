"""What on a background could be mistaken for the concept: what has its tones.

A model that is to find platelets must see them beside the cells that are stained as they are, or it takes the cells for
platelets. So some samples are laid near lookalikes. (Hard negatives, as in Sung and Poggio 1998, brought about by
placement, since nothing may be changed outside the mask.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.composite.placement.area_model import seen_shape
from datagen.synthesis.intensity import Bools, Floats, channels_as, is_two_level, to_tones

#: Share of the places drawn that are near a lookalike, beyond those that are so by chance.
BESIDE_SHARE = 1 / 3
#: A tone within this many deviations of the concept's could be its own.
_ALIKE = 2.5
#: Where more than this share of a picture looks like the concept, tones tell nothing.
_MOST_SHARE = 0.3
#: A deviation of tones is at least this: what a camera makes of one tone.
_LEAST_DEVIATION = 4.0
#: How near is near, in lengths of the concept.
_REACH = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The tones of a concept, and of what it lies on: means [c] and inverse covariances [c, c]; its length, pixels."""

    own: Floats
    own_precision: Floats
    around: Floats
    around_precision: Floats
    length: float


def learn_look(exemplars: Sequence[Exemplar]) -> Look | None:
    """The look of one label's exemplars; None where tones cannot tell it from what it lies on."""
    if sum(is_two_level(e.patch[~e.mask]) for e in exemplars) > len(exemplars) / 2:
        return None
    channels = min(e.patch.shape[2] for e in exemplars)
    own, own_precision = _spread([channels_as(e.patch, channels)[e.mask & (e.opacity >= 1)] for e in exemplars])
    around, around_precision = _spread([channels_as(e.clean, channels)[e.mask] for e in exemplars])
    length = float(np.median([max(e.box.width, e.box.height) for e in exemplars]))
    return Look(own=own, own_precision=own_precision, around=around, around_precision=around_precision, length=length)


def near_lookalikes(look: Look, picture: npt.NDArray[Any]) -> Bools:
    """Which pixels of the reduced picture (``area.seen_shape``) are near something that looks like the concept."""
    height, width = picture.shape[:2]
    rows, columns = seen_shape(height, width)
    small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA)
    tones = channels_as(to_tones(small), len(look.own))
    own, around = (
        np.einsum("ijc,cd,ijd->ij", off, precision, off)
        for off, precision in (
            (tones - look.own, look.own_precision),
            (tones - look.around, look.around_precision),
        )
    )
    alike = ((own < _ALIKE**2) & (own < around)).astype(np.uint8)
    # one pixel alone is a speck; an even kernel is anchored at its other end on the way back
    kernel = np.ones((2, 2), np.uint8)
    alike = cv2.dilate(cv2.erode(alike, kernel), kernel, anchor=(0, 0))
    if not 0 < float(alike.mean()) <= _MOST_SHARE:
        return np.zeros((rows, columns), bool)
    reach = max(1, round(_REACH * look.length * columns / width))
    away = cv2.distanceTransform(1 - alike, cv2.DIST_L2, 3)
    return np.asarray(away <= reach)


def places(area: Bools, near: Bools | None) -> npt.NDArray[np.uint16]:
    """The places of an area, by their number in it; those near a lookalike come again: BESIDE_SHARE more of them."""
    everywhere = area.ravel().nonzero()[0].astype(np.uint16)
    if near is None or not (area & near).any():
        return everywhere
    run_periodically = (area & near).ravel().nonzero()[0].astype(np.uint16)
    wanted = BESIDE_SHARE / (1 - BESIDE_SHARE) * len(everywhere)
    return np.concatenate([everywhere, np.resize(run_periodically, round(wanted))])


def _spread(tones: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Mean [c] and inverse covariance [c, c] of tones [n, c]; a large exemplar counts hardly more than a small one."""
    some = np.concatenate([one[:: max(1, len(one) // 200)] for one in tones if len(one)])
    mean = some.mean(axis=0)
    off = (some - mean).astype(np.float64)
    covariance = off.T @ off / max(len(off) - 1, 1) + _LEAST_DEVIATION**2 * np.eye(len(mean))
    # rounded, so that the last bits of a machine's linear algebra do not reach the choice of a place
    return mean.astype(np.float32), np.round(np.linalg.inv(covariance), 7).astype(np.float32)
