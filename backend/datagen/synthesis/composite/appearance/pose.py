"""Rotation, mirroring and scaling of a concept before placement, with a prior learned from the examples.

Directions are measured first in the surroundings (brush marks, traces), then on the concepts themselves. The first of
the two that has a pattern decides the rotation. If most examples share one direction, it is kept. If the directions
form two groups at right angles, quarter turns are drawn. Otherwise, any rotation is drawn. Sizes and proportions vary
by the bandwidth of a kernel density estimate over the examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import cv2
import numpy as np
import numpy.typing as npt

from datagen.synthesis.composite.extraction.background_inpainting import grain_direction
from datagen.synthesis.composite.extraction.cut_sides import CutSides
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.intensity import Bools, Floats

#: Pixels of surroundings kept round a posed mask; the context match and the blends need them.
RIM_PX = 5
#: The kept surroundings of a concept at its carrier's edge, as a share of its mask's longer side; they show the edge's
#: course. At least RIM_PX are kept.
_EDGE_RIM_SHARE = 0.25
#: Smallest mean resultant length of doubled angles at which directions count as shared. Of eight uniformly random
#: directions, 5 % of the samples exceed 0.6.
_SHARED = 0.6
#: Smallest ratio of length to width of a concept that has a direction.
_ELONGATED = 1.4
#: Smallest and largest standard deviation of a rotation, in degrees, if the direction of the examples is kept.
_TURN_RANGE = (6.0, 25.0)
#: Standard deviation of the logarithm of the size: its value for a single example, and its bounds for several.
_SIZE_LOG_ALONE = 0.15
_SIZE_LOG_RANGE = (0.05, 0.25)
#: Standard deviation of the logarithm of the proportions (length over width): its value for a single example, and its
#: bounds for several.
_STRETCH_LOG_ALONE = 0.08
_STRETCH_LOG_RANGE = (0.03, 0.15)
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class PosePrior:
    """Distribution of poses: ``mode`` is "kept", "quarter turns" or "any turn".

    ``degrees`` is the standard deviation of the rotation, in degrees. ``size_log`` and ``stretch_log`` are the standard
    deviations of the logarithms of size and proportions. ``reason`` says in words why the mode was chosen.
    """

    mode: str
    degrees: float
    size_log: float
    stretch_log: float
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """One pose: clockwise rotation in degrees, scale, and whether the photo is mirrored left to right before rotation.

    ``stretch`` is a factor of width over height. It is applied before rotation and keeps the area.
    """

    degrees: float
    scale: float
    mirrored: bool
    stretch: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Posed:
    """A cut-out in its pose: ``patch`` and ``clean`` [h, w, c], and ``mask`` [h, w] with a rim of false pixels.

    The rim has RIM_PX pixels, or more for a concept at its carrier's edge. ``cropped_at_border`` may remove it.
    ``opacity`` is [h, w, 1] in 0..1, or the number 1 if every pixel is opaque. ``backdrop`` and ``beyond`` [h, w] are
    those of the concept's ``CarrierEdge``; both are None if it has none.
    """

    patch: Floats
    clean: Floats
    mask: Bools
    opacity: Floats | float
    backdrop: Bools | None = None
    beyond: Bools | None = None
    #: x and y that pose and shift map to: pixel (0, 0) of the exemplar's window lies at this pixel of the posed window
    shift: tuple[float, float] = (0.0, 0.0)


def learn_pose(exemplars: Sequence[Exemplar]) -> PosePrior:
    """Fit the pose prior to one label's exemplars."""
    sizes = [0.5 * float(np.log(max(int(e.mask.sum()), 1))) for e in exemplars]
    vary = partial(
        PosePrior,
        size_log=bandwidth(sizes, _SIZE_LOG_ALONE, _SIZE_LOG_RANGE),
        stretch_log=bandwidth([_slenderness(e.mask) for e in exemplars], _STRETCH_LOG_ALONE, _STRETCH_LOG_RANGE),
    )
    around = _directions([_texture_direction(e) for e in exemplars])
    own = _directions([_axis(e.mask) for e in exemplars])
    for directions, whose in ((around, "their surroundings"), (own, "the concepts")):
        if len(directions) < max(2, len(exemplars) / 2):
            continue
        # the fourth-order mean gives a pair of axes; each axis must occur at least twice
        axis = 0.25 * float(np.angle(np.exp(4j * directions).mean()))
        across = _angles_to_axis(directions, axis) > np.deg2rad(60)
        if _resultant(directions, 4) >= _SHARED and min(across.sum(), (~across).sum()) >= 2:
            return vary(
                mode="quarter turns",
                degrees=_TURN_RANGE[0],
                reason=f"the directions of {whose} lie at right angles",
            )
        if _resultant(directions, 2) >= _SHARED:
            main = 0.5 * float(np.angle(np.exp(2j * directions).mean()))
            degrees = float(np.clip(np.rad2deg(1.4826 * np.median(_angles_to_axis(directions, main))), *_TURN_RANGE))
            return vary(mode="kept", degrees=degrees, reason=f"{whose} share one direction, ± {degrees:.0f}°")
    return vary(mode="any turn", degrees=180.0, reason="no direction is shared")


