"""One attempt to place a concept on a background: pose → place → blend → check, with the reason of a rejection.

An attempt never writes to the image; it returns the changed window.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Json
from datagen.domain.trace import InstanceTrace
from datagen.synthesis.composite.appearance.appearance_model import AppearanceModel
from datagen.synthesis.composite.appearance.blending import BLENDS, BlendRegion
from datagen.synthesis.composite.appearance.colour_range import in_range, learn_colour_range, recoloured
from datagen.synthesis.composite.appearance.pose import (
    RIM_PX,
    Cutout,
    Pose,
    Posed,
    PosePrior,
    apply_pose,
    cropped_at_border,
    draw_pose,
    fade,
    linear_map,
)
from datagen.synthesis.composite.appearance.shape import AS_PHOTOGRAPHED, ShapeModel
from datagen.synthesis.composite.appearance.visibility import MIN_VISIBLE, visible
from datagen.synthesis.composite.extraction.backdrop import continued_smoothly
from datagen.synthesis.composite.extraction.background_inpainting import Frame
from datagen.synthesis.composite.extraction.carrier_edge import CarrierEdge, grown, open_notch, without_slivers
from datagen.synthesis.composite.extraction.cut_sides import WHOLE, CutSides
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.border import at_border, border_place, reaching_borders
from datagen.synthesis.composite.placement.context_match import REACH_MAX_PX, fitting_place
from datagen.synthesis.composite.placement.edge_search import Carrier, edge_corner, edge_place
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import Bools, Floats, channels_as, plain, to_tones

#: Share of the mask that must lie inside the area, and the share required in the last attempts.
_INSIDE_SHARE, _INSIDE_SHARE_AT_LAST = 0.9, 0.5
#: Share of the mask that may lie on the backdrop, where it is left out, and the share allowed in the last attempts.
_LOST_SHARE, _LOST_SHARE_AT_LAST = 0.25, 0.5
#: Why a concept at its carrier's edge is not placed.
_NO_EDGE = "no edge of the carrier suits it"
#: Largest accepted mismatch of a place: this share of the surroundings' own spread, plus this many tones.
_WORST_SHARE, _WORST_TONES = 0.65, 15.0
#: A change below this share of the concept's own contrast counts as invisible, whatever the noise.
_OWN_CONTRAST_SHARE = 0.2
#: Surroundings with at least this texture and less than this mismatch, in tones, are the concept's original place.
_COPY_TEXTURE, _COPY_TONES = 6.0, 1.5
#: Minimum gap in pixels between two instances.
_GAP_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """The fitted models of one label: its exemplars, their shapes, pose prior and appearance model."""

    exemplars: Sequence[Exemplar]
    shapes: ShapeModel
    prior: PosePrior
    law: AppearanceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementCanvas:
    """The target of a placement: the image so far, the mask of earlier instances, and the reduced area.

    ``reach`` limits the context match: a place is moved by at most so many pixels.
    """

    ref: ImageRef
    image: Picture
    taken: Mask
    area: Bools
    places: npt.NDArray[np.uint16]
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
class _PlaceDraws:
    """The draws of an attempt that decide its place.

    ``at`` in 0..1 selects a cell of the reduced area, ``jitter`` [2] in 0..1 is the point in that cell, and ``pick`` in
    0..1 selects one of the fitting places nearby.
    """

    at: float
    jitter: npt.NDArray[np.float64]
    pick: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedInstance:
    """An instance placed on a background: the changed window, its new tones, and the instance's mask."""

    top: int
    left: int
    tones: Floats
    mask: Bools
    contrast: float
    trace: InstanceTrace


