"""The plan of an instance before any pixel is made: concept, pose, blend, contrast, edge and place.

A plan is cheap, so that many can be drawn and one of them chosen (``plan_choice``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from datagen.domain.inputs import ImageRef
from datagen.domain.trace import Draws
from datagen.synthesis.composite.appearance.appearance_model import AppearanceModel
from datagen.synthesis.composite.appearance.pose import Cutout, Pose, PosePrior, draw_pose
from datagen.synthesis.composite.appearance.shape import AS_PHOTOGRAPHED, ShapeModel
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.context_match import REACH_MAX_PX
from datagen.synthesis.composite.placement.edge_search import Carrier
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import Bools, Floats

#: Deviation of the logarithm of the edges' softness.
_SOFTNESS_LOG = 0.35
#: Deviation that is added for each further multiple of ``widening``: of the logarithms of contrast and softness.
_WIDER_CONTRAST_LOG, _WIDER_SOFTNESS_LOG = 0.15, 0.35
#: Random numbers of a normal distribution are limited to this many deviations.
_LARGEST_DEVIATION = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The fitted models of one label: its exemplars, their shapes, pose prior and appearance model."""

    exemplars: Sequence[Exemplar]
    shapes: ShapeModel
    prior: PosePrior
    law: AppearanceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementCanvas:
    """The target of a placement: the image so far, the mask of earlier instances, and the reduced area [h, w].

    ``depth`` [h, w] is the distance of the area's pixels to its rim or the picture's border, as a share of the
    picture's shorter side. ``reach`` limits the context match: a place is moved by at most so many pixels.
    """

    ref: ImageRef
    image: Picture
    taken: Mask
    area: Bools
    places: npt.NDArray[np.uint16]
    depth: Floats
    reach: int = REACH_MAX_PX
    carrier: Carrier | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuasiRandomDraws:
    """Quasi-random numbers in 0..1 that cover concepts, sizes, blends, places and photos evenly over the samples."""

    concept: float
    size: float
    blend: float
    place: float
    photo: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementTask:
    """One instance to place: the targets, its draws, and the counts of rejected attempts.

    ``near`` has the places at the drawn distance from another instance; ``canvas``, for the last attempts, has all
    places. ``photo`` is the key of the photo that the scheduled concept is taken from, None for any.
    ``draws`` are the instance's quasi-random numbers; all attempts use its size, so that rejection does not bias sizes.
    ``chance`` is the sample's generator; every attempt draws the same count of numbers from it. An attempt that fails
    counts its reason in ``rejected``.
    """

    near: PlacementCanvas
    canvas: PlacementCanvas
    draws: QuasiRandomDraws
    photo: str | None
    chance: np.random.Generator
    rejected: Counter[str]

    def target(self, *, patient: bool) -> PlacementCanvas:
        """Return the target of an attempt; the last attempts are not ``patient``."""
        return self.near if patient else self.canvas


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """The facts of an instance whose pixels exist: its window, the contrast-to-noise ratio and the mismatch."""

    mask: Bools
    top: int
    left: int
    contrast: float
    mismatch: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePlan:
    """The draws of one attempt.

    ``size`` is the size of the concept before scaling, relative to the usual one of its label. ``at`` in 0..1 selects a
    cell of the reduced area, ``jitter`` [2] in 0..1 is the point in that cell, and ``pick`` in 0..1 selects one of the
    fitting places nearby.
    """

    exemplar: Exemplar
    size: float
    pose: Pose
    shape: str
    cutout: Cutout
    blend: str
    slope: float
    contrast: float
    softness: float
    sharper: float
    at: float
    jitter: npt.NDArray[np.float64]
    pick: float

    def draws(self, ground: PlacementCanvas, placed: Placed | None = None) -> Draws:
        """Return the learnable draws; before an instance is ``placed``, those that are known."""
        draws: dict[str, float | str] = {
            "scale": round(self.pose.scale, 4),
            "size": round(self.size * self.pose.scale, 4),
            "contrast": round(self.contrast, 4),
            "softness": round(self.softness, 3),
            "angle": round(self.pose.degrees % 180.0, 1),
            "concept": self.exemplar.key,
            "matte": self.exemplar.method,
            "blend": self.blend,
            "shape": self.shape,
        }
        rows, columns = ground.area.shape
        if placed is not None:
            ys, xs = placed.mask.nonzero()
            height, width = ground.image.shape[:2]
            y, x = (placed.top + float(ys.mean()) + 0.5) / height, (placed.left + float(xs.mean()) + 0.5) / width
            draws["measured_contrast"] = round(placed.contrast, 2)
            draws["mismatch"] = round(placed.mismatch, 2)
        elif self.exemplar.cut.any or self.exemplar.edge is not None:
            return draws
        else:
            row, column = divmod(int(ground.places[int(self.at * len(ground.places))]), columns)
            y, x = (row + float(self.jitter[0])) / rows, (column + float(self.jitter[1])) / columns
        cell = min(int(y * rows), rows - 1), min(int(x * columns), columns - 1)
        draws |= {"x": round(x, 4), "y": round(y, 4), "rim_distance": round(float(ground.depth[cell]), 4)}
        return draws