def bandwidth(seen: Sequence[float], alone: float, within: tuple[float, float]) -> float:
    """Return the bandwidth of a kernel density estimate of the values (Silverman's rule).

    Args:
        seen: the values, one per exemplar.
        alone: the result for fewer than two values.
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
    """Draw a random pose.

    A ``size_spread`` of 0 keeps the photographed size. A ``direction_spread`` of 0 keeps the photographed direction and
    proportions, without mirroring. ``size_at`` in 0..1 is the quantile of the size; the caller distributes it evenly.
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
            # with less spread, rotations stay about the photographed direction
            degrees = float(chance.uniform(-180, 180)) * min(1.0, direction_spread)
        case "quarter turns":
            # exact quarter turns only: resampling adds greys to a two-level picture
            degrees = 90.0 * quarter if direction_spread >= 0.25 else 0.0
        case _:
            # a rotation by 180 degrees keeps the direction, too
            degrees += 180.0 if quarter >= 2 and direction_spread >= 0.5 else 0.0
    return Pose(degrees=degrees, scale=scale, mirrored=side < 0.5, stretch=stretch)


class Cutout:
    """An exemplar prepared for repeated posing."""

    def __init__(self, exemplar: Exemplar) -> None:
        ys, xs = np.nonzero(exemplar.mask)
        self.centre = np.array([xs.mean(), ys.mean()])
        corners = np.array([[x, y] for x in (xs.min(), xs.max()) for y in (ys.min(), ys.max())], np.float64).T
        #: corners [2, 4] of the mask's box, relative to the mask's centre
        self.corners = corners - self.centre[:, None]
        self.mask = exemplar.mask.astype(np.float32)
        self.mixed = bool(exemplar.opacity.min() < 1)
        self.channels = exemplar.patch.shape[2]
        behind = [exemplar.opacity[:, :, None], exemplar.clean] if self.mixed else [exemplar.clean]
        # OpenCV warps up to four channels at once; the clean channels come last, preceded by the opacity
        split = 2 * self.channels + self.mixed > 4
        parts = [[exemplar.thing], behind] if split else [[exemplar.thing, *behind]]
        self.layers = [np.concatenate(part, axis=2) for part in parts]
        self.rim, self.edge = RIM_PX, None
        if exemplar.edge is not None:
            self.rim = max(RIM_PX, round(_EDGE_RIM_SHARE * max(np.ptp(xs), np.ptp(ys))))
            self.edge = np.stack([exemplar.edge.backdrop, exemplar.edge.beyond], axis=2).astype(np.float32)


def linear_map(pose: Pose) -> npt.NDArray[np.float64]:
    """Return the matrix [2, 2] that maps differences of x and y in the photo to those in the posed cut-out."""
    angle = np.deg2rad(pose.degrees)
    cos, sin = round(float(np.cos(angle)), 12) * pose.scale, round(float(np.sin(angle)), 12) * pose.scale
    side = -1.0 if pose.mirrored else 1.0
    wide, high = side * pose.stretch**0.5, pose.stretch**-0.5
    return np.array([[cos * wide, -sin * high], [sin * wide, cos * high]])


def apply_pose(cutout: Cutout, pose: Pose, *, crisp: bool = False) -> Posed | None:
    """Return the cut-out in that pose; None if the mask has no pixel at that size.

    If ``crisp``, use nearest-neighbour sampling and full opacity, because a two-level picture has no intermediate
    tones.
    """
    linear = linear_map(pose)
    spread = linear @ cutout.corners
    low, end = np.floor(spread.min(axis=1)) - 1, np.ceil(spread.max(axis=1)) + 2
    width, height = (int(v) for v in end - low)
    # an integer shift: with mirroring or quarter turns, pixels map to pixels without resampling
    matrix = np.empty((2, 3))
    matrix[:, :2], matrix[:, 2] = linear, np.rint(-linear @ cutout.centre - low)
    whole = cv2.warpAffine(cutout.mask, matrix, (width, height), flags=cv2.INTER_LINEAR) >= 0.5
    x, y, columns, rows = cv2.boundingRect(whole.view(np.uint8))
    if not rows:
        return None
    rim = cutout.rim
    mask = np.zeros((rows + 2 * rim, columns + 2 * rim), bool)
    mask[rim:-rim, rim:-rim] = whole[y : y + rows, x : x + columns]
    matrix[:, 2] -= (x - rim, y - rim)
    flags = cv2.INTER_NEAREST if crisp else cv2.INTER_LINEAR
    size = mask.shape[::-1]
    turned = [
        cv2.warpAffine(layer, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).reshape(*mask.shape, -1)
        for layer in cutout.layers
    ]
    patch, clean = (turned[0][:, :, : cutout.channels], turned[-1][:, :, -cutout.channels :])
    opacity: Floats | float = turned[-1][:, :, -cutout.channels - 1, None] if cutout.mixed and not crisp else 1.0
    shift = (float(matrix[0, 2]), float(matrix[1, 2]))
    if cutout.edge is None:
        return Posed(patch=patch, clean=clean, mask=mask, opacity=opacity, shift=shift)
    edge = cv2.warpAffine(cutout.edge, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE) >= 0.5
    return Posed(
        patch=patch,
        clean=clean,
        mask=mask,
        opacity=opacity,
        backdrop=edge[:, :, 0] & ~mask,
        beyond=edge[:, :, 1] & ~mask,
        shift=shift,
    )