class PlacementAttempt:
    """Placement attempts for one label."""

    def __init__(self, label: str, learned: Learned, parameters: CompositeParameters) -> None:
        self._label, self._learned, self._parameters = label, learned, parameters
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
        self._variants = {
            key: {kind: [Cutout(variant) for variant in variants] for kind, variants in kinds.items()}
            for key, kinds in learned.shapes.variants.items()
        }
        self._shape_shares = {
            kind: min(share * parameters.shape_weights.get(kind, 1.0), 1.0)
            for kind, share in learned.shapes.shares.items()
        }
        self._colours = learn_colour_range(learned.exemplars)
        #: largest accepted mismatch of a place, by exemplar: derived from the spread within its own photo
        self._largest_mismatch = {
            e.key: _WORST_SHARE * float(e.clean.mean(axis=2).std()) + _WORST_TONES for e in learned.exemplars
        }

    def turn(self, even: QuasiRandomDraws, photo: str | None = None) -> Exemplar:
        """Return the scheduled exemplar: one of the photo with that key, or, if None or all are excluded, any."""
        if photo in self._of_photo:
            numbers, shares = self._of_photo[photo]
            return self._learned.exemplars[numbers[_pick(shares, even.concept)]]
        return self._learned.exemplars[_pick(self._concepts, even.concept)]

    def attempt(self, task: PlacementTask, *, first: bool, faithful: bool, patient: bool) -> PlacedInstance | None:
        """Make one attempt. Return None and count the reason if it fails.

        Args:
            task: the instance to place.
            first: whether place and blend are taken from the task's draws, too.
            faithful: whether the concept is taken from the task's draws.
            patient: whether the surroundings must fit and the area must contain nearly all of the mask; false in the
                last attempts.
        """
        ground, even, chance, rejected = task.target(patient=patient), task.draws, task.chance, task.rejected
        p, law = self._parameters, self._learned.law
        concept_at, blend_at, pick, (noise, contrast_noise) = (
            chance.random(),
            chance.random(),
            chance.random(),
            chance.normal(size=2),
        )
        place_at, jitter, sharper = chance.random(), chance.random(2), chance.random()
        shape_at, variant_at = chance.random(2)
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
        )
        blend = self._blend_names[_pick(self._blends, even.blend if first else blend_at)]
        slope = float(min(max(law.slope + noise * law.doubt, 0.0), 1.0))
        contrast_factor = p.contrast * float(np.exp(min(max(contrast_noise, -2.0), 2.0) * law.contrast_log))
        at = even.place if first else place_at
        # a concept at its carrier's edge is placed at such an edge; in later attempts, if it can, anywhere
        edge = exemplar.edge if faithful or (exemplar.edge is not None and exemplar.edge.notch) else None
        if exemplar.cut.any:
            edge, pose = None, replace(pose, degrees=0.0)
        elif edge is not None:
            edge_cell = self._edge_cell(ground, edge, pose, at)
            if edge_cell is None:
                rejected[_NO_EDGE] += 1
                return None
            place, pose = edge_cell
        shape, cutout = AS_PHOTOGRAPHED, self._cutouts[exemplar.key]
        if exemplar.edge is None and not exemplar.cut.any:
            shape, cutout = self._shaped(exemplar.key, shape_at, variant_at)
        posed = apply_pose(cutout, pose, crisp=law.two_level)
        if posed is None:
            rejected["too small to be seen"] += 1
            return None
        cut = exemplar.cut.posed(pose.scale, mirrored=pose.mirrored)
        if edge is not None:
            corner = self._edge_corner(ground, exemplar, posed, place, jitter, rejected)
        else:
            posed = cropped_at_border(posed, cut) if cut.any else posed
            place_draws = _PlaceDraws(at=at, jitter=jitter, pick=pick)
            corner = self._find_corner(task, exemplar, posed, place_draws, cut, patient=patient)
        if corner is None:
            return None
        top, left, mismatch = corner
        on_carrier = _on_carrier(ground, posed, edge, top, left, patient, rejected)
        if on_carrier is None:
            return None
        whole = np.count_nonzero(posed.mask)
        posed, backdrop = on_carrier
        left_out = 1 - np.count_nonzero(posed.mask) / whole
        window = (slice(top, top + posed.mask.shape[0]), slice(left, left + posed.mask.shape[1]))
        if _touches(posed.mask, ground.taken[window]):
            rejected["overlaps another"] += 1
            return None
        before = to_tones(ground.image[window])
        notch = None
        if backdrop is not None:
            if edge is not None and edge.notch:
                notch = continued_smoothly(before, ~backdrop)
            # no blend may draw tones from the backdrop into the carrier
            before = continued_smoothly(before, backdrop)
        if notch is not None:
            tones = before + fade(posed, p.edge_softness, backdrop) * (notch - before)
        else:
            tones = self._blended(before, posed, blend, slope, contrast_factor, sharper, backdrop)
        own_contrast = float(np.sqrt(plain(np.square(posed.patch - posed.clean))[posed.mask].mean()))
        least = 0.0 if notch is not None else _OWN_CONTRAST_SHARE * own_contrast * contrast_factor
        seen, contrast = visible(before, tones, posed.mask, least=least)
        if np.count_nonzero(seen) < MIN_VISIBLE * np.count_nonzero(posed.mask):
            rejected["cannot be seen"] += 1
            return None
        return PlacedInstance(
            top=top,
            left=left,
            tones=tones,
            mask=_visible_mask(seen, posed.mask) if law.two_level else posed.mask,
            contrast=contrast,
            trace=InstanceTrace(
                label=self._label,
                concept=exemplar.choice,
                matte=exemplar.method,
                blend=blend if notch is None else None,
                degrees=round(pose.degrees, 2),
                scale=round(pose.scale, 4),
                stretch=round(pose.stretch, 4),
                mirrored=pose.mirrored,
                contrast=round(contrast, 2),
                mismatch=round(mismatch, 2),
                details={
                    "shape": shape,
                    "slope": round(slope, 3),
                    "contrast_factor": round(contrast_factor, 3),
                    "sharper": round(sharper, 3),
                    "placed_at": _placed_at(exemplar.frame, posed, pose, top, left),
                    **_edge_details(exemplar, edge, cut),
                    **({"left_out": round(left_out, 3)} if left_out > 0 else {}),
                },
            ),
        )

    def _shaped(self, key: str, shape_at: float, variant_at: float) -> tuple[str, Cutout]:
        """Return the kind of an instance's shape, and the cut-out that has it; both numbers are in 0..1."""
        for kind, share in self._shape_shares.items():
            variants = self._variants.get(key, {}).get(kind)
            if variants and shape_at < share:
                return kind, variants[int(variant_at * len(variants))]
            shape_at -= share
        return AS_PHOTOGRAPHED, self._cutouts[key]

    def _edge_cell(self, ground: PlacementCanvas, edge: CarrierEdge, pose: Pose, at: float) -> tuple[int, Pose] | None:
        """Return a cell at the carrier's edge and the pose for it; None if no edge suits the concept."""
        if ground.carrier is None:
            return None
        outward = np.pi - edge.outward if pose.mirrored else edge.outward
        free = self._learned.prior.mode == "any turn"
        limit = 180.0 * min(1.0, self._parameters.direction_spread) if free else 0.0
        place = edge_place(ground.carrier, outward, degrees=pose.degrees, turn_limit=limit, at=at)
        return None if place is None else (place[0], replace(pose, degrees=place[1]))

    def _edge_corner(
        self,
        ground: PlacementCanvas,
        exemplar: Exemplar,
        posed: Posed,
        place: int,
        jitter: npt.NDArray[np.float64],
        rejected: Counter[str],
    ) -> tuple[int, int, float] | None:
        """Return top and left of a window at the carrier's edge and no mismatch; None, with the reason counted."""
        assert exemplar.edge is not None
        assert ground.carrier is not None
        row, column = divmod(place, ground.area.shape[1])
        full, seen = ground.image.shape[:2], ground.area.shape
        spot = ((row + jitter[0]) * full[0] / seen[0], (column + jitter[1]) * full[1] / seen[1])
        corner = edge_corner(ground.image, ground.carrier, posed, spot, notch=exemplar.edge.notch)
        if corner is None:
            rejected[_NO_EDGE] += 1
            return None
        if _share_inside(posed.mask, *corner, ground.carrier.area, full) < _INSIDE_SHARE_AT_LAST:
            rejected["leaves the area"] += 1
            return None
        if self._is_original_place(ground, exemplar, posed, *corner, 0.0):
            rejected["copies a concept in its own place"] += 1
            return None
        return *corner, 0.0

    def _find_corner(
        self,
        task: PlacementTask,
        exemplar: Exemplar,
        posed: Posed,
        draws: _PlaceDraws,
        cut: CutSides = WHOLE,
        *,
        patient: bool,
    ) -> tuple[int, int, float] | None:
        """Return top and left of the window and the mismatch; None, with the reason counted, if there is no place.

        A concept cut off by borders (``cut``) is placed at the same ones.
        """
        ground, rejected = task.target(patient=patient), task.rejected
        size, full = posed.mask.shape, ground.image.shape[:2]
        place, area = int(ground.places[int(draws.at * len(ground.places))]), ground.area
        if cut.any:
            area = reaching_borders(area)
            along = border_place(area, cut, draws.at, size, full)
            if along is None:
                rejected["leaves the area"] += 1
                return None
            place = along
        spot = _window_corner(place, draws.jitter, area.shape, full, size)
        if spot is None:
            rejected["larger than the background"] += 1
            return None
        spot = at_border(spot, cut, size, full)
        (top, left), mismatch = spot, 0.0
        strictness = self._parameters.context_strictness
        if patient and strictness > 0:
            largest_mismatch = self._largest_mismatch[exemplar.key]
            held = (cut.along, cut.across)
            match = fitting_place(
                ground.image, posed, spot, strictness, area, draws.pick, largest_mismatch, ground.reach, held
            )
            if match is None:
                rejected["surroundings do not fit"] += 1
                return None
            top, left, mismatch = match.top, match.left, match.mismatch
            if not match.inside:
                rejected["leaves the area"] += 1
                return None
        share = _share_inside(posed.mask, top, left, area, full)
        if share < (_INSIDE_SHARE if patient else _INSIDE_SHARE_AT_LAST):
            rejected["leaves the area"] += 1
            return None
        if self._is_original_place(ground, exemplar, posed, top, left, mismatch):
            rejected["copies a concept in its own place"] += 1
            return None
        return top, left, mismatch

    def _is_original_place(
        self, ground: PlacementCanvas, exemplar: Exemplar, posed: Posed, top: int, left: int, mismatch: float
    ) -> bool:
        """Return whether the place is the concept's original one: the sample would copy a private photo."""
        if exemplar.key.startswith(ground.ref.digest[:12]):
            box = exemplar.box
            rows, columns = posed.mask.shape
            return top < box.bottom and left < box.right and top + rows > box.y and left + columns > box.x
        if self._learned.law.two_level or mismatch == 0:
            return False
        return mismatch < _COPY_TONES and float(posed.clean.std(axis=(0, 1)).mean()) > _COPY_TEXTURE

    def _blended(
        self,
        before: Floats,
        posed: Posed,
        blend: str,
        slope: float,
        contrast: float,
        sharper: float,
        backdrop: Bools | None,
    ) -> Floats:
        """Return the window's new tones [h, w, c]. The concept does not fade where it borders on the ``backdrop``.

        ``sharper`` ranges from 0, an edge as photographed, to 1, an edge faded twice. Photos differ in focus: a model
        trained with a single edge softness mistook the rims of other objects for the concept.
        """
        channels = before.shape[2]
        region = BlendRegion(
            background=before,
            patch=channels_as(posed.patch, channels),
            clean=channels_as(posed.clean, channels),
            mask=posed.mask,
            fade=fade(posed, self._parameters.edge_softness, backdrop) * np.power(posed.opacity, np.float32(sharper)),
            opacity=posed.opacity,
            slope=slope,
        )
        changed = (BLENDS[blend](region) - before) * np.float32(contrast)
        tones = np.asarray(np.minimum(np.maximum(before + changed, 0), 255), np.float32)
        if self._colours is None or channels != 3 or in_range(tones, before, posed.mask, self._colours):
            return tones
        return recoloured(tones, region.patch, region.fade)