class PlanSource:
    """Draws plans for instances of one label."""

    def __init__(self, learned: Learned, parameters: CompositeParameters) -> None:
        self._learned, self._parameters = learned, parameters
        concepts = [parameters.concept_weights.get(e.key, 1.0) for e in learned.exemplars]
        self._concepts = _cumulative(concepts)
        keys = [e.key.partition(":")[0] for e in learned.exemplars]
        #: the exemplars of each photo and the cumulative shares of their weights
        self._of_photo = {
            key: (numbers, _cumulative([concepts[n] for n in numbers]))
            for key in keys
            if (numbers := [n for n in range(len(keys)) if keys[n] == key]) and any(concepts[n] for n in numbers)
        }
        weights = learned.law.weights
        self._blend_names = list(weights)
        self._blends = _cumulative([w * parameters.blend_weights.get(name, 1.0) for name, w in weights.items()])
        self._cutouts = {e.key: Cutout(e) for e in learned.exemplars}
        #: the cut-outs of the variants drawn so far
        self._variants: dict[tuple[str, str, int], Cutout] = {}
        self._shape_shares = {
            kind: min(share * parameters.shape_weights.get(kind, 1.0), 1.0)
            for kind, share in learned.shapes.shares.items()
        }
        sides = [float(np.sqrt(max(np.count_nonzero(e.mask), 1))) for e in learned.exemplars]
        #: the size of each concept, relative to the usual one
        self._sizes = {e.key: side / float(np.median(sides)) for e, side in zip(learned.exemplars, sides, strict=True)}

    def turn(self, even: QuasiRandomDraws, photo: str | None = None) -> Exemplar:
        """Return the scheduled exemplar: one of the photo with that key, or, if None or all are excluded, any."""
        if photo in self._of_photo:
            numbers, shares = self._of_photo[photo]
            return self._learned.exemplars[numbers[_pick(shares, even.concept)]]
        return self._learned.exemplars[_pick(self._concepts, even.concept)]

    def draw(
        self,
        task: PlacementTask,
        even: QuasiRandomDraws,
        *,
        scheduled: bool,
        faithful: bool,
        widening: float = 1.0,
    ) -> InstancePlan:
        """Draw a plan.

        Args:
            task: the instance to place; every plan takes the same count of numbers from its generator.
            even: the numbers that decide the size, so that rejections do not bias sizes.
            scheduled: whether they decide place and blend, too.
            faithful: whether they decide the concept, too.
            widening: 1 draws sizes, contrasts, edges and turns about the learned values as the parameters say; more
                draws them from farther away.
        """
        p, law, chance = self._parameters, self._learned.law, task.chance
        concept_at, blend_at, place_at, pick, sharper, shape_at, variant_at = chance.random(7).tolist()
        noise, contrast_noise, softness_noise = np.clip(
            chance.normal(size=3), -_LARGEST_DEVIATION, _LARGEST_DEVIATION
        ).tolist()
        jitter = chance.random(2)
        exemplar = (
            self.turn(even, task.photo) if faithful else self._learned.exemplars[_pick(self._concepts, concept_at)]
        )
        pose = draw_pose(
            self._learned.prior,
            chance,
            size_at=even.size,
            size_factor=p.size_factor,
            size_spread=p.size_spread,
            direction_spread=p.direction_spread,
            widening=widening,
        )
        if exemplar.cut.any:
            pose = replace(pose, degrees=0.0)
        shape, cutout = AS_PHOTOGRAPHED, self._cutouts[exemplar.key]
        if exemplar.edge is None and not exemplar.cut.any:
            shape, cutout = self._shaped(exemplar.key, shape_at, variant_at)
        # greys do not occur in two-level pictures, so that their contrast is kept
        contrast_log = law.contrast_log + (0 if law.two_level else (widening - 1) * _WIDER_CONTRAST_LOG)
        softness_log = _SOFTNESS_LOG + (widening - 1) * _WIDER_SOFTNESS_LOG
        return InstancePlan(
            exemplar=exemplar,
            size=self._sizes[exemplar.key],
            pose=pose,
            shape=shape,
            cutout=cutout,
            blend=self._blend_names[_pick(self._blends, even.blend if scheduled else blend_at)],
            slope=float(min(max(law.slope + noise * law.doubt, 0.0), 1.0)),
            contrast=p.contrast * float(np.exp(contrast_noise * contrast_log)),
            softness=p.edge_softness * float(np.exp(softness_noise * softness_log)),
            sharper=sharper,
            at=even.place if scheduled else place_at,
            jitter=jitter,
            pick=pick,
        )

    def _shaped(self, key: str, shape_at: float, variant_at: float) -> tuple[str, Cutout]:
        """Return the kind of an instance's shape, and the cut-out that has it; both numbers are in 0..1."""
        for kind, share in self._shape_shares.items():
            variants = self._learned.shapes.variants.get(key, {}).get(kind)
            if variants and shape_at < share:
                number = int(variant_at * len(variants))
                if (key, kind, number) not in self._variants:
                    variant = variants[number].cut_out(crisp=self._learned.law.two_level)
                    self._variants[key, kind, number] = Cutout(variant)
                return kind, self._variants[key, kind, number]
            shape_at -= share
        return AS_PHOTOGRAPHED, self._cutouts[key]


def _cumulative(weights: Sequence[float]) -> list[float]:
    """Return cumulative shares; weights that are all zero count as equal."""
    values = np.asarray(weights, np.float64)
    values = values if values.sum() > 0 else np.ones_like(values)
    shares: list[float] = (np.cumsum(values) / values.sum()).tolist()
    return shares


def _pick(shares: Sequence[float], at: float) -> int:
    return min(bisect_right(shares, at), len(shares) - 1)


LearnedByLabel = Mapping[str, Learned]
