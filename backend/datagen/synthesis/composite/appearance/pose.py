"""How a concept is turned, mirrored and scaled before it is laid down, learned from how the concepts lie.

The prior looks at two directions: that of the surroundings (brush marks, traces) and that of the things themselves. One
direction shared by all is kept; two at right angles allow quarter turns; none at all allows any turn. Sizes and
proportions vary by the kernel-density bandwidth of those seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.extraction.background_inpainting import grain_direction
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.intensity import Bools, Floats

#: Pixels of surroundings kept round a posed mask: what the context match compares and a blend needs.
RIM_PX = 5
#: Doubled-angle resultant above which directions count as shared; a uniform sample of 8 exceeds .6 in 5 % of cases.
_SHARED = 0.6
#: A thing at least this much longer than wide has a direction.
_ELONGATED = 1.4
#: Smallest and largest standard deviation of a turn, in degrees, where a direction is kept.
_TURN_RANGE = (6.0, 25.0)
#: Standard deviation of the logarithm of the size where a single example says nothing about sizes.
_SIZE_LOG_ALONE = 0.15
_SIZE_LOG_RANGE = (0.05, 0.25)
#: The same for the proportions: the logarithm of longer over wider.
_STRETCH_LOG_ALONE = 0.08
_STRETCH_LOG_RANGE = (0.03, 0.15)
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class PosePrior:
    """How poses are drawn: ``mode`` is "kept", "quarter turns" or "any turn"; ``degrees`` the turn's deviation.

    ``size_log`` and ``stretch_log`` are the deviations of the logarithms of size and proportions.
    """

    mode: str
    degrees: float
    size_log: float
    stretch_log: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Clockwise turn in degrees, scale, and whether mirrored left to right before turning.

    ``stretch`` is how much wider than high the photo is made before that, its area kept.
    """

    degrees: float
    scale: float
    mirrored: bool
    stretch: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Posed:
    """A cut-out in its pose: ``patch`` and ``clean`` [h, w, c], ``mask`` [h, w] with a rim of RIM_PX false pixels.

    ``opacity`` [h, w, 1] in 0..1, or 1 where it is that throughout.
    """

    patch: Floats
    clean: Floats
    mask: Bools
    opacity: Floats | float


def learn_pose(exemplars: Sequence[Exemplar]) -> PosePrior:
    """The prior of one label's exemplars."""
    sizes = [0.5 * float(np.log(max(int(e.mask.sum()), 1))) for e in exemplars]
    vary = partial(
        PosePrior,
        size_log=bandwidth(sizes, _SIZE_LOG_ALONE, _SIZE_LOG_RANGE),
        stretch_log=bandwidth([_slenderness(e.mask) for e in exemplars], _STRETCH_LOG_ALONE, _STRETCH_LOG_RANGE),
    )
    around = _directions([_texture_direction(e) for e in exemplars])
    own = _directions([_axis(e.mask) for e in exemplars])
    for directions, whose in ((around, "their surroundings"), (own, "the things")):
        if len(directions) < max(2, len(exemplars) / 2):
            continue
        # the fourth-order mean names a pair of axes; each of the two must be there more than once
        axis = 0.25 * float(np.angle(np.exp(4j * directions).mean()))
        across = _off(directions, axis) > np.deg2rad(60)
        if _resultant(directions, 4) >= _SHARED and min(across.sum(), (~across).sum()) >= 2:
            return vary(
                mode="quarter turns",
                degrees=_TURN_RANGE[0],
                reason=f"the directions of {whose} lie at right angles",
            )
        if _resultant(directions, 2) >= _SHARED:
            main = 0.5 * float(np.angle(np.exp(2j * directions).mean()))
            degrees = float(np.clip(np.rad2deg(1.4826 * np.median(_off(directions, main))), *_TURN_RANGE))
            return vary(mode="kept", degrees=degrees, reason=f"{whose} share one direction, ± {degrees:.0f}°")
    return vary(mode="any turn", degrees=180.0, reason="no direction is shared")