def _on_carrier(
    ground: PlacementCanvas,
    posed: Posed,
    edge: CarrierEdge | None,
    top: int,
    left: int,
    patient: bool,
    rejected: Counter[str],
) -> tuple[Posed, Bools | None] | None:
    """Return the concept without the pixels that would cover the background's backdrop, and that backdrop.

    The backdrop is None if it is not near the concept. Return None, with the reason counted, if too little is left.
    """
    rows, columns = posed.mask.shape
    backdrop = None
    if ground.carrier is not None:
        frame = Frame(left=left, top=top, right=left + columns, bottom=top + rows)
        backdrop = ground.carrier.backdrop(ground.image, frame)
    if backdrop is None or not (grown(posed.mask, RIM_PX) & backdrop).any():
        if edge is None:
            return posed, None
        rejected[_NO_EDGE] += 1
        return None
    if edge is not None and edge.notch:
        mask, backdrop = open_notch(posed.mask, backdrop)
    else:
        mask = posed.mask & ~backdrop
        lost = 1 - np.count_nonzero(mask) / np.count_nonzero(posed.mask)
        if lost > (_LOST_SHARE if patient else _LOST_SHARE_AT_LAST):
            rejected["lies beside what carries it"] += 1
            return None
        if edge is not None and posed.beyond is not None:
            mask |= posed.beyond & ~backdrop
    mask = without_slivers(mask)
    if not mask.any():
        rejected["too small to be seen"] += 1
        return None
    return replace(posed, mask=mask), backdrop