def cropped_at_border(posed: Posed, cut: CutSides) -> Posed:
    """Return a posed concept without the pixels beyond the borders that cut it off. The pose must not be rotated."""
    rows, columns = posed.mask.shape
    ys, xs = (np.flatnonzero(posed.mask.any(axis=axis)) for axis in (1, 0))
    top = 0 if cut.top is None else max(0, int(ys[0]) - cut.top)
    left = 0 if cut.left is None else max(0, int(xs[0]) - cut.left)
    bottom = rows if cut.bottom is None else min(rows, int(ys[-1]) + 1 + cut.bottom)
    right = columns if cut.right is None else min(columns, int(xs[-1]) + 1 + cut.right)
    window = (slice(top, bottom), slice(left, right))
    return Posed(
        patch=posed.patch[window],
        clean=posed.clean[window],
        mask=posed.mask[window],
        opacity=posed.opacity if isinstance(posed.opacity, float) else posed.opacity[window],
        backdrop=None if posed.backdrop is None else posed.backdrop[window],
        beyond=None if posed.beyond is None else posed.beyond[window],
        shift=(posed.shift[0] - left, posed.shift[1] - top),
    )


def fade(posed: Posed, softness: float, past: Bools | None = None) -> Floats:
    """Return the blending weight, [h, w, 1], which rises from the mask's edge over ``softness`` pixels inwards.

    ``past`` [h, w] marks pixels, such as the backdrop beside a carrier, towards which the weight does not fall.
    """
    solid = posed.mask if past is None else posed.mask | past
    depth = cv2.distanceTransform(solid.astype(np.uint8), cv2.DIST_L2, 3)
    return np.asarray(np.minimum(depth / (softness + 0.5), 1), np.float32)[:, :, None]


def _slenderness(mask: Bools) -> float:
    """Return the logarithm of a mask's length over its width."""
    if np.count_nonzero(mask) < 3:
        return 0.0
    spreads, _ = _spreads(mask)
    # rounded, so that the last bits of a machine's linear algebra do not reach the picture
    return round(0.5 * float(np.log(spreads[1] / spreads[0])), 6)


def _axis(mask: Bools) -> tuple[float, bool]:
    """Return the direction of a mask's longer axis in radians, and whether the mask is elongated."""
    if np.count_nonzero(mask) < 3:
        return 0.0, False
    spreads, axes = _spreads(mask)
    return float(np.arctan2(axes[1, 1], axes[0, 1])), bool(np.sqrt(spreads[1] / spreads[0]) >= _ELONGATED)


def _spreads(mask: Bools) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the variances [2] of a mask's pixel positions along its axes, and the axes [2, 2] as columns.

    The shorter axis comes first.
    """
    ys, xs = np.nonzero(mask)
    eigen = np.linalg.eigh(np.cov(np.stack([xs, ys])) + 1e-6 * np.eye(2))
    return eigen.eigenvalues, eigen.eigenvectors


def _texture_direction(exemplar: Exemplar) -> tuple[float, bool]:
    """Return the direction of the surroundings' texture in radians, and whether the texture has a direction."""
    direction = grain_direction(
        exemplar.patch, ~cv2.dilate(exemplar.mask.astype(np.uint8), np.ones((5, 5))).astype(bool)
    )
    return (0.0, False) if direction is None else (float(np.arctan2(direction[1], direction[0])), True)


def _directions(measured: Sequence[tuple[float, bool]]) -> npt.NDArray[np.float64]:
    return np.array([angle for angle, certain in measured if certain])


def _resultant(directions: npt.NDArray[np.float64], fold: int) -> float:
    return float(np.abs(np.exp(1j * fold * directions).mean()))


def _angles_to_axis(directions: npt.NDArray[np.float64], axis: float) -> npt.NDArray[np.float64]:
    """Return the angles in radians between directions [n] and an axis, each from 0 to π/2."""
    return np.asarray(np.abs((directions - axis + np.pi / 2) % np.pi - np.pi / 2))