def bandwidth(seen: Sequence[float], alone: float, within: tuple[float, float]) -> float:
    """The deviation that fills the gaps between the values seen without reaching far beyond them (Silverman's rule).

    Args:
        seen: the values, one an exemplar.
        alone: what is returned where there is but one.
        within: the smallest and largest deviation returned.
    """
    if len(seen) < 2:
        return alone
    return float(np.clip(np.std(seen, ddof=1) * len(seen) ** -0.2, *within))


def draw_pose(
    prior: PosePrior,
    chance: np.random.Generator,
    *,
    size_at: float,
    size_factor: float,
    size_spread: float,
    direction_spread: float,
) -> Pose:
    """A pose at random; a spread of 0 leaves size, or direction, side and proportions, as photographed.

    ``size_at`` in 0..1 says which size among those likely: the caller spreads it evenly.
    """
    turn, side, quarter, wider = chance.normal(), chance.random(), int(chance.integers(4)), chance.normal()
    noise = _NORMAL.inv_cdf(min(max(size_at, 0.02), 0.98))
    scale = size_factor * float(np.exp(noise * prior.size_log * size_spread))
    if direction_spread == 0:
        return Pose(degrees=0.0, scale=scale, mirrored=False)
    stretch = float(np.exp(min(max(wider, -2.0), 2.0) * prior.stretch_log))
    degrees = min(max(turn, -2.0), 2.0) * min(prior.degrees, 90.0) * direction_spread
    match prior.mode:
        case "any turn":
            # reviewers who want less of it get a turn about the photographed direction
            degrees = float(chance.uniform(-180, 180)) * min(1.0, direction_spread)
        case "quarter turns":
            # a resampled two-level picture has greys it never had: exact quarters only
            degrees = 90.0 * quarter if direction_spread >= 0.25 else 0.0
        case _:
            # upside down keeps a direction, too
            degrees += 180.0 if quarter >= 2 and direction_spread >= 0.5 else 0.0
    return Pose(degrees=degrees, scale=scale, mirrored=side < 0.5, stretch=stretch)


class Cutout:
    """An exemplar made ready for being posed many times."""

    def __init__(self, exemplar: Exemplar) -> None:
        ys, xs = np.nonzero(exemplar.mask)
        self.centre = np.array([xs.mean(), ys.mean()])
        corners = np.array([[x, y] for x in (xs.min(), xs.max()) for y in (ys.min(), ys.max())], np.float64).T
        #: the corners of the mask's box as seen from its centre [2, 4]
        self.corners = corners - self.centre[:, None]
        self.mask = exemplar.mask.astype(np.float32)
        self.mixed = bool(exemplar.opacity.min() < 1)
        self.channels = exemplar.patch.shape[2]
        behind = [exemplar.opacity[:, :, None], exemplar.clean] if self.mixed else [exemplar.clean]
        # OpenCV warps up to four channels at once; the clean ones come last, the opacity before them
        split = 2 * self.channels + self.mixed > 4
        parts = [[exemplar.thing], behind] if split else [[exemplar.thing, *behind]]
        self.layers = [np.concatenate(part, axis=2) for part in parts]