def _edge_details(exemplar: Exemplar, edge: CarrierEdge | None, cut: CutSides) -> dict[str, Json]:
    """Return where a concept at an edge was placed, for the trace; empty for other concepts."""
    if cut.any:
        return {"edge": "border: " + ", ".join(cut.names)}
    if exemplar.edge is None:
        return {}
    return {"edge": "left out" if edge is None else "carrier"}


def _placed_at(frame: Frame, posed: Posed, pose: Pose, top: int, left: int) -> list[Json]:
    """Return x and y of the point in the sample to which the top left corner of the concept's photo is mapped.

    With it and the pose, a point in the sample is mapped back to the photo; see ``refinement.corrected_mattes``.
    """
    # the pose maps the centres of pixels, which lie half a pixel from their corners
    origin = linear_map(pose) @ (frame.left + 0.5, frame.top + 0.5)
    at = (posed.shift[0] + left + 0.5 - origin[0], posed.shift[1] + top + 0.5 - origin[1])
    return [round(float(value), 2) for value in at]


def _visible_mask(seen: Bools, mask: Bools) -> Bools:
    """Return the mask where the picture changed: pixels that already had the concept's tone are not labelled."""
    solid = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.asarray((solid > 0) & mask)


def _cumulative(weights: Sequence[float]) -> list[float]:
    """Return cumulative shares; weights that are all zero count as equal."""
    values = np.asarray(weights, np.float64)
    values = values if values.sum() > 0 else np.ones_like(values)
    shares: list[float] = (np.cumsum(values) / values.sum()).tolist()
    return shares


