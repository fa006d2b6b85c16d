"""How a concept is turned, mirrored and scaled before it is laid down, and the cut-out so changed."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from datagen.synthesis.exemplars import Exemplar
from datagen.synthesis.tones import Bools, Floats

#: Pixels of surroundings kept round a posed mask: what a blend needs to meet the background.
RIM_PX = 3
#: Standard deviation, in degrees, of the turn given to a concept at direction spread 1.
_TURN_DEGREES = 8.0
#: Standard deviation of the logarithm of the size at size spread 1.
_SIZE_LOG = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Clockwise turn in degrees, scale, and whether mirrored left to right before turning."""

    degrees: float
    scale: float
    mirrored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Posed:
    """A cut-out in its pose: ``patch`` and ``clean`` [h, w, c], ``mask`` [h, w] with a rim of RIM_PX false pixels."""

    patch: Floats
    clean: Floats
    mask: Bools


def draw_pose(chance: np.random.Generator, *, size_factor: float, size_spread: float, direction_spread: float) -> Pose:
    """A pose at random, within the spreads."""
    degrees = float(np.clip(chance.normal(), -2.5, 2.5)) * _TURN_DEGREES * direction_spread
    scale = size_factor * float(np.exp(np.clip(chance.normal(), -2.5, 2.5) * _SIZE_LOG * size_spread))
    return Pose(degrees=degrees, scale=scale, mirrored=bool(chance.random() < 0.5))


def apply_pose(exemplar: Exemplar, pose: Pose) -> Posed | None:
    """The exemplar's cut-out in that pose; None where nothing of the mask is left at that size."""
    ys, xs = np.nonzero(exemplar.mask)
    centre = np.array([xs.mean(), ys.mean()])
    angle = np.deg2rad(pose.degrees)
    mirror = np.diag([-1.0 if pose.mirrored else 1.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = pose.scale * turn @ mirror
    corners = (linear @ (np.stack([xs, ys]) - centre[:, None])).T
    low, high = np.floor(corners.min(axis=0)) - RIM_PX - 1, np.ceil(corners.max(axis=0)) + RIM_PX + 2
    width, height = (int(v) for v in high - low)
    # a whole shift: mirrored or turned by a quarter, pixels land on pixels and are not resampled
    matrix = np.hstack([linear, np.rint(-linear @ centre - low)[:, None]])
    mask = cv2.warpAffine(exemplar.mask.astype(np.float32), matrix, (width, height), flags=cv2.INTER_LINEAR) >= 0.5
    if not mask.any():
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = max(0, int(rows[0]) - RIM_PX), max(0, int(columns[0]) - RIM_PX)
    cut = (slice(top, int(rows[-1]) + RIM_PX + 1), slice(left, int(columns[-1]) + RIM_PX + 1))

    def warped(tones: Floats) -> Floats:
        turned: Floats = cv2.warpAffine(
            tones, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return turned.reshape(height, width, -1)[cut]

    return Posed(patch=warped(exemplar.patch), clean=warped(exemplar.clean), mask=mask[cut])


def fade(mask: Bools, softness: float) -> Floats:
    """How much each pixel belongs to the concept, [h, w, 1]: rising over ``softness`` pixels inwards from the edge."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 3)
    return np.clip(depth / (softness + 0.5), 0, 1).astype(np.float32)[:, :, None]