def apply_pose(cutout: Cutout, pose: Pose, *, crisp: bool = False) -> Posed | None:
    """The cut-out in that pose; None where nothing of the mask is left at that size.

    ``crisp`` takes the nearest pixel instead of a mean, and each for wholly the concept or not at all: a two-level
    picture has no tones between.
    """
    angle = np.deg2rad(pose.degrees)
    cos, sin = round(float(np.cos(angle)), 12) * pose.scale, round(float(np.sin(angle)), 12) * pose.scale
    side = -1.0 if pose.mirrored else 1.0
    wide, high = side * pose.stretch**0.5, pose.stretch**-0.5
    linear = np.array([[cos * wide, -sin * high], [sin * wide, cos * high]])
    spread = linear @ cutout.corners
    low, end = np.floor(spread.min(axis=1)) - 1, np.ceil(spread.max(axis=1)) + 2
    width, height = (int(v) for v in end - low)
    # a whole shift: mirrored or turned by a quarter, pixels land on pixels and are not resampled
    matrix = np.empty((2, 3))
    matrix[:, :2], matrix[:, 2] = linear, np.rint(-linear @ cutout.centre - low)
    whole = cv2.warpAffine(cutout.mask, matrix, (width, height), flags=cv2.INTER_LINEAR) >= 0.5
    x, y, columns, rows = cv2.boundingRect(whole.view(np.uint8))
    if not rows:
        return None
    mask = np.zeros((rows + 2 * RIM_PX, columns + 2 * RIM_PX), bool)
    mask[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX] = whole[y : y + rows, x : x + columns]
    matrix[:, 2] -= (x - RIM_PX, y - RIM_PX)
    flags = cv2.INTER_NEAREST if crisp else cv2.INTER_LINEAR
    size = mask.shape[::-1]
    turned = [
        cv2.warpAffine(layer, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).reshape(*mask.shape, -1)
        for layer in cutout.layers
    ]
    patch, clean = (turned[0][:, :, : cutout.channels], turned[-1][:, :, -cutout.channels :])
    opacity: Floats | float = turned[-1][:, :, -cutout.channels - 1, None] if cutout.mixed and not crisp else 1.0
    return Posed(patch=patch, clean=clean, mask=mask, opacity=opacity)


def fade(posed: Posed, softness: float) -> Floats:
    """How far the concept is let in, [h, w, 1]: it rises over ``softness`` pixels inwards from the mask's edge."""
    depth = cv2.distanceTransform(posed.mask.astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(np.minimum(depth / (softness + 0.5), 1), np.float32)[:, :, None]


def _slenderness(mask: Bools) -> float:
    """The logarithm of how much longer than wide a mask is."""
    if np.count_nonzero(mask) < 3:
        return 0.0
    spreads, _ = _spreads(mask)
    # rounded, so that the last bits of a machine's linear algebra do not reach the picture
    return round(0.5 * float(np.log(spreads[1] / spreads[0])), 6)


def _axis(mask: Bools) -> tuple[float, bool]:
    """The direction of a mask's longer axis, radians, and whether it is long enough to have one."""
    if np.count_nonzero(mask) < 3:
        return 0.0, False
    spreads, axes = _spreads(mask)
    return float(np.arctan2(axes[1, 1], axes[0, 1])), bool(np.sqrt(spreads[1] / spreads[0]) >= _ELONGATED)


def _spreads(mask: Bools) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The variances [2] of a mask's pixels along its shorter and its longer axis, and the axes as columns [2, 2]."""
    ys, xs = np.nonzero(mask)
    found = np.linalg.eigh(np.cov(np.stack([xs, ys])) + 1e-6 * np.eye(2))
    return found.eigenvalues, found.eigenvectors


def _texture_direction(exemplar: Exemplar) -> tuple[float, bool]:
    """The direction along which the surroundings run, radians, and whether they have one."""
    found = grain_direction(exemplar.patch, ~cv2.dilate(exemplar.mask.astype(np.uint8), np.ones((5, 5))).astype(bool))
    return (0.0, False) if found is None else (float(np.arctan2(found[1], found[0])), True)


def _directions(found: Sequence[tuple[float, bool]]) -> npt.NDArray[np.float64]:
    return np.array([angle for angle, certain in found if certain])


def _resultant(directions: npt.NDArray[np.float64], fold: int) -> float:
    return float(np.abs(np.exp(1j * fold * directions).mean()))


def _off(directions: npt.NDArray[np.float64], axis: float) -> npt.NDArray[np.float64]:
    """How far, from 0 to a quarter turn in radians, directions are off an axis."""
    return np.asarray(np.abs((directions - axis + np.pi / 2) % np.pi - np.pi / 2))