def _pick(shares: Sequence[float], at: float) -> int:
    return min(bisect_right(shares, at), len(shares) - 1)


def _window_corner(
    place: int, jitter: npt.NDArray[np.float64], seen: tuple[int, ...], full: tuple[int, ...], size: tuple[int, ...]
) -> tuple[int, int] | None:
    """Return top and left of a window centred on a place and shifted into the image; None if it is too large."""
    row, column = divmod(int(place), seen[1])
    centre_y, centre_x = (row + jitter[0]) * full[0] / seen[0], (column + jitter[1]) * full[1] / seen[1]
    if size[0] > full[0] or size[1] > full[1]:
        return None
    # the rim stays inside, too: a mask with surroundings on every side is not cut off
    return (
        int(min(max(centre_y - size[0] / 2, 0), full[0] - size[0])),
        int(min(max(centre_x - size[1] / 2, 0), full[1] - size[1])),
    )


def _share_inside(mask: Bools, top: int, left: int, area: Bools, full: tuple[int, ...]) -> float:
    """Return the share of the mask's pixels that lie in the reduced area."""
    ys, xs = mask.nonzero()
    step = max(1, len(ys) // 256)
    rows = (ys[::step] + top) * area.shape[0] // full[0]
    columns = (xs[::step] + left) * area.shape[1] // full[1]
    return float(area[rows, columns].mean())


def _touches(mask: Bools, taken: Mask) -> bool:
    if not taken.any():
        return False
    grown = cv2.dilate(mask.astype(np.uint8), np.ones((2 * _GAP_PX + 1, 2 * _GAP_PX + 1), np.uint8))
    return bool(((taken > 0) & (grown > 0)).any())


assert RIM_PX > _GAP_PX, "the rim must hold the gap, or neighbours are not seen"

LearnedByLabel = Mapping[str, Learned]
