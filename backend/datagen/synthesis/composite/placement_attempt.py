"""One try at laying one concept on one background: pose → place → blend → check, and why it was turned down.

A try never writes into the image; it returns the window it would change.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from datagen.domain.inputs import ImageRef
from datagen.domain.spec import Json
from datagen.synthesis.composite.appearance.appearance_model import AppearanceModel
from datagen.synthesis.composite.appearance.blending import BLENDS, BlendRegion
from datagen.synthesis.composite.appearance.pose import RIM_PX, Cutout, Posed, PosePrior, apply_pose, draw_pose, fade
from datagen.synthesis.composite.appearance.visibility import LEAST_VISIBLE, visible
from datagen.synthesis.composite.extraction.exemplars import Exemplar
from datagen.synthesis.composite.parameters import CompositeParameters
from datagen.synthesis.composite.placement.context_match import fitting_place
from datagen.synthesis.engine import Mask, Picture
from datagen.synthesis.intensity import Bools, Floats, channels_as, plain, to_tones

#: Share of the mask that must lie inside the area, and what is put up with in the last tries.
_INSIDE_SHARE, _INSIDE_SHARE_AT_LAST = 0.9, 0.5
#: A place whose mismatch exceeds this share of the surroundings' own spread, plus these tones, does not fit.
_WORST_SHARE, _WORST_TONES = 0.65, 15.0
#: A sample that shows less than this share of the concept's own contrast cannot be seen, whatever the noise.
_OWN_CONTRAST_SHARE = 0.2
#: Surroundings with this much texture that fit to within this many tones are the concept's own place.
_COPY_TEXTURE, _COPY_TONES = 6.0, 1.5
#: Pixels kept free between two instances.
_GAP_PX = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What was learned of one label: its exemplars, how they lie and how they look."""

    exemplars: Sequence[Exemplar]
    prior: PosePrior
    law: AppearanceModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacementCanvas:
    """What a concept is laid on: the image so far, where others lie already, and the reduced area."""

    ref: ImageRef
    image: Picture
    taken: Mask
    area: Bools
    places: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuasiRandomDraws:
    """Numbers in 0..1 that visit concepts, sizes, blends and places evenly over the samples of a spec."""

    concept: float
    size: float
    blend: float
    place: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedInstance:
    """An instance laid on a background: the window it changes, its new tones there and the pixels that are its own."""

    top: int
    left: int
    tones: Floats
    mask: Bools
    contrast: float
    steps: dict[str, Json]


class PlacementAttempt:
    """Tries of one label."""

    def __init__(self, label: str, learned: Learned, parameters: CompositeParameters) -> None:
        self._label, self._learned, self._parameters = label, learned, parameters
        self._concepts = _cumulative([parameters.concept_weights.get(e.key, 1.0) for e in learned.exemplars])
        weights = learned.law.weights
        self._blend_names = list(weights)
        self._blends = _cumulative([w * parameters.blend_weights.get(name, 1.0) for name, w in weights.items()])
        self._cutouts = {e.key: Cutout(e) for e in learned.exemplars}
        #: how unlike its own surroundings a place may be: as unlike as places in its own photo are, and some
        self._worst = {
            e.key: _WORST_SHARE * float(e.clean.mean(axis=2).std()) + _WORST_TONES for e in learned.exemplars
        }

    def turn(self, even: QuasiRandomDraws) -> Exemplar:
        """The exemplar whose turn it is."""
        return self._learned.exemplars[_pick(self._concepts, even.concept)]

    def attempt(
        self,
        ground: PlacementCanvas,
        even: QuasiRandomDraws,
        chance: np.random.Generator,
        rejected: Counter[str],
        *,
        first: bool,
        faithful: bool,
        patient: bool,
    ) -> PlacedInstance | None:
        """One try; None, with the reason counted in ``rejected``, where it cannot be laid.

        Args:
            ground: what it is laid on.
            even: the sample's even numbers; its size is kept over all tries, so that rejection does not favour a size.
            chance: the sample's generator; every try draws the same count of numbers from it.
            rejected: reasons, counted.
            first: whether place and blend are the even ones, too.
            faithful: whether the concept is.
            patient: whether surroundings must fit and the area must hold nearly all; not in the last tries.
        """
        p, law = self._parameters, self._learned.law
        drawn, blend_at, pick, (noise, loud) = chance.random(), chance.random(), chance.random(), chance.normal(size=2)
        place_at, jitter, sharper = chance.random(), chance.random(2), chance.random()
        exemplar = self.turn(even) if faithful else self._learned.exemplars[_pick(self._concepts, drawn)]
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
        contrast_factor = p.contrast * float(np.exp(min(max(loud, -2.0), 2.0) * law.contrast_log))
        posed = apply_pose(self._cutouts[exemplar.key], pose, crisp=law.two_level)
        if posed is None:
            rejected["too small to be seen"] += 1
            return None
        place = int(ground.places[int((even.place if first else place_at) * len(ground.places))])
        corner = self._corner(ground, exemplar, posed, place, jitter, pick, patient, rejected)
        if corner is None:
            return None
        top, left, mismatch = corner
        window = (slice(top, top + posed.mask.shape[0]), slice(left, left + posed.mask.shape[1]))
        if _touches(posed.mask, ground.taken[window]):
            rejected["overlaps another"] += 1
            return None
        before = to_tones(ground.image[window])
        tones = self._blended(before, posed, blend, slope, contrast_factor, sharper)
        own = float(np.sqrt(plain(np.square(posed.patch - posed.clean))[posed.mask].mean()))
        seen, contrast = visible(before, tones, posed.mask, least=_OWN_CONTRAST_SHARE * own * contrast_factor)
        if np.count_nonzero(seen) < LEAST_VISIBLE * np.count_nonzero(posed.mask):
            rejected["cannot be seen"] += 1
            return None
        return PlacedInstance(
            top=top,
            left=left,
            tones=tones,
            mask=_trimmed(seen, posed.mask) if law.two_level else posed.mask,
            contrast=contrast,
            steps={
                "label": self._label,
                "concept": exemplar.key,
                "concept_name": exemplar.name,
                "matte": exemplar.method,
                "degrees": round(pose.degrees, 2),
                "scale": round(pose.scale, 4),
                "mirrored": pose.mirrored,
                "blend": blend,
                "stretch": round(pose.stretch, 4),
                "slope": round(slope, 3),
                "contrast_factor": round(contrast_factor, 3),
                "sharper": round(sharper, 3),
                "contrast": round(contrast, 2),
                "mismatch": round(mismatch, 2),
            },
        )

    def _corner(
        self,
        ground: PlacementCanvas,
        exemplar: Exemplar,
        posed: Posed,
        place: int,
        jitter: npt.NDArray[np.float64],
        pick: float,
        patient: bool,
        rejected: Counter[str],
    ) -> tuple[int, int, float] | None:
        """Top and left of the window, and how far off its surroundings are; None, counted, where there is no place."""
        size, full = posed.mask.shape, ground.image.shape[:2]
        spot = _spot(place, jitter, ground.area.shape, full, size)
        if spot is None:
            rejected["larger than the background"] += 1
            return None
        (top, left), mismatch = spot, 0.0
        strictness = self._parameters.context_strictness
        if patient and strictness > 0:
            worst = self._worst[exemplar.key]
            found = fitting_place(ground.image, posed, spot, strictness, ground.area, pick, worst)
            if found is None:
                rejected["surroundings do not fit"] += 1
                return None
            top, left, mismatch = found.top, found.left, found.mismatch
            if not found.inside:
                rejected["leaves the area"] += 1
                return None
        share = _share_inside(posed.mask, top, left, ground.area, full)
        if share < (_INSIDE_SHARE if patient else _INSIDE_SHARE_AT_LAST):
            rejected["leaves the area"] += 1
            return None
        if self._own_place(ground, exemplar, posed, top, left, mismatch):
            rejected["copies a concept in its own place"] += 1
            return None
        return top, left, mismatch

    def _own_place(
        self, ground: PlacementCanvas, exemplar: Exemplar, posed: Posed, top: int, left: int, mismatch: float
    ) -> bool:
        """Whether the place is where the concept was photographed: the sample would be a copy of a private photo."""
        if exemplar.key.startswith(ground.ref.digest[:12]):
            box = exemplar.box
            rows, columns = posed.mask.shape
            return top < box.bottom and left < box.right and top + rows > box.y and left + columns > box.x
        if self._learned.law.two_level or mismatch == 0:
            return False
        return mismatch < _COPY_TONES and float(posed.clean.std(axis=(0, 1)).mean()) > _COPY_TEXTURE

    def _blended(
        self, before: Floats, posed: Posed, blend: str, slope: float, contrast: float, sharper: float
    ) -> Floats:
        """The window's new tones [h, w, c].

        ``sharper`` is from 0, an edge as photographed, to 1, one that fades twice over: photos differ in focus, and a
        model that is shown one softness alone took the rims of other things for the concept.
        """
        channels = before.shape[2]
        laying = BlendRegion(
            background=before,
            patch=channels_as(posed.patch, channels),
            clean=channels_as(posed.clean, channels),
            mask=posed.mask,
            fade=fade(posed, self._parameters.edge_softness) * np.power(posed.opacity, np.float32(sharper)),
            opacity=posed.opacity,
            slope=slope,
        )
        changed = (BLENDS[blend](laying) - before) * np.float32(contrast)
        return np.asarray(np.minimum(np.maximum(before + changed, 0), 255), np.float32)


def _trimmed(seen: Bools, mask: Bools) -> Bools:
    """The mask where the picture changed: what had the concept's tone already is not labelled as it."""
    solid = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.asarray((solid > 0) & mask)


def _cumulative(weights: Sequence[float]) -> list[float]:
    """Cumulative shares; weights that are all zero count as equal."""
    values = np.asarray(weights, np.float64)
    values = values if values.sum() > 0 else np.ones_like(values)
    shares: list[float] = (np.cumsum(values) / values.sum()).tolist()
    return shares


def _pick(shares: Sequence[float], at: float) -> int:
    return min(bisect_right(shares, at), len(shares) - 1)


def _spot(
    place: int, jitter: npt.NDArray[np.float64], seen: tuple[int, ...], full: tuple[int, ...], size: tuple[int, ...]
) -> tuple[int, int] | None:
    """Top and left of a window centred on a place of the reduced area, moved into the image; None: too big."""
    row, column = divmod(int(place), seen[1])
    centre_y, centre_x = (row + jitter[0]) * full[0] / seen[0], (column + jitter[1]) * full[1] / seen[1]
    if size[0] > full[0] or size[1] > full[1]:
        return None
    # the rim stays inside, too: surroundings on every side are what makes a mask not cut off
    return (
        int(min(max(centre_y - size[0] / 2, 0), full[0] - size[0])),
        int(min(max(centre_x - size[1] / 2, 0), full[1] - size[1])),
    )


def _share_inside(mask: Bools, top: int, left: int, area: Bools, full: tuple[int, ...]) -> float:
    """The share of the mask's pixels that lie in the reduced area."""
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
